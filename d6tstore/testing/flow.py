"""The reference flow: a small chain of tasks that every backend must carry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from d6tstore import context, registry
from d6tstore.backend import Backend
from d6tstore.errors import OutputMissing
from d6tstore.repository import Repository
from d6tstore.requirement import requires
from d6tstore.store import Store
from d6tstore.tasks import TaskJson, TaskPickle, TaskPqPandas
from d6tstore.testing.suite import Suite


class Source(TaskJson):
    """Some numbers; `version` stands for an edit of the code."""

    version = 1
    n: int = 5

    def run(self) -> None:
        """Save n numbers."""
        self.save([i * self.version for i in range(self.n)])


@requires(Source)
class Table(TaskPqPandas):
    """A frame of them."""

    name: str = "ünï/cödé '\"%s😀"

    def run(self) -> None:
        """Save a frame with text and nulls."""
        import pandas as pd

        numbers = self.input().load()
        frame = pd.DataFrame({"x": numbers, "text": [None if i % 2 else self.name for i in numbers]})
        self.save(frame.set_index(frame.x.astype(float).rename("i")))


@requires(Table)
class Model(TaskPickle):
    """What is computed from the frame."""

    factor: float = 2.0

    def run(self) -> None:
        """Save an object, with a metric."""
        frame = self.input().load()
        total = float(frame.x.sum()) * self.factor
        self.save({"total": total, "names": {self.factor: frame.text.iloc[0]}}, metrics={"total": total})


class FlowTests(Suite):
    """Needs the fixture `backend`."""

    @pytest.fixture
    def store(self, backend: Backend) -> Iterator[Store]:
        """A store on the backend, current."""
        memory = {"memory": registry.open_backend("memory://")}
        with context.using(Store(Repository(backend, memory, cache=0))) as store:  # no copies: what it gives itself
            yield store

    def test_flow_runs_once(self, store: Store) -> None:
        report = store.run(Model())
        assert report.ran == [Source(), Table(), Model()]
        assert Model().output().load(verify=True) == {"total": 20.0, "names": {2.0: Table().name}}
        frame = Table().output().load(verify=True)
        assert frame.index.name == "i" and frame.text.isna().tolist() == [False, True, False, True, False]
        again = store.run(Model())
        assert (again.ran, again.reused) == ([], [Source(), Table(), Model()])
        assert store.verify() == []

    def test_flow_runs_what_a_parameter_changes(self, store: Store) -> None:
        store.run(Model())
        assert store.run(Model(factor=3.0)).ran == [Model(factor=3.0)]
        assert Model(factor=3.0).output().load()["total"] == 30.0
        small: Any = {"n": 3}  # a parameter of Source, which the others inherit
        assert store.run(Model(**small)).ran == [Source(n=3), Table(**small), Model(**small)]
        assert Model().output().load()["total"] == 20.0
        assert store.compare([Model(), Model(**small)])["total"].tolist() == [20.0, 6.0]

    def test_flow_invalidates(self, store: Store) -> None:
        store.run(Model())
        Table().invalidate()
        assert not Table().complete() and not Table().output().exists()
        assert store.run(Model()).ran == [Table()], "equal content cuts off what is downstream"
        store.invalidate_upstream(Model())
        assert store.run(Model()).ran == [Source(), Table(), Model()]
        assert len(store.invalidate_all()) == 3
        assert store.run(Model(), force=True).ran == [Source(), Table(), Model()]

    def test_flow_restores_what_it_had(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.run(Model())
        monkeypatch.setattr(Source, "version", 2)
        assert store.run(Model()).ran == [Source(), Table(), Model()]
        assert Model().output().load()["total"] == 40.0
        assert len(store.history(Model())) == 2
        monkeypatch.setattr(Source, "version", 1)
        assert store.run(Model()).ran == []
        assert Model().output().load()["total"] == 20.0
        assert store.verify() == []

    def test_flow_collects_garbage(self, store: Store, backend: Backend) -> None:
        store.run([Model(), Model(factor=3.0)])
        assert store.gc(older_than=-3600).keys == []
        before = {entry.key for entry in backend.list()}
        Model(factor=3.0).invalidate()
        planned = store.gc(dry_run=True, older_than=-3600)
        removed = store.gc(older_than=-3600)
        assert sorted(planned.keys) == sorted(removed.keys) != []
        assert not {entry.key for entry in backend.list()} & set(removed.keys)
        assert {entry.key for entry in backend.list()} < before
        assert store.run(Model()).ran == []
        assert store.verify() == []

    def test_flow_notices_what_is_missing_or_damaged(self, store: Store, backend: Backend) -> None:
        store.run(Model())
        output = store.history(Model())[0].outputs["data"]
        backend.write(output.key, bytes(output.bytes))
        assert [problem.key for problem in store.verify()] == [output.key]
        backend.delete(output.key)
        with pytest.raises(OutputMissing):
            Model().output().load()
        assert store.run(Model()).ran == [Model()]
        assert store.verify() == []
