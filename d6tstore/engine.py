"""Runs what a plan says, on any `concurrent.futures.Executor`."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d6tstore import project
from d6tstore.errors import D6tstoreError, ExternalAbsent
from d6tstore.job import Done, Job, execute
from d6tstore.plan import CUT_OFF, FORCED, MISSING, NEVER_RUN, UPSTREAM, Node, Plan, State
from d6tstore.record import Record
from d6tstore.report import Outcome, Report, Watcher
from d6tstore.staleness import absent
from d6tstore.task import Task

log = logging.getLogger("d6tstore")


@contextlib.contextmanager
def pool(workers: int | None) -> Iterator[Executor]:
    """Threads for a run; what is not begun when it is interrupted never is."""
    with ThreadPoolExecutor(workers, "d6tstore") as threads:
        try:
            yield threads
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise


@dataclass(slots=True)
class Run:
    """One run of a plan, on an executor or, without one, in the calling thread.

    A task is judged again when its inputs are settled, with the content that they really have: that is the
    early cut-off. Inputs of a task that runs must be here: an evicted one runs first. If that gives it other
    content, tasks that were reused may be stale: `again` says so.
    """

    plan: Plan
    executor: Executor | None = None
    watcher: Watcher | None = None
    report: Report = field(default_factory=Report)
    _waits: dict[str, int] = field(default_factory=dict)
    _ready: list[str] = field(default_factory=list)
    _blocking: dict[str, list[str]] = field(default_factory=dict)
    _active: dict[Future[Done], tuple[str, float]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _started: set[str] = field(default_factory=set)
    _git: str | None = None
    _root: Path = field(default_factory=Path)
    _current: str = ""
    again: bool = False

    def run(self) -> Report:
        """Run until nothing is left that can run."""
        graph = self.plan.graph
        self._root = project.root()
        self._git = project.commit(self.plan.repository.root)
        tasks = [id for id, task in graph.tasks.items() if not task.aggregates]
        self._waits = {id: len(graph.inputs[id]) for id in tasks}
        self._ready = [id for id in reversed(tasks) if not self._waits[id]]
        done: queue.SimpleQueue[Future[Done]] = queue.SimpleQueue()
        started = time.perf_counter()
        self._tell("begin", self.plan, self._running)
        try:
            while self._ready or self._active:
                while self._ready:
                    self._start(self._ready.pop(), done)
                    if not done.empty():
                        break
                if self._active:
                    self._collect(done.get())
        finally:
            for future in self._active:
                future.cancel()
            self._tell("end")
        self.report.seconds = time.perf_counter() - started
        self.report.sort(graph.tasks)
        return self.report

    def _running(self) -> list[Task]:
        """Tasks that are being computed now."""
        ids = [id for future, (id, _) in list(self._active.items()) if future.running()]
        return [self.plan.graph.tasks[id] for id in [*ids, *([self._current] if self._current else [])]]

    def _note(self, outcome: Outcome) -> None:
        self.report.add(outcome)
        self._tell("settled", outcome)

    def _tell(self, what: str, *told: Any) -> None:
        """Tell who looks at the run. A terminal that is closed, or a full disk, costs the display and no result."""
        if self.watcher is None:
            return
        try:
            getattr(self.watcher, what)(*told)
        except Exception:
            log.exception("what shows the run failed; it goes on without")
            self.watcher = None

    def _start(self, id: str, done: queue.SimpleQueue[Future[Done]]) -> None:
        """All inputs of the task are settled: decide what is to be done, and begin it."""
        plan, graph = self.plan, self.plan.graph
        if id in self._started:
            return
        failed = [i for i in graph.inputs[id] if i in self._failed] if self._failed else []
        if failed and not plan.settled(id):
            self._fail(id, Outcome(graph.tasks[id], "blocked", f"{graph.tasks[failed[0]]!r} failed"))
            return
        try:
            node = self._judge(id)
        except (D6tstoreError, OSError) as error:
            self._fail(id, Outcome(graph.tasks[id], "failed", "cannot be planned", error=error))
            return
        if node.state is State.EXTERNAL or (node.task.external and node.reason == MISSING):
            how = absent(plan.repository, node.task)
            missing = ExternalAbsent(f"{node.task!r} is external and its result is not here: {how}.")
            self._fail(id, Outcome(node.task, "failed", node.reason, error=missing))
        elif plan.settled(id) and node.restore is None:
            self._settle(id, node.record, Outcome(node.task, "reused", node.reason, record=node.record))
        elif node.restore is None and (lacking := self._lacking(id)):
            self._fetch(id, lacking)
        else:
            self._submit(id, node, done)

    def _judge(self, id: str) -> Node:
        """State of a task whose inputs are settled, with the content that they really have."""
        plan = self.plan
        node = plan.nodes[id]
        if plan.settled(id) or not plan.graph.inputs[id]:
            return node
        if node.reason == FORCED or (node.reason == NEVER_RUN and node.task.backend is None):
            return node  # whatever its inputs came to
        expected, node = node.reason, plan.judge(id)
        if expected == UPSTREAM and plan.settled(id, node) and node.restore is None:
            node.reason = CUT_OFF
        plan.nodes[id] = node
        return node

    def _lacking(self, id: str) -> list[str]:
        """Inputs of which the record is here, but not the object."""
        nodes, inputs = self.plan.nodes, self.plan.graph.inputs[id]
        return [i for i in inputs if i in self._blocking or (nodes[i].state is State.EVICTED and not nodes[i].pipe)]

    def _fetch(self, id: str, lacking: list[str]) -> None:
        """Compute evicted inputs again before the task that loads them."""
        self._waits[id] = len(lacking)
        for upstream in lacking:
            waiting = self._blocking.setdefault(upstream, [])
            waiting.append(id)
            if len(waiting) == 1:
                self.plan.needed.add(upstream)
                self.plan.nodes[upstream] = self.plan.judge(upstream)
                self._started.discard(upstream)
                self._ready.append(upstream)

    def _submit(self, id: str, node: Node, done: queue.SimpleQueue[Future[Done]]) -> None:
        plan = self.plan
        self._started.add(id)
        self._tell("started")
        job = Job(
            repository=plan.repository,
            task=node.task,
            inputs={i: plan.records[i] for i in plan.graph.inputs[id] if i in plan.records},
            shape=plan.graph.shapes.get(id, ""),
            code=plan.code.of(node.task),
            reason=node.reason,
            git=self._git,
            seen=node.record.write_id if node.record else None,
            restore=node.restore,
            pid=project.pid(),
            root=self._root,
        )
        log.info("%r %s: %s", node.task, "is restored" if node.restore else "runs", node.reason)
        started = time.perf_counter()
        try:
            if self.executor is not None:
                future = self.executor.submit(execute, job)
                self._active[future] = id, started
                future.add_done_callback(done.put)
                return
            self._current = id
            result = execute(job)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - the report carries it; Ctrl-C goes through
            self._error(id, started, exc)
        else:
            self._result(id, result)
        finally:
            self._current = ""

    def _collect(self, future: Future[Done]) -> None:
        id, started = self._active.pop(future)
        error = future.exception()
        if error is not None:
            self._error(id, started, error)
        else:
            self._result(id, future.result())

    def _error(self, id: str, started: float, error: BaseException) -> None:
        node = self.plan.nodes[id]
        error.add_note(f"while running {node.task!r} ({node.reason})")
        seconds = time.perf_counter() - started
        self._fail(id, Outcome(node.task, "failed", node.reason, seconds, error))

    def _result(self, id: str, result: Done) -> None:
        node = self.plan.nodes[id]
        reason = node.reason if result.action != "reused" else "computed by somebody else meanwhile"
        seconds = result.record.seconds if result.action == "ran" else 0.0
        outcome = Outcome(node.task, result.action, reason, seconds, None, result.record)
        if id in self._blocking and self.plan.known(id) not in (None, result.record.content):
            self.again = True
        self._settle(id, result.record, outcome)

    def _settle(self, id: str, found: Record | None, outcome: Outcome) -> None:
        """The task has its result: those that read it may follow."""
        self.plan.settle(id, found)
        self._started.add(id)
        self._note(outcome)
        self._release(id)

    def _fail(self, id: str, outcome: Outcome) -> None:
        self._failed.add(id)
        self._started.add(id)
        self._note(outcome)
        self._release(id)

    def _release(self, id: str) -> None:
        """Those that waited for this task only are ready now."""
        waiting = self._blocking.pop(id, None)
        for reader in reversed(self.plan.graph.readers[id] if waiting is None else waiting):
            if reader in self._waits:  # an aggregator is nobody
                self._waits[reader] -= 1
                if not self._waits[reader]:
                    self._ready.append(reader)
