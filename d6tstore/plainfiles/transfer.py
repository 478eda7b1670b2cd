"""Files on their way between the two sides of a pipe: several at once, each whole or not at all."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from d6tstore.backend import Backend, Entry
from d6tstore.errors import D6tstoreError, Denied, InvalidKey, NotFound
from d6tstore.plainfiles.compare import Pair
from d6tstore.plainfiles.folder import Folder
from d6tstore.plainfiles.state import There, md5, md5_of
from d6tstore.progress import Meter

T = TypeVar("T")
_AT_ONCE = 8  # threads
_CHUNK = 16 << 20  # bytes that are read at once
_SMALL = 1 << 20  # bytes: files up to here are sent from memory
_GROUP, _GROUP_BYTES = 32, 8 << 20  # small files that are asked for together whether they changed meanwhile


class Problem(Exception):
    """Why one file cannot be moved, while the others can."""


class Moved(NamedTuple):
    """One file that was moved, or why not.

    Args:
        pair: which it is.
        md5: of its bytes.
        path: where it is until it has a place, if it came here.
        there: what it is there now, if it went there and nobody replaced it meanwhile.
        problem: why it was not moved.
    """

    pair: Pair
    md5: str = ""
    path: Path | None = None
    there: There | None = None
    problem: str = ""


class Stopped(Exception):
    """The other side, or the disk, failed: its cause says how. What was moved before is not undone."""


def fetch(backend: Backend, pairs: Sequence[Pair], room: Path, meter: Meter | None) -> Iterator[Moved]:
    """Bring files here, in any order. One that changes there meanwhile, or is not as long as listed, is a problem.

    Args:
        backend: the other side.
        pairs: the files.
        room: a folder for them.
        meter: is told how far they are.

    Raises:
        Stopped: after all that arrived was given.
    """

    def of_group(group: tuple[int, list[Pair]], stop: threading.Event) -> _Done:
        number, members = group
        rooms = {pair.name: room / f"{number}-{i}" for i, pair in enumerate(members)}
        came, failure = _all(members, stop, lambda pair: _fetched(backend, pair, rooms[pair.name], meter), _SINGLE)
        now = backend.stat([each.pair.name for each in came if each.path])
        return [each if each.path is None else _unchanged(each, now.get(each.pair.name)) for each in came], failure

    yield from _each(of_group, list(enumerate(_groups(pairs))))


def send(backend: Backend, folder: Folder, pairs: Sequence[Pair], meter: Meter | None) -> Iterator[Moved]:
    """Bring files there, in any order. One that is edited meanwhile, here or there, is a problem.

    Raises:
        Stopped: after all that went was given.
    """

    def of_group(group: list[Pair], stop: threading.Event) -> _Done:
        before = backend.stat([pair.name for pair in group])
        went, failure = _all(
            group, stop, lambda pair: _sent(backend, folder, pair, before.get(pair.name), meter), (InvalidKey,)
        )
        now = backend.stat([each.pair.name for each in went if each.md5])
        return [each._replace(there=_still(each, now.get(each.pair.name))) for each in went], failure

    yield from _each(of_group, list(_groups(pairs)))


_Done = tuple[list[Moved], Exception | None]
_SINGLE = (NotFound, Denied, InvalidKey)


def _each(work: Callable[[T, threading.Event], _Done], items: Iterable[T]) -> Iterator[Moved]:
    """What threads move, as it is done. The first failure stops them."""
    stop, first = threading.Event(), None
    pool = ThreadPoolExecutor(_AT_ONCE, "d6tstore-files")
    try:
        for future in as_completed([pool.submit(work, item, stop) for item in items]):
            try:
                done, failure = future.result()
            except (D6tstoreError, OSError) as exc:
                done, failure = [], exc
            yield from done
            if failure is not None:
                first = first or failure
                stop.set()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    if first is not None:
        raise Stopped from first


def _all(pairs: Iterable[Pair], stop: threading.Event, move: Callable[[Pair], Moved], single: tuple[Any, ...]) -> _Done:
    """Move files one by one, until one fails for a reason that is not its own."""
    moved: list[Moved] = []
    for pair in pairs:
        if stop.is_set():
            break
        try:
            moved.append(move(pair))
        except (Problem, *single) as exc:
            moved.append(Moved(pair, problem=str(exc)))
        except (D6tstoreError, OSError) as exc:
            return moved, exc
    return moved, None


def _groups(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    group: list[Pair] = []
    size = 0
    for pair in pairs:
        larger = size + max(side.size for side in (pair.there, pair.here) if side)
        if group and (len(group) == _GROUP or larger > _GROUP_BYTES):
            yield group
            group, larger = [], larger - size
        group.append(pair)
        size = larger
    if group:
        yield group


def _fetched(backend: Backend, pair: Pair, path: Path, meter: Meter | None) -> Moved:
    size = left = _there(pair).size
    hasher = md5()
    with backend.open_read(pair.name) as source, path.open("xb") as file:
        while chunk := _read(source, min(_CHUNK, left + 1)):
            if len(chunk) > left:
                raise Problem(f"has more than the {size:,} bytes that are listed. Pull again once it is whole there.")
            left -= len(chunk)
            hasher.update(chunk)
            file.write(chunk)
            if meter is not None:
                meter(len(chunk))
    if left:
        raise Problem(f"has {left:,} bytes less than the {size:,} that are listed. Pull again once it is whole there.")
    if meter is not None:
        meter(0, 1)
    return Moved(pair, hasher.hexdigest(), path)


def _read(source: BinaryIO, size: int) -> bytes:
    try:
        return source.read(size)
    except ValueError as exc:  # of who fetches parts, and got fewer or more bytes than asked for
        raise Problem("became shorter there while it was pulled, or the server gives no parts of files.") from exc


def _unchanged(moved: Moved, now: Entry | None) -> Moved:
    if _is(moved.pair.there, now):
        return moved
    return Moved(moved.pair, problem="was changed there while it was pulled. Pull again.")


def _is(there: There | None, now: Entry | None) -> bool:
    """Is a file there still what it was?"""
    if there is None or now is None:
        return there is None and now is None
    return (now.size, now.version) == (there.size, there.version)


def _sent(backend: Backend, folder: Folder, pair: Pair, now: Entry | None, meter: Meter | None) -> Moved:
    if not _is(pair.there, now):
        raise Problem("was changed there meanwhile. Push again.")
    data: bytes | Path = b"" if pair.here is None or pair.here.size <= _SMALL else backend.staging()
    try:
        if isinstance(data, Path):
            shutil.copyfile(folder.at(pair.name), data)
            digest = md5_of(data)
        else:
            data = folder.at(pair.name).read_bytes()
            digest = md5(data).hexdigest()
    except OSError as exc:
        raise Problem(f"cannot be read here: {exc.strerror}") from exc
    if folder.here(pair.name) != pair.here:
        if isinstance(data, Path):
            data.unlink()
        raise Problem("was edited while it was pushed. Push again.")
    backend.upload(pair.name, data, meter)
    if meter is not None:
        meter(0, 1)
    return Moved(pair, digest)


def _still(moved: Moved, now: Entry | None) -> There | None:
    """What a file that we sent is there, unless it has not our size: then somebody else sent another one."""
    if now is None or moved.pair.here is None or now.size != moved.pair.here.size:
        return None
    return There(now.size, now.version, now.modified)


def _there(pair: Pair) -> There:
    assert pair.there is not None  # what is not there is not fetched
    return pair.there
