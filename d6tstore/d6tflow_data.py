"""The `data/` folder of a d6tflow project: which file is which output of which task, and what it holds.

d6tflow writes `data/<Family>/<Family>_<parameters>_<hash>-<output>.<ending>`. The hash is luigi's, of the significant
parameters as text. How a value becomes text depends on the kind of parameter there, so every spelling is tried.
"""

from __future__ import annotations

import datetime
import enum
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from d6tstore import conversion, frames
from d6tstore.errors import FormatError, UsageError
from d6tstore.format import Format, TableFormat
from d6tstore.task import Task

_FILE = re.compile(r"([^-]+)_([0-9a-f]{10})-(.+)")
_UNFIT = re.compile(r"[^A-Za-z0-9_]")
_CUT = 16  # characters of a value that stand in an id, at least
_TRIED = 1 << 16  # combinations of spellings: less than half a second
_FRAMES = {".parquet": "read_parquet", ".csv": "read_csv", ".csv.gz": "read_csv", ".xlsx": "read_excel"}
_TIMES = ("%Y-%m-%dT%H%M%S", "%Y-%m-%dT%H%M", "%Y-%m-%dT%H")
_DATES = ("%Y-%m-%d", "%Y-%m", "%Y")
_STOP = b"."  # the last byte of every whole pickle


class Folder:
    """Outputs that d6tflow wrote: those in `data`, or `data/env=prod` of a workflow with an environment.

    Args:
        root: the folder. Nothing in it is changed.

    Raises:
        UsageError: it cannot be read.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self._found: dict[str, dict[str, list[Path]]] = {}  # files by hash, then by what stands before it
        self._stems: set[str] = set()
        try:
            folders = [entry.path for entry in os.scandir(self.root) if entry.is_dir()]
            for path in (Path(entry.path) for folder in folders for entry in os.scandir(folder) if entry.is_file()):
                if match := _FILE.fullmatch(path.name):
                    self._found.setdefault(match[2], {}).setdefault(match[1], []).append(path)
                    self._stems.add(match[1])
        except OSError as exc:
            raise UsageError(
                f"{str(self.root)!r} cannot be read: {exc.strerror}. Give the data folder of a d6tflow project."
            ) from None

    def find(self, task: Task) -> dict[str, Path]:
        """The files of those outputs of a task that are there, by name of the output."""
        if not any(stem.startswith(f"{task.family}_") for stem in self._stems):
            return {}
        for values in spellings({name: getattr(task, name) for name in task.parameters_json()}):
            first = _UNFIT.sub("_", next(iter(values.values()))[:_CUT]) if values else ""
            for stem, paths in self._found.get(task_hash(values), {}).items():
                if stem.startswith(f"{task.family}_{first}") if values else stem == f"{task.family}_":
                    rests = {path.name.split("-", 1)[1]: path for path in paths}
                    return {
                        name: path
                        for name in task.formats()
                        for rest, path in sorted(rests.items())
                        if rest.startswith(f"{name}.")
                    }
        return {}


def task_hash(params: Mapping[str, str]) -> str:
    """The hash in luigi's id of a task: ten digits of the MD5 of the parameters as JSON.

    Args:
        params: significant parameters as text, sorted by name.

    Example:
        >>> task_hash({"do_preprocess": "True", "model": "svm"})
        '97cc74d551'
    """
    text = json.dumps(params, separators=(",", ":"), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:10]


def spellings(params: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Parameters as luigi may have written them, sorted by name, the usual ways first."""
    names = sorted(params)
    ways = [list(dict.fromkeys(_spelled(params[name]))) for name in names]
    for values in itertools.islice(itertools.product(*ways), _TRIED):
        yield dict(zip(names, values, strict=True))


def _spelled(value: Any) -> Iterator[str]:
    """A value as the parameters of luigi write it."""
    if isinstance(value, enum.Enum):
        yield value.name
        value = value.value
    if value is None:
        yield from ("None", "")  # the latter: OptionalParameter
    elif isinstance(value, datetime.datetime):
        yield from (value.strftime(how) for how in _TIMES)
    elif isinstance(value, datetime.date):
        yield from (value.strftime(how) for how in _DATES)
    elif isinstance(value, datetime.timedelta):
        weeks, days = divmod(value.days, 7)
        minutes, seconds = divmod(value.seconds, 60)
        yield f"{weeks} w {days} d {minutes // 60} h {minutes % 60} m {seconds} s"
    elif isinstance(value, dict | list | tuple):
        plain = conversion.to_json(value) if not isinstance(value, dict) else value
        yield from (json.dumps(plain, default=str), json.dumps(plain, default=str, sort_keys=True))
        if not isinstance(value, dict):
            yield str(_frozen(plain))  # of a Parameter that was given a list
    elif isinstance(value, PurePath):
        yield conversion.to_json(value)
    elif isinstance(value, float) and value.is_integer():
        yield from (str(value), str(int(value)))  # a FloatParameter does not convert what it is given
    yield str(value)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


class AsItIs(Format):
    """Bytes of a file that stay as they are: a path in, its bytes out.

    Args:
        ending: of the file, with the dot.
    """

    def __init__(self, ending: str) -> None:
        self.ending = ending

    def suffix_of(self, value: Path) -> str:
        """That of the file."""
        return self.ending

    def dump(self, value: Path, file: BinaryIO) -> None:
        """Copy the file."""
        with value.open("rb") as source:
            shutil.copyfileobj(source, file)

    def load(self, file: BinaryIO) -> Any:
        """Not used: what is stored has the format of its task."""
        raise FormatError("these bytes are loaded by the format of their task.")


def value_of(path: Path, output: str, format: Format) -> Any:
    """What a file of d6tflow holds, as a task here saves it; an `AsItIs` for bytes that need no reading.

    Args:
        path: the file.
        output: name of the output.
        format: that the task declares here.

    Raises:
        FormatError: the file is damaged, or of a kind that the format does not store.
    """
    ending = path.name.split("-", 1)[1].removeprefix(output)
    try:
        if isinstance(format, TableFormat) and ending in _FRAMES:
            import pandas as pd

            frame = getattr(pd, _FRAMES[ending])(path)
            return frame if format.frame == "pandas" else _converted(frame, format.frame)
        if ending == format.suffix == ".json":
            return json.loads(path.read_bytes())["data"]
        if ending == format.suffix and not isinstance(format, TableFormat):
            if ending == ".pkl":
                _check_pickle(path)
            return AsItIs(ending)
    except ImportError as exc:
        raise FormatError(f"{path.name} cannot be read: {exc}") from exc
    except Exception as exc:
        raise FormatError(f"{path.name} is damaged: {type(exc).__name__}: {exc}") from exc
    raise FormatError(
        f"{path.name} does not hold what the class stores here ({type(format).__name__}). Use the class of "
        "d6tstore.tasks of the same name as in d6tflow, or run the task."
    )


def _converted(frame: Any, kind: str) -> Any:
    """A pandas frame as one of another library. Its index becomes columns."""
    import pyarrow as pa

    return frames.from_arrow(pa.Table.from_pandas(frame).replace_schema_metadata(), kind)


def _check_pickle(path: Path) -> None:
    """A pickle is not loaded, for that runs code; but one that was cut off shows it."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 1))
        if file.read() != _STOP:
            raise EOFError("the pickle is cut off")
