"""d6tstore, by its public names."""

import d6tstore
from contenders import DEPTH
from contenders.d6tstore_tasks import Node
from contenders.d6tstore_warm import Warm


def warm(folder):
    store = d6tstore.open(folder + "-warm")
    store.run(Warm())
    store.run(Warm())


def first(n, folder):
    width = n // DEPTH
    store = d6tstore.open(folder)
    report = store.run([Node(layer=DEPTH - 1, index=i, width=width) for i in range(width)])
    assert len(report.ran) == n


def again(n, folder):
    width = n // DEPTH
    store = d6tstore.open(folder)
    report = store.run([Node(layer=DEPTH - 1, index=i, width=width) for i in range(width)])
    assert len(report.reused) == n


def plan(n, folder):
    """Graph and plan of all tasks, kept: the worker looks at its memory."""
    width = n // DEPTH
    plan = d6tstore.open(folder).plan([Node(layer=DEPTH - 1, index=i, width=width) for i in range(width)])
    assert len(plan) == n
    return plan


def diamonds(n, folder):
    """Plan `n` layers of two tasks, each of which requires both of the layer below: 2 ** n paths."""
    plan = d6tstore.open(folder).plan([Node(layer=n - 1, index=i, width=2) for i in range(2)])
    assert len(plan) == 2 * n


def one(n, folder):
    """Open a store and run one task, nothing imported before but d6tstore: what a first call costs."""
    d6tstore.open(folder).run(Warm())
