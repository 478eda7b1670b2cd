"""`Pipe`: push and pull between the store and a place that is shared with others."""

from __future__ import annotations

import datetime
from typing import Any

from d6tstore import context, html, maintenance
from d6tstore.access import Remote
from d6tstore.errors import Denied
from d6tstore.maintenance import Garbage, Problem
from d6tstore.record import Record
from d6tstore.repository import Repository
from d6tstore.sharing import journal, mending
from d6tstore.sharing.comparing import Difference
from d6tstore.sharing.deciding import MOVES
from d6tstore.sharing.exchange import Exchange
from d6tstore.sharing.journal import Push
from d6tstore.sharing.syncing import Syncing, is_removal, status, told


class Pipe:
    """Results shared through a place: any store that several people reach. Made by `pipes.init` and `get_pipe`.

    Args:
        remote: the other side.
        repository: this side; None is the store in use at the time of each call.
    """

    def __init__(self, remote: Remote, repository: Repository | None = None) -> None:
        self.remote = remote
        self._repository = repository

    def __repr__(self) -> str:
        return f"Pipe({self.name!r}, {self.remote.access.url!r})"

    def _repr_html_(self) -> str:
        access = self.remote.access
        told = {"place": access.url, "role": access.role, "trusted": "yes" if access.trusted else "no"}
        return html.described("Pipe", self.name, told)

    @property
    def name(self) -> str:
        """What it is called here."""
        return self.remote.name

    @property
    def here(self) -> Repository:
        """The store."""
        return self._repository or context.current().repository

    @property
    def there(self) -> Repository:
        """The other side, as a store. Raises as `d6tstore.open`."""
        access, here = self.remote.access, self.here
        return Repository(
            self.remote.backend, namespace=access.namespace, keep_versions=access.keep_versions, root=here.root,
            progress=here.progress,
        )  # fmt: skip

    @property
    def _syncing(self) -> Syncing:
        access, here = self.remote.access, self.here
        place = "#".join([access.url, access.namespace, here.namespace]).rstrip("#")  # other results, other points
        return Syncing(self.name, place, here, self.there)

    def _for_writing(self) -> Pipe:
        """This pipe, as who writes there opens it. Raises Denied: it is for reading."""
        if self.remote.access.role == "read":
            raise Denied(
                f"the pipe {self.name!r} is for reading (role = 'read'). Push to another one, or ask who runs it for "
                "the right to write."
            )
        return Pipe(self.remote.for_writing(), self._repository)

    # ------------------------------------------------------------ push and pull

    def push(
        self, tasks: Any = None, *, message: str = "", keep: str | None = None, upstream: bool = False,
        prune: bool = False, verify: bool = False,
    ) -> Exchange:  # fmt: skip
        """Give results to the others: objects first, each record last, so that nobody sees half of a result.

        What arrived stays if it is interrupted, and is not sent again. Of tasks that are named, the records of all
        that they need travel too, so that others see what a result was made from.

        Args:
            tasks: a task, or several; None is every result of this store.
            message: what others read in `log`.
            keep: "ours" replaces, where both sides changed a result, theirs, which goes to the history; "theirs"
                leaves theirs. None stops before anything is transferred.
            upstream: also the objects of what the tasks need.
            prune: also remove results that were removed here since both sides had them.
            verify: look for objects and records that vanished there, and send them again.

        Returns:
            What was done.

        Raises:
            Conflict: results were changed on both sides; who changed them, and when.
            Denied: this pipe is for reading; nothing was transferred.
            ExchangeFailed: some results did not arrive, the others did; `.exchange` has all.
            BackendError, CredentialsError: the other side cannot be reached.

        Example:
            >>> pipe = d6tstore.pipes.init("team-features", url="s3://bucket/team")  # doctest: +SKIP
            >>> pipe.push(message="prices of March")  # doctest: +SKIP
        """
        syncing = self._for_writing()._syncing
        journal.check_message(message)
        steps, way = syncing.push_steps(tasks, keep, upstream, prune, verify)
        syncing.refuse_conflicts(steps, keep)
        moving = [step for step in steps if step.item.action in MOVES or (prune and is_removal(step))]
        if moving:
            syncing.try_writing(way.there.default)
        return told(syncing.exchanged(f"push to {self.name}", way, steps, moving, message))

    def push_preview(
        self, tasks: Any = None, *, keep: str | None = None, upstream: bool = False, prune: bool = False,
        verify: bool = False,
    ) -> Exchange:  # fmt: skip
        """What `push` would do, conflicts too. Arguments as there; nothing is written anywhere."""
        steps, _ = self._syncing.push_steps(tasks, keep, upstream, prune, verify)
        return Exchange(f"push to {self.name}", [step.item for step in steps], dry_run=True)

    def pull(
        self, tasks: Any = None, *, data: bool = True, keep: str | None = None, prune: bool = False,
        at: int | str | datetime.date | None = None, upstream: bool = False,
    ) -> Exchange:  # fmt: skip
        """Take over the results of the others. Each object is compared with its record when it arrives.

        A result that was changed here is never replaced silently: it is in conflict, or newer than theirs.

        Args:
            tasks: a task, or several; None is every result there.
            data: False brings the records only; an object comes when it is first loaded.
            keep: "theirs" takes, where both sides changed a result, theirs, and ours goes to the history; "ours"
                keeps ours, which may then be pushed. None stops before anything is transferred.
            prune: also forget results that were removed there since both sides had them.
            at: take the results as they were after this push (its number in `log`), or at that time, as far as
                the history there reaches.
            upstream: of tasks that are named, also the objects of what they need.

        Returns:
            What was done.

        Raises:
            Conflict, ExchangeFailed, BackendError, CredentialsError: as for `push`.
            UsageError: `at` is no moment that the log knows.
        """
        steps, way = self._syncing.pull_steps(tasks, data, keep, prune, at, upstream)
        self._syncing.refuse_conflicts(steps, keep)
        follows = keep == "ours"
        moving = [
            step
            for step in steps
            if step.item.action in MOVES
            or (prune and is_removal(step))
            or (follows and step.pair.difference is Difference.CONFLICT)
        ]
        return told(self._syncing.exchanged(f"pull from {self.name}", way, steps, moving))

    def pull_preview(
        self, tasks: Any = None, *, data: bool = True, keep: str | None = None, prune: bool = False,
        at: int | str | datetime.date | None = None, upstream: bool = False,
    ) -> Exchange:  # fmt: skip
        """What `pull` would do, conflicts too. Arguments as there; nothing is written anywhere."""
        steps, _ = self._syncing.pull_steps(tasks, data, keep, prune, at, upstream)
        return Exchange(f"pull from {self.name}", [step.item for step in steps], dry_run=True)

    def status(self, tasks: Any = None) -> Exchange:
        """How both sides differ, result by result. Nothing is written anywhere."""
        found = self._syncing.compared(self._syncing.wanted(tasks))
        items = [status(pair) for pair in found]
        return Exchange(f"{self.name}, beside this store", items, dry_run=False)

    # --------------------------------------------------------------- the other side

    def log(self, limit: int | None = None) -> list[Push]:
        """Who pushed what, when, with which message; the newest first.

        Args:
            limit: how many pushes; None is all.
        """
        return journal.entries(self.remote.backend, limit, self.remote.access.namespace)

    def records(self, family: str) -> list[Record]:
        """Current records of a family at the other side, newest first; those that are damaged are left out."""
        return mending.records(self.there, family)

    def verify(self, repair: bool = False) -> list[Problem]:
        """Compare every object at the other side with its record.

        Args:
            repair: send those again that this store has whole.

        Returns:
            What is damaged or missing, and was not repaired.

        Raises:
            Denied: the pipe is for reading, and something is to be sent.
        """
        there = self._for_writing().there if repair else self.there
        return mending.verify(self.here, there, self._syncing.compared(None), repair)

    def gc(self, dry_run: bool = True, older_than: float = maintenance.GRACE) -> Garbage:
        """Remove what no record of anybody at the other side refers to, current or kept. Tells only, unless told.

        Args:
            dry_run: False removes it.
            older_than: spare what is younger, in seconds: somebody may be pushing it.

        Raises:
            Denied: the pipe is for reading, and something is to be removed.
        """
        return maintenance.collect(self.there if dry_run else self._for_writing().there, dry_run, older_than)
