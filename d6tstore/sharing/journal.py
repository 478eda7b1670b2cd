"""Who pushed what into a place shared with others, and when: one small object per push, never changed."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterable, Mapping

import msgspec

from d6tstore import project, record
from d6tstore.backend import Backend
from d6tstore.claiming import claimed
from d6tstore.errors import Changed, Unsupported, UsageError
from d6tstore.tables import one_line

_LOG = f"{record.ROOT}log/"
_KEY = re.compile(re.escape(_LOG) + r"([0-9]{8,18})-[0-9a-f]{16}\.json")
_ID = re.compile(r"[^/\x00-\x20]{1,200}-[0-9a-f]{16}")  # what a log says is no more trusted than a record
_WRITE_ID = re.compile(r"([0-9a-f]{16})?")
_ONLY = "0" * 16  # ends the key where a number is given once
_LARGEST = 256 << 20  # bytes of an entry
_DIGITS = 18  # of a number
_SKEW = datetime.timedelta(days=7)  # that a clock may be ahead of ours


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """One push. Numbers give the order, whatever the clocks say.

    Attributes:
        number: of this push.
        who, host, time: who pushed, from where, when (UTC, never before that of the push before).
        message: what was said about it.
        pushed: write ids by id of the task.
        removed: ids of tasks whose results were removed.
        namespace: of the results there.
    """

    number: int = 0
    who: str = ""
    host: str = ""
    time: str = ""
    message: str = ""
    pushed: dict[str, str] = {}
    removed: list[str] = []
    namespace: str = ""

    def __str__(self) -> str:
        what = f"{len(self.pushed)} results" + (f", {len(self.removed)} removed" if self.removed else "")
        said = f": {one_line(self.message)}" if self.message else ""
        return f"#{self.number} {one_line(self.time)[:19]} {one_line(self.who)}@{one_line(self.host)}: {what}{said}"


def entries(backend: Backend, limit: int | None = None, namespace: str | None = None) -> list[Push]:
    """Pushes, the newest first; those that cannot be read are left out.

    Args:
        backend: the shared place.
        limit: how many; None is all.
        namespace: only those of one; None is all that share the place.
    """
    keys = _keys(backend)
    wanted = keys if limit is None or namespace is not None else keys[max(0, len(keys) - limit) :]
    found = []
    for key, data in backend.read_many(wanted).items():
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found.append((key, msgspec.structs.replace(msgspec.json.decode(data, type=Push), number=_number(key))))
    pushes = [push for _, push in sorted(found, key=lambda pair: (_number(pair[0]), pair[0]), reverse=True)]
    return [push for push in pushes if namespace in (None, push.namespace)][:limit]


def exists(backend: Backend) -> bool:
    """Did anybody ever push there?"""
    return next(iter(backend.list(_LOG)), None) is not None


def check_message(message: object) -> None:
    """Raise UsageError if it is no text that a log can hold: before anything is transferred."""
    if not isinstance(message, str) or any("\ud800" <= char <= "\udfff" for char in message):
        raise UsageError(f"message={message!r} must be text, without lone surrogates.")


def write(
    backend: Backend, message: str, pushed: Mapping[str, str], removed: Iterable[str], namespace: str = ""
) -> Push:
    """Note a push, after all that there are. Written last: what it names is there.

    Where there are neither conditional writes nor claims two may get one number; neither is lost.
    """

    def following() -> Push:
        now, soon = record.now(), _text(datetime.datetime.now(datetime.UTC) + _SKEW)
        # Whose clock is slow is not before the others; whose clock was far ahead takes nobody along.
        times = [push.time for push in entries(backend, 1) if push.time < soon]
        return Push(
            number=_number(keys[-1]) + 1 if (keys := _keys(backend)) else 1,
            who=project.author(),
            host=project.host(),
            time=max([now, *times]),
            message=message,
            pushed=dict(pushed),
            removed=sorted(removed),
            namespace=namespace,
        )

    def noted() -> Push:
        push = following()
        backend.write(_key(push, os.urandom(8).hex()), msgspec.json.encode(push))
        return push

    with contextlib.suppress(Unsupported):
        while True:
            push = following()
            with contextlib.suppress(Changed):  # somebody else took the number
                backend.compare_and_swap(_key(push, _ONLY), None, msgspec.json.encode(push))
                return push
    return claimed(backend, "log", "the log", noted)


def written_ids(pushes: Iterable[Push]) -> dict[str, str | None]:
    """The write id of each result after some pushes; None: it was removed."""
    found: dict[str, str | None] = {}
    for push in sorted(pushes, key=lambda push: push.number):
        found |= push.pushed | dict.fromkeys(push.removed)
    return {id: write_id for id, write_id in found.items() if _ID.fullmatch(id) and _WRITE_ID.fullmatch(write_id or "")}


def until(pushes: Iterable[Push], at: int | str | datetime.date) -> tuple[list[Push], str]:
    """The pushes up to a moment, and the moment as text that compares with the times of records.

    Args:
        pushes: all that there are.
        at: the number of a push, or a date or time (ISO as text; without a zone it is local).

    Raises:
        UsageError: `at` is none of these, or there was no push by then.
    """
    pushes = list(pushes)
    if isinstance(at, bool) or not isinstance(at, int | str | datetime.date):
        raise UsageError(f"at={at!r} is neither the number of a push nor a time. `d6tstore pipe log` lists pushes.")
    text = str(at).removeprefix("#")
    if isinstance(at, int) or (text.isdecimal() and len(text) <= _DIGITS):
        found = [push for push in pushes if push.number <= int(text)]
        if not any(push.number == int(text) for push in found):
            raise UsageError(f"there is no push #{text}. `d6tstore pipe log` lists them.")
        return found, max(push.time for push in found)
    try:
        moment = datetime.datetime.fromisoformat(text)
        if len(text) <= len("2026-01-31"):
            moment += datetime.timedelta(days=1, microseconds=-1)  # all of that day
        limit = _text(moment.astimezone(datetime.UTC))
    except (ValueError, OverflowError):
        raise UsageError(
            f"at={text[:40]!r} is no time. Write 2026-01-31, 2026-01-31T18:00, or the number of a push."
        ) from None
    return [push for push in pushes if push.time <= limit], limit


def _text(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _keys(backend: Backend) -> list[str]:
    found = (e for e in backend.list(_LOG) if _KEY.fullmatch(e.key) and e.size <= _LARGEST)
    return sorted((entry.key for entry in found), key=lambda key: (_number(key), key))


def _key(push: Push, mark: str) -> str:
    return f"{_LOG}{push.number:08d}-{mark}.json"


def _number(key: str) -> int:
    return int(key.removeprefix(_LOG).partition("-")[0])
