"""Types of parameters and values of them, for property tests: every kind that a task class can declare."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import msgspec
from hypothesis import strategies as st


class Colour(enum.Enum):
    RED = "red"
    BLUE = 'bl"ue\n'


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Kind(enum.StrEnum):
    A = "a"
    B = "b"


@dataclasses.dataclass(frozen=True)
class Config:
    n: int = 1
    day: dt.date = dt.date(2024, 1, 2)


class Point(msgspec.Struct, frozen=True):
    x: float
    label: str = ""


class Pair(NamedTuple):
    left: int
    right: str


class Typed(NamedTuple):
    """A type, a strategy of its values, and whether the standard library has it."""

    kind: Any
    values: st.SearchStrategy
    known: bool = True


ZONES = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=-30)), dt.timezone.min])
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text("ab./ é'\"\\", min_size=1, max_size=6).filter(lambda name: not name.startswith(("/", "~")))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([1.0, -0.0, 2.5]) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
HASHABLE = [
    Typed(int, st.integers(-(2**70), 2**70)),
    Typed(str, TEXT),
    Typed(dt.date, st.dates()),
    Typed(Literal["a", 'b"\n'], st.sampled_from(["a", 'b"\n'])),
    Typed(Kind, st.sampled_from(Kind), False),
    Typed(Level, st.sampled_from(Level), False),
]
SIMPLE = [
    *HASHABLE,
    Typed(bool, st.booleans()),
    Typed(float, st.floats(allow_nan=False, allow_infinity=False)),
    Typed(bytes, st.binary(max_size=6)),
    Typed(dt.datetime, st.datetimes(timezones=ZONES)),
    Typed(dt.time, st.times()),
    Typed(dt.timedelta, st.timedeltas(dt.timedelta(days=-9999), dt.timedelta(days=9999))),
    Typed(Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    Typed(uuid.UUID, st.uuids()),
    Typed(Path, NAMES.map(Path)),
    Typed(Colour, st.sampled_from(Colour), False),
    Typed(Config, st.builds(Config, st.integers(), st.dates()), False),
    Typed(Point, st.builds(Point, st.floats(allow_nan=False, allow_infinity=False), TEXT), False),
    Typed(Pair, st.builds(Pair, st.integers(), TEXT), False),
    Typed(Any, JSON),
    Typed(list, st.lists(JSON, max_size=2)),
    Typed(dict, st.dictionaries(TEXT, JSON, max_size=2)),
]


def _lists(item: Typed) -> list[Typed]:
    some = st.lists(item.values, max_size=3)
    return [
        Typed(list[item.kind], some, item.known),
        Typed(collections.abc.Sequence[item.kind], some, item.known),
        Typed(tuple[item.kind, ...], some.map(tuple), item.known),
        Typed(tuple[item.kind, int], st.tuples(item.values, st.integers(0, 3)), item.known),
        Typed(Optional[item.kind], st.none() | item.values, item.known),  # noqa: UP045 - as users write it
        Typed(dict[str, item.kind], st.dictionaries(TEXT, item.values, max_size=2), item.known),
    ]


def _keyed(key: Typed) -> list[Typed]:
    return [
        Typed(set[key.kind], st.sets(key.values, max_size=3), key.known),
        Typed(frozenset[key.kind], st.frozensets(key.values, max_size=3), key.known),
        Typed(dict[key.kind, int], st.dictionaries(key.values, st.integers(0, 3), max_size=3), key.known),
    ]


TYPED = st.recursive(
    st.sampled_from([*SIMPLE, *(typed for key in HASHABLE for typed in _keyed(key))]),
    lambda inner: inner.flatmap(lambda item: st.sampled_from(_lists(item))),
    max_leaves=3,
)
