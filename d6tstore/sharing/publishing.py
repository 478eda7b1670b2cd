"""Making a record current in a place where others may do the same at that moment."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from msgspec.structs import replace

from d6tstore import history, record
from d6tstore.backend import Backend
from d6tstore.claiming import claimed
from d6tstore.errors import BackendError, Changed, Held, RecordError, Unsupported
from d6tstore.record import Record


def publish(backend: Backend, new: Record, seen: Record | None, keep: int, claim: bool = False) -> str:
    """Make a record current, unless another one is there by now.

    By a conditional write where there is one, else while holding the claim of the task. What it replaces goes to
    the history first.

    Args:
        backend: where.
        new: the record.
        seen: what was current when this was decided; None: nothing was.
        keep: how many replaced results of a task stay.
        claim: hold the claim in any case: where tasks run, a run that began before would replace the record unseen.

    Returns:
        The version that it has in listings; empty if that is not known.

    Raises:
        Changed: another record is there.
    """
    if claim or not _swaps(backend):
        id = f"{new.family}-{new.hash}"
        version = claimed(backend, id, id, lambda: _made(backend, new, seen))
    else:
        version = _swap(backend, new, seen)
    _trim(backend, new, seen, keep)
    return version


def replace_damaged(backend: Backend, new: Record, damaged: bytes) -> None:
    """Put a record in the place of bytes that are none. Raises Changed: something else is there by now."""

    def replaced() -> None:
        entry = backend.stat([new.key]).get(new.key)
        if entry is None or backend.read_many([new.key]).get(new.key) != damaged:
            raise _changed(backend, new)
        try:
            backend.compare_and_swap(new.key, entry.version, record.encode(new))
        except Unsupported:
            backend.write(new.key, record.encode(new))

    claimed(backend, new.id, new.id, replaced)


def create(backend: Backend, new: Record, info: Mapping[str, str]) -> bool:
    """Make a record current where there is none, under its claim; False: somebody has that, or made another one.

    Args:
        backend: where.
        new: the record.
        info: who claims it.
    """
    try:
        with backend.claim(f"{new.family}-{new.hash}", info):
            _made(backend, new, None)
    except (Changed, Held):
        return False
    return True


def dismiss(backend: Backend, seen: Record) -> None:
    """Forget a result, as `Store.invalidate` does: it stays loadable until `gc`.

    Raises:
        Changed: another record is there than the one that was seen.
    """

    def dismissed() -> None:
        _expect(backend, seen, seen)
        backend.write(seen.history_key, record.encode(replace(seen, restorable=False, replaced=record.now())))
        backend.delete(seen.key)

    id = f"{seen.family}-{seen.hash}"
    claimed(backend, id, id, dismissed)


def _swap(backend: Backend, new: Record, seen: Record | None) -> str:
    version = None
    if seen is not None:
        entry = backend.stat([new.key]).get(new.key)
        _expect(backend, new, seen)
        if entry is None:
            raise _changed(backend, new)
        version = entry.version
    kept = _kept(new, seen)
    if kept is not None:
        with contextlib.suppress(Changed):  # who replaces it at the same time, or dismissed it, has it there by now
            backend.compare_and_swap(kept.history_key, None, record.encode(kept))
    try:
        return backend.compare_and_swap(new.key, version, record.encode(new))
    except Changed as exc:
        raise _changed(backend, new) from exc


def _swaps(backend: Backend) -> bool:
    """Does it write conditionally? S3 knows when it was asked: some services do not."""
    try:
        backend.create_many({})
        return type(backend).compare_and_swap is not Backend.compare_and_swap
    except Unsupported:
        return False


def _made(backend: Backend, new: Record, seen: Record | None) -> str:
    """As `publish`, under a claim, or where there are none; others may write without."""
    if _swaps(backend):
        return _swap(backend, new, seen)
    _checked(backend, new, seen)
    return ""


def _checked(backend: Backend, new: Record, seen: Record | None) -> None:
    _expect(backend, new, seen)
    backend.publish(new, _kept(new, seen))


def _expect(backend: Backend, new: Record, seen: Record | None) -> None:
    """Raise Changed if another record is there than the one that was seen."""
    data = backend.read_many([new.key]).get(new.key)
    try:
        there = None if data is None else record.decode(data, new.key).write_id
    except RecordError:
        there = ""
    # It may be there already: we wrote it and did not hear of it, or somebody pulls the same at the same time.
    if there not in (None if seen is None else seen.write_id, new.write_id):
        raise _changed(backend, new)


def _changed(backend: Backend, new: Record) -> Changed:
    return Changed(f"{new.key!r} in {backend!r} was changed by somebody else meanwhile. Look again, then try again.")


def _kept(new: Record, seen: Record | None) -> Record | None:
    """The record for the history; none if it is the same result."""
    return None if seen is None or seen.write_id == new.write_id else replace(seen, replaced=record.now())


def _trim(backend: Backend, new: Record, seen: Record | None, keep: int) -> None:
    if seen is not None and seen.write_id != new.write_id:
        with contextlib.suppress(BackendError):  # the result is out
            history.trim(backend, new, max(keep, 1), seen.write_id)  # what somebody made is kept at least once
