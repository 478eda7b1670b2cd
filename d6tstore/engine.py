"""Runs what a plan says, on any `concurrent.futures.Executor`."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from d6tstore import project, record
from d6tstore.attempt import Attempt
from d6tstore.errors import ExternalAbsent, Held, RecordError
from d6tstore.fingerprint import Fingerprint
from d6tstore.plan import ABSENT, CUT_OFF, FORCED, MISSING, UPSTREAM, Node, Plan, State, stale
from d6tstore.record import Record
from d6tstore.report import Outcome, Report
from d6tstore.repository import Repository
from d6tstore.task import Task

log = logging.getLogger("d6tstore")


@dataclass(frozen=True, slots=True)
class Job:
    """One task to compute: everything that a worker needs, picklable."""

    repository: Repository
    task: Task
    inputs: Mapping[str, Record]
    code: Fingerprint
    reason: str
    seen: str | None  # write id of the record that the plan judged
    git: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """What a job returns: `ran` is False if somebody else computed the task meanwhile."""

    record: Record
    ran: bool


def execute(job: Job) -> Done:
    """Compute one task under its claim. Runs in a thread or process of the executor."""
    task, repository = job.task, job.repository
    backend = repository.backend(task)
    key = f"{repository.family(task)}-{task.hash}"
    info = {"who": project.author(), "host": project.host(), "pid": project.pid(), "since": record.now()}
    wait = 0.01
    while True:
        try:
            with backend.claim(key, info):
                return _compute(job)
        except Held as held:
            who = " ".join(f"{k}={v}" for k, v in held.info.items())
            log.info("%r is being computed (%s); waiting", task, who)
            threading.Event().wait(wait)
            wait = min(wait * 1.5, 1.0)


def _compute(job: Job) -> Done:
    task, repository = job.task, job.repository
    try:
        current = repository.read_one(task)
    except RecordError:
        current = None  # damaged: that is why it runs
    if current is not None and current.write_id != job.seen:
        # Somebody published between the plan and our claim: plan this one again.
        contents = {id: found.content for id, found in job.inputs.items()}
        fresh = not stale(repository, task, current, job.code, contents)
        if fresh and job.reason != FORCED and not repository.missing([(task, current)]):
            return Done(current, ran=False)
    attempt = Attempt(repository, task, job.inputs, current, job.code, job.git, anew=job.reason == FORCED)
    with attempt.running() as bound:
        bound.run()
        return Done(attempt.commit(), ran=True)


@dataclass(slots=True)
class Run:
    """One run of a plan, on an executor or, without one, in the calling thread.

    A task is judged again when its inputs are settled, with the content that they really have: that is the
    early cut-off. Inputs of a task that runs must be here: an evicted one runs first.
    """

    plan: Plan
    executor: Executor | None = None
    report: Report = field(default_factory=Report)
    _waits: dict[str, int] = field(default_factory=dict)
    _ready: list[str] = field(default_factory=list)
    _blocking: dict[str, list[str]] = field(default_factory=dict)
    _active: dict[Future[Done], tuple[str, float]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _started: set[str] = field(default_factory=set)
    _git: str | None = None

    def run(self) -> Report:
        """Run until nothing is left that can run."""
        graph = self.plan.graph
        self._git = project.commit(self.plan.repository.root)
        tasks = [id for id, task in graph.tasks.items() if not task.aggregates]
        self._waits = {id: len(graph.inputs[id]) for id in tasks}
        self._ready = [id for id in reversed(tasks) if not self._waits[id]]
        done: queue.SimpleQueue[Future[Done]] = queue.SimpleQueue()
        started = time.perf_counter()
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
        self.report.seconds = time.perf_counter() - started
        self.report.sort(graph.tasks)
        return self.report

    def _start(self, id: str, done: queue.SimpleQueue[Future[Done]]) -> None:
        """All inputs of the task are settled: decide what is to be done, and begin it."""
        plan, graph = self.plan, self.plan.graph
        if id in self._started:
            return
        failed = [i for i in graph.inputs[id] if i in self._failed] if self._failed else []
        if failed and not plan.settled(id):
            self._fail(id, Outcome(graph.tasks[id], "blocked", f"{graph.tasks[failed[0]]!r} failed"))
            return
        node = plan.nodes[id]
        if not plan.settled(id) and graph.inputs[id]:
            expected, node = node.reason, plan.judge(id)
            plan.nodes[id] = node
            if expected == UPSTREAM and plan.settled(id) and node.restore is None:
                node.reason = CUT_OFF
        if node.state is State.EXTERNAL or (node.task.external and node.reason == MISSING):
            error = ExternalAbsent(f"{node.task!r} is external and its result is not here: {ABSENT}.")
            self._fail(id, Outcome(node.task, "failed", node.reason, error=error))
        elif node.restore is not None:
            restored = plan.repository.restore(node.task, node.restore, node.record)
            self._settle(id, restored, Outcome(node.task, "restored", node.reason, record=restored))
        elif plan.settled(id):
            self._settle(id, node.record, Outcome(node.task, "reused", node.reason, record=node.record))
        elif lacking := [
            i for i in graph.inputs[id] if i in self._blocking or plan.nodes[i].state is State.EVICTED
        ]:
            self._fetch(id, lacking)
        else:
            self._submit(id, node, done)

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
        inputs = {i: plan.records[i] for i in plan.graph.inputs[id]}
        seen = node.record.write_id if node.record else None
        job = Job(plan.repository, node.task, inputs, plan.code.of(node.task), node.reason, seen, self._git)
        log.info("%r runs: %s", node.task, node.reason)
        started = time.perf_counter()
        if self.executor is not None:
            future = self.executor.submit(execute, job)
            self._active[future] = id, started
            future.add_done_callback(done.put)
            return
        try:
            result = execute(job)
        except Exception as exc:  # noqa: BLE001 - as an executor does: the report carries it, Ctrl-C goes through
            self._error(id, started, exc)
        else:
            self._result(id, result)

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
        action = "ran" if result.ran else "reused"
        reason = node.reason if result.ran else "computed by somebody else meanwhile"
        outcome = Outcome(
            node.task, action, reason, result.record.seconds if result.ran else 0.0, None, result.record
        )
        self._settle(id, result.record, outcome)

    def _settle(self, id: str, found: Record | None, outcome: Outcome) -> None:
        """The task has its result: those that read it may follow."""
        self.plan.settle(id, found)
        self._started.add(id)
        self.report.add(outcome)
        self._release(id)

    def _fail(self, id: str, outcome: Outcome) -> None:
        self._failed.add(id)
        self._started.add(id)
        self.report.add(outcome)
        self._release(id)

    def _release(self, id: str) -> None:
        """Those that waited for this task only are ready now."""
        waiting = self._blocking.pop(id, None)
        for reader in reversed(self.plan.graph.readers[id] if waiting is None else waiting):
            if reader in self._waits:  # an aggregator is nobody
                self._waits[reader] -= 1
                if not self._waits[reader]:
                    self._ready.append(reader)
