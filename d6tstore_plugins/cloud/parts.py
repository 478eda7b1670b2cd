"""In which parts a large object goes."""

from __future__ import annotations

PART = 8 << 20
"""Bytes of a part of a large object."""
_PARTS = 10_000  # of an object, at most


def part_of(size: int) -> int:
    """Bytes of a part of an object of so many: more than usual where there would be too many parts.

    Example:
        >>> part_of(1 << 30), part_of(1 << 40)
        (8388608, 109951163)
    """
    return max(PART, -(-size // _PARTS))
