"""joblib.Memory, each task called on its own: it looks at every result, but knows of no inputs."""

from joblib import Memory

from contenders import DEPTH, value


def node(layer, index, width):
    return value(layer, index)


def _all(n, folder):
    width = n // DEPTH
    cached = Memory(folder, verbose=0).cache(node)
    for layer in range(DEPTH):
        for index in range(width):
            cached(layer, index, width)


first = again = _all
