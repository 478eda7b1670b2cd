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
