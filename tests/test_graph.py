"""The DAG: order, diamonds, aggregators, and everything that is no DAG."""

from __future__ import annotations

import time

import pytest

import d6tstore
from d6tstore.errors import GraphError, ParameterError
from d6tstore.graph import Graph


class A(d6tstore.tasks.TaskJson):
    n: int = 0


@d6tstore.requires(A)
class B(d6tstore.tasks.TaskJson):
    pass


@d6tstore.requires({"a": A, "b": B})
class C(d6tstore.tasks.TaskJson):
    pass


class Several(d6tstore.tasks.TaskAggregator):
    def requires(self):
        return {"b": [B(n=n) for n in range(2)], "c": C()}


class Top(d6tstore.tasks.TaskJson):
    def requires(self):
        return [Several(), A(n=9)]


def test_order_and_reach():
    graph = Graph(C())
    assert [t.family for t in graph] == ["A", "B", "C"] and C() in graph and C(n=1) not in graph
    assert graph.downstream([A().id]) == {A().id, B().id, C().id}
    assert graph.upstream([B().id]) == {A().id, B().id}
    assert len(Graph([C(), [B(), {"x": A(n=1)}]])) == 4 and len(Graph([])) == 0


def test_aggregators_stand_for_what_they_require():
    graph = Graph(Top())
    assert graph.inputs[Top().id] == (B(n=0).id, B(n=1).id, C().id, A(n=9).id)
    assert Graph(Several()).targets == (B(n=0).id, B(n=1).id, C().id)


class Twenty(d6tstore.tasks.TaskJson):
    layer: int
    side: int

    def requires(self):
        if self.layer:
            return [Twenty(layer=self.layer - 1, side=side) for side in (0, 1)]
        return None


class Chain(d6tstore.tasks.TaskJson):
    n: int

    def requires(self):
        return Chain(n=self.n - 1) if self.n else None


def test_diamonds_are_visited_once_and_chains_may_be_long(store):
    top = [Twenty(layer=20, side=side) for side in (0, 1)]
    start = time.perf_counter()
    plan = store.plan(top)
    assert len(plan) == 42
    assert time.perf_counter() - start < 5  # 2^20 visits would take minutes; the benchmark measures
    assert len(Graph(Chain(n=5000))) == 5001


class Ring(d6tstore.tasks.TaskJson):
    n: int

    def requires(self):
        return Ring(n=(self.n + 1) % 3)


def test_a_cycle_is_shown():
    with pytest.raises(GraphError, match=r"cycle: Ring\(n=0\) -> Ring\(n=1\) -> Ring\(n=2\) -> Ring\(n=0\)"):
        Graph(Ring(n=0))


@pytest.mark.parametrize("wrong", [3, "A", [A(), "B"], A, {"a": [A]}, (t for t in [A()])])
def test_requires_must_return_tasks(wrong):
    class Wrong(d6tstore.tasks.TaskJson):
        def requires(self):
            return wrong

    with pytest.raises(GraphError, match="must be a task, or a list"):
        Graph(Wrong())
    with pytest.raises(GraphError, match="the tasks to run must be"):
        Graph(wrong)


def test_two_classes_of_one_family():
    def other():
        class A(d6tstore.tasks.TaskJson):
            pass

        return A

    with pytest.raises(GraphError, match="two task classes of the family 'A'"):
        Graph([A(), other()()])


def test_a_required_parameter_that_the_decorator_cannot_fill():
    class Needs(d6tstore.tasks.TaskJson):
        year: int

    class Clean(d6tstore.tasks.TaskJson):
        def requires(self):
            return self.clone(Needs)

    with pytest.raises(ParameterError, match="'year'"):
        Graph(Clean())
