"""joblib.Memory, each task calls those that it requires: a second run looks at the last layer only."""

from joblib import Memory

from contenders import DEPTH, upstream, value

cached = None


def node(layer, index, width):
    for upper, i in upstream(layer, index, width):
        cached(upper, i, width)
    return value(layer, index)


def _all(n, folder):
    global cached
    width = n // DEPTH
    cached = Memory(folder, verbose=0).cache(node)
    for index in range(width):
        cached(DEPTH - 1, index, width)


first = again = _all
