"""How a command ends: one message and an exit code; a traceback for the user's own code only."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from d6tstore.errors import D6tstoreError

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
as_json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


class Failure(click.ClickException):
    """One message on stderr, and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it from here


class Commands(click.Group):
    """Maps every error to one message and an exit code; shows a traceback for the user's own code only."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line. The place where its output goes may be full."""
        try:
            return super().main(*args, **options)
        except OSError as exc:
            if exc.errno not in _FULL or exc.filename is not None:
                raise
            with contextlib.suppress(OSError):  # else the interpreter tries once more when it ends, and says so
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"Error: what it prints cannot be written: {exc.strerror}.", err=True)
            sys.exit(FAILED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Commands in the order in which a person meets them."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a name, or the nearest one as advice."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            from d6tstore.place import displayed  # a URL in the wrong place may hold a password

            near = nearest(args[0], self.commands) or f". Commands: {', '.join(self.commands)}."
            raise Failure(f"there is no command {displayed(args[0])}{near}", USAGE)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()  # here, where what goes wrong can still be told
            return done
        except click.UsageError as exc:
            exc.message = _masked(exc.message)  # type: ignore[misc]
            raise
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort) as exc:
            raise Failure("interrupted. Finished work is kept; run again to go on.", INTERRUPTED) from exc
        except D6tstoreError as exc:
            raise Failure(str(exc), USAGE) from exc
        except BrokenPipeError as exc:  # of stdout, unless the user's code met it elsewhere
            if _in_user_code(exc):
                _fail_in_user_code(exc)
            raise
        except Exception as exc:  # noqa: BLE001 - told from a defect of d6tstore by its traceback
            _fail_in_user_code(exc)


def _masked(message: str) -> str:
    """A message about words of the command line, without those that hold a secret."""
    from d6tstore.place import holds_secret

    words = {word.strip("()'\".,") for word in message.split()}
    for word in sorted(filter(holds_secret, words), key=len, reverse=True):
        message = message.replace(word, "********")
    return message


def _fail_in_user_code(exc: Exception) -> NoReturn:
    if not _in_user_code(exc):
        raise exc  # a defect of d6tstore: the whole traceback helps to mend it
    click.echo(user_traceback(exc), err=True, nl=False)
    raise Failure(f"your code raised {type(exc).__name__}, see above.", FAILED) from exc


def _in_user_code(exc: Exception) -> bool:
    """True if a frame is neither of d6tstore nor of a library that it may have called."""
    import traceback

    library = str(Path(os.__file__).parent) + os.sep
    files = [frame.filename for frame in traceback.extract_tb(exc.__traceback__)]
    theirs = [f for f in files if not _ours(f) and not f.startswith(library) and "site-packages" not in f]
    theirs = [f for f in theirs if f.startswith("<") or Path(f).is_file()]  # compiled libraries name files of their own
    return bool(theirs) or isinstance(exc, SyntaxError)


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean ...?` if something known is written alike, else ''."""
    import difflib

    known = list(known)
    found = difflib.get_close_matches(word, known, 1, 0.5)
    found = found or [k for k in known if k.lower() == word.lower()]
    return f", did you mean {found[0]}?" if found else ""


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of equal length as a table; the first one is its head."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def echo_json(value: Any) -> None:
    """Print a value of dicts, lists, text and numbers as JSON: ASCII, so that no text of others steers a terminal."""
    import json

    from d6tstore.tables import json_value

    click.echo(json.dumps(json_value(value), indent=2, allow_nan=False))


def say(as_json: bool, message: str, **told: Any) -> None:
    """Print a message for people, or what was done for programs."""
    if as_json:
        echo_json(told)
    else:
        click.echo(message)


def written(file: Path, as_json: bool) -> None:
    """Say that a file was written."""
    if as_json:
        echo_json({"file": str(file), "bytes": file.stat().st_size})
    else:
        click.echo(f"wrote {file}, {file.stat().st_size:,} bytes", err=True)


@contextlib.contextmanager
def stdout_for_json(as_json: bool) -> Iterator[None]:
    """Where the output is JSON, what the user's modules and tasks print goes to stderr, and what they start too."""
    if not as_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # closed, or no files at all, as in tests
            if sys.__stdout__ is not None:
                sys.__stdout__.flush()
            stack.callback(os.close, kept := os.dup(1))
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
        yield


def user_traceback(exc: BaseException) -> str | None:
    """A traceback without the frames of d6tstore; None if no other is left."""
    import traceback

    shown = traceback.TracebackException.from_exception(exc)
    mine = _trim(shown)
    return "".join(shown.format()) if mine or isinstance(exc, SyntaxError) else None


def _trim(shown: Any) -> bool:
    import traceback

    shown.stack = traceback.StackSummary.from_list([f for f in shown.stack if not _ours(f.filename)])
    for link in ("__cause__", "__context__"):  # an inner error of d6tstore says what the outer one says
        inner = getattr(shown, link)
        if inner is not None and not _trim(inner):
            setattr(shown, link, None)
    return bool(shown.stack)


def _ours(filename: str) -> bool:
    """A file of d6tstore, or of what stands between it and the user's code."""
    here = Path(__file__).parents[1]
    folders = [here, here.parent / "d6tstore_plugins", Path(click.__file__).parent]
    library = Path(os.__file__).parent
    folders += [library / "concurrent", library / "importlib"]
    files = {str(library / "threading.py"), str(getattr(sys.modules["__main__"], "__file__", ""))}
    starts = ("<frozen", *(f"{folder}{os.sep}" for folder in folders))
    return filename in files or filename.startswith(starts)


def user_line(exc: BaseException) -> str:
    """`file, line n: ` of the user's line where an exception came from."""
    import traceback

    frames = [f for f in traceback.extract_tb(exc.__traceback__) if not _ours(f.filename)]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: " if frames else ""
