"""Which store and which attempt the code that runs belongs to.

The only module state of the library: the process default (`init`), a context variable above it (`use`), and
the attempt that the running thread works on. Everything else is passed as an argument.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from d6tstore.errors import NotInitialised

if TYPE_CHECKING:
    from d6tstore.access import Remote
    from d6tstore.attempt import Attempt
    from d6tstore.backend import Backend
    from d6tstore.store import Store

_default: Store | None = None
named: dict[str, Backend] = {}  # further backends of this process, for every store that `init` makes
pipes: dict[str, Remote] = {}  # those that `pipes.init` opened in this process
_store: ContextVar[Store | None] = ContextVar("d6tstore_store", default=None)
attempt: ContextVar[Attempt | None] = ContextVar("d6tstore_attempt", default=None)


def set_default(store: Store | None) -> None:
    """Make `store` the default of this process (None: no default)."""
    global _default
    _default = store


def rename() -> None:
    """Give the default store what is in `named` and `pipes`."""
    if _default is not None:
        set_default(_default.naming(named, pipes))


def current() -> Store:
    """The store in use: of the running attempt, else of `use`, else of `init`.

    Raises:
        NotInitialised: none was chosen.
    """
    store = _store.get() or _default
    if store is None:
        raise NotInitialised(
            "no store is chosen: tasks do not know where results go. Call d6tstore.init() for ./data, "
            'or d6tstore.init("/some/folder").'
        )
    return store


@contextlib.contextmanager
def using(store: Store) -> Iterator[Store]:
    """Make `store` the current one inside a `with` block, in this thread or async task only."""
    token = _store.set(store)
    try:
        yield store
    finally:
        _store.reset(token)
