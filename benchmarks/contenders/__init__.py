"""One module per contender, all with the same lattice: `first(n, folder)` and `again(n, folder)`.

A contender may have `warm(folder)`, which makes it import what it imports lazily; it is not timed.
"""

DEPTH = 10


def upstream(layer: int, index: int, width: int) -> list[tuple[int, int]]:
    """The two tasks of the layer below that a task requires; none for the first layer."""
    return [(layer - 1, index), (layer - 1, (index + 1) % width)] if layer else []


def value(layer: int, index: int) -> dict[str, int]:
    """What each task saves."""
    return {"layer": layer, "index": index}
