"""Parameters: what is accepted, what it becomes, what is refused and how."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import d6tstore
from d6tstore.errors import FrozenError, GraphError, ParameterError, SaveError


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Typed(d6tstore.tasks.TaskJson):
    i: int = 1
    f: float = 1.0
    b: bool = True
    s: str = "x"
    d: dt.date = dt.date(2024, 1, 2)
    t: dt.datetime = dt.datetime(2024, 1, 2, 3)
    choice: Literal["a", "b"] = "a"
    colour: Colour = Colour.RED
    items: list[int] = [1, 2]
    pair: tuple[int, str] = (1, "a")
    mapping: dict[str, float] = {"a": 1.0}
    maybe: Optional[int] = None  # noqa: UP045 - as users write it
    path: Path = Path("raw.csv")
    amount: Decimal = Decimal("1.5")
    threads: int = d6tstore.Parameter(default=1, significant=False)
    NOT_A_PARAMETER: ClassVar[int] = 3
    _private: int = 3


@pytest.mark.parametrize(
    ("name", "given", "becomes"),
    [
        ("i", "3", 3),
        ("i", np.int64(3), 3),
        ("f", 2, 2.0),
        ("f", "2.5", 2.5),
        ("f", np.float32(0.5), 0.5),
        ("b", "false", False),
        ("b", np.bool_(False), False),
        ("d", "2024-05-06", dt.date(2024, 5, 6)),
        ("t", "2024-05-06T07:08:09", dt.datetime(2024, 5, 6, 7, 8, 9)),
        ("choice", "b", "b"),
        ("colour", "blue", Colour.BLUE),
        ("colour", Colour.BLUE, Colour.BLUE),
        ("items", (3, 4), [3, 4]),
        ("items", np.array([3, 4]), [3, 4]),
        ("pair", [2, "b"], (2, "b")),
        ("mapping", {"b": 1}, {"b": 1.0}),
        ("maybe", "7", 7),
        ("amount", "2.50", Decimal("2.50")),
    ],
)
def test_values_are_converted(name, given, becomes):
    value = getattr(Typed(**{name: given}), name)
    assert value == becomes
    assert type(value) is type(becomes)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("i", "x"), ("i", 1.5), ("i", 3.0), ("i", True), ("i", None), ("f", "x"),
        ("f", float("nan")), ("f", float("inf")), ("b", 3), ("s", 3), ("s", "\ud800"), ("d", "yesterday"),
        ("choice", "c"), ("colour", "green"), ("items", ["x"]), ("items", 3), ("pair", (1,)),
        ("mapping", {"a": "x"}), ("path", 3), ("mapping", {"a": float("nan")}),
    ],
)  # fmt: skip
def test_unsuitable_values_are_refused(name, given):
    with pytest.raises(ParameterError, match=f"Typed: parameter '{name}' must be .*"):
        Typed(**{name: given})


def test_unknown_missing_and_misnamed():
    class Needs(d6tstore.tasks.TaskJson):
        year: int

    with pytest.raises(ParameterError, match=r"Needs: parameter 'year' \(int\) is required. Pass year="):
        Needs()
    with pytest.raises(ParameterError, match="Needs has no parameter 'yaer'; it has year"):
        Needs(year=1, yaer=2)
    with pytest.raises(ParameterError, match="Rename"):

        class Bad(d6tstore.tasks.TaskJson):
            run = d6tstore.Parameter()

    for body in ({"__annotations__": {"id": int}}, {"hash": 3}, {"parameters": lambda self: {}}):
        with pytest.raises(ParameterError, match="Rename it"):
            type("Bad", (d6tstore.tasks.TaskJson,), body)


@pytest.mark.parametrize("value", [object(), lambda: 1, {1, object()}, [object()]])
def test_any_refuses_what_has_no_stable_hash(value):
    class Loose(d6tstore.tasks.TaskJson):
        x: Any = None

    with pytest.raises(ParameterError, match="Loose: parameter 'x'"):
        Loose(x=value)


def test_classes_instead_of_annotations():
    class Old(d6tstore.tasks.TaskJson):
        a = d6tstore.IntParameter(default=1)
        b = d6tstore.FloatParameter(default=1)
        c = d6tstore.BoolParameter(default=False)
        d = d6tstore.DateParameter(default="2024-01-01")
        e = d6tstore.ChoiceParameter(["x", "y"], default="x")
        f = d6tstore.Parameter(default="text")
        g = d6tstore.Parameter()
        h = d6tstore.ListParameter(default=[])
        i = d6tstore.DictParameter(default={})
        j = d6tstore.EnumParameter(Colour, default="red")

    task = Old(g={"any": [1, None]}, a="5", e="y")
    assert (task.a, task.b, task.c, task.d, task.e, task.f, task.g) == (
        5, 1.0, False, dt.date(2024, 1, 1), "y", "text", {"any": [1, None]},
    )  # fmt: skip
    assert task.j is Colour.RED
    with pytest.raises(ParameterError):
        Old(g=1, e="z")


def test_members_of_an_enum_whatever_their_values():
    class Leveled(d6tstore.tasks.TaskJson):
        level: Level = Level.LOW
        perhaps: Level | None = Level.HIGH

    task = Leveled()
    assert (task.level, task.perhaps) == (Level.LOW, Level.HIGH) and task.id == Leveled(level=1, perhaps=2).id


def test_only_annotations_of_parameters_count():
    assert "NOT_A_PARAMETER" not in Typed.fields() and "_private" not in Typed.fields()

    class Configured(d6tstore.tasks.TaskJson):
        version: int = 3
        persist: list[str] = ["a"]

    assert Configured.fields() == {} and Configured.version == 3


def test_a_task_is_frozen():
    task = Typed()
    for attempt in (
        lambda: setattr(task, "i", 2),
        lambda: setattr(task, "new", 2),
        lambda: delattr(task, "i"),
    ):
        with pytest.raises(FrozenError, match="frozen"):
            attempt()
    task.items.append(3)
    task.mapping["z"] = 1.0
    assert task.items == [1, 2] and task.mapping == {"a": 1.0}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        task.nothing  # noqa: B018


def test_identity():
    base = Typed()
    assert base == Typed() and hash(base) == hash(Typed()) and base.id == Typed().id
    assert Typed(threads=8).id == base.id and Typed(threads=8) != base
    others = [
        Typed(i=2), Typed(f=1.5), Typed(b=False), Typed(s="y"), Typed(s="é"), Typed(items=[2, 1]), Typed(maybe=0),
        Typed(mapping={}),
        Typed(colour="blue"), Typed(path="b.csv"), Typed(d="2024-01-03"),
    ]  # fmt: skip
    assert len({t.id for t in [base, *others]}) == len(others) + 1
    assert Typed(mapping={"a": 1, "b": 2}).id == Typed(mapping={"b": 2, "a": 1}).id


def test_identity_is_the_same_for_ever():
    """Golden: results on disk would be lost if this changed."""
    assert Typed().id == "Typed-9ff7a61101237687"
    assert d6tstore.tasks.TaskJson().hash == "2f283245f86a7f79"


def test_family_distinguishes_case_and_parameters_types():
    class Any1(d6tstore.tasks.TaskJson):
        x: Any = None

    assert len({Any1(x=x).id for x in (1, 1.0, True, "1", None, "None", [1], {"1": 1})}) == 8

    class any1(d6tstore.tasks.TaskJson):
        x: Any = None

    assert any1().hash != Any1().hash


def test_paths_are_relative_to_the_project(project, monkeypatch):
    inside = project / "data" / "raw.csv"
    assert Typed(path=inside).id == Typed(path="data/raw.csv").id
    assert Typed(path="data/raw.csv").path == inside
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert Typed(path="data/raw.csv").path == inside
    assert Typed(path=inside).parameters_json()["path"] == "data/raw.csv"
    assert Typed(path="/elsewhere/x.csv").parameters_json()["path"] == "/elsewhere/x.csv"


def test_clone_and_inheritance():
    class Get(d6tstore.tasks.TaskJson):
        year: int = 2024
        source: str = "web"

    @d6tstore.requires(Get)
    class Clean(d6tstore.tasks.TaskJson):
        strict: bool = False

    @d6tstore.requires({"clean": Clean, "raw": Get})
    class Train(d6tstore.tasks.TaskJson):
        model: str = "ols"

    train = Train(year=2025, strict="true")
    assert list(Train.fields()) == ["model", "strict", "year", "source"]
    assert train.requires() == {"clean": Clean(year=2025, strict=True), "raw": Get(year=2025)}
    assert train.clone(model="svm") == Train(model="svm", year=2025, strict=True)
    assert train.clone(Get) == Get(year=2025)
    with pytest.raises(ParameterError):
        train.clone(modle="svm")

    @d6tstore.requires(Get, Clean)
    class Both(d6tstore.tasks.TaskJson):
        pass

    assert Both().requires() == [Get(), Clean()]

    @d6tstore.requires(a=Get, b=Clean)
    class Named(d6tstore.tasks.TaskJson):
        pass

    assert Named().requires() == {"a": Get(), "b": Clean()}
    for wrong in (3, Get(), [Get, 3], "Get"):
        with pytest.raises(GraphError, match="give task classes"):
            d6tstore.requires(wrong)


def test_subclasses_inherit_and_override():
    class Base(d6tstore.tasks.TaskJson):
        a: int = 1
        b: int = 2

    class Child(Base):
        b: int = 3
        c: list[int] = []

    assert list(Child.fields()) == ["a", "b", "c"]
    assert (Child().a, Child().b, Child().c) == (1, 3, [])
    assert Base().b == 2


def test_families():
    class Prices(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(1)

    class Theirs(Prices):
        external = True

    assert Theirs.family == "Prices" and Theirs().id == Prices().id
    for name in ("a" * 101, "../x", "a b", "ä" * 60):
        with pytest.raises(ParameterError, match="Rename the class"):
            type(name, (d6tstore.tasks.TaskJson,), {})


@pytest.mark.parametrize("persist", [[], "data", ["a/b"], [""], ["a" * 65], {1: "json"}, ["../x"], [".hidden"]])
def test_unfit_output_names(persist):
    Unfit = type("Unfit", (d6tstore.tasks.TaskJson,), {"persist": persist})
    with pytest.raises(SaveError, match="Unfit: persist"):
        Unfit().formats()


def test_tasks_pickle():
    for task in (Typed(i=5, items=[9]), Typed()):
        assert pickle.loads(pickle.dumps(task)) == task


@given(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers()))
def test_any_parameters_make_a_task_that_comes_back_from_its_record(s, i, f, items):
    task = Typed(s=s, i=i, f=f, items=items)
    again = Typed(**task.parameters_json(), **task.parameters_json(significant=False))
    assert again == task and again.id == task.id


def test_unresolvable_annotation():
    class Odd(d6tstore.tasks.TaskJson):
        x: "NoSuchType" = 1  # noqa: F821, UP037

    with pytest.raises(ParameterError, match="cannot be resolved"):
        Odd()


@pytest.mark.parametrize("kind", [Any, list, dict, list[Any], dict[str, Any]])
@pytest.mark.parametrize("value", [dt.date(2024, 1, 1), Colour.RED, Path("x"), {1}, b"x", {1: 2}, Decimal(1)])
def test_without_a_type_nothing_that_json_would_merge(kind, value):
    Loose = type("Loose", (d6tstore.tasks.TaskJson,), {"__annotations__": {"x": kind}})
    wrapped = {"k": value} if kind in (dict, dict[str, Any]) else [value] if kind is not Any else value
    with pytest.raises(ParameterError, match="declare a type"):
        Loose(x=wrapped)


def test_keys_that_are_no_text_where_the_type_says_so():
    class Typed(d6tstore.tasks.TaskJson):
        weights: dict[int, float] = {1: 0.5}

    assert Typed(weights={2: 1}).weights == {2: 1.0}
    assert Typed(weights={2: 1}).id != Typed(weights={3: 1}).id
    assert Typed(**Typed(weights={2: 1}).parameters_json()) == Typed(weights={2: 1})


def test_significance_is_inherited():
    class Loose(d6tstore.tasks.TaskJson):
        seed: int = d6tstore.Parameter(default=0, significant=False)

    class Strict(d6tstore.tasks.TaskJson):
        seed: int = 0

    @d6tstore.requires(Loose, Strict)
    class Both(d6tstore.tasks.TaskJson):
        pass

    assert Both(seed=1).id != Both(seed=2).id

    @d6tstore.requires(Strict)
    class Wrong(d6tstore.tasks.TaskJson):
        seed: int = d6tstore.Parameter(default=0, significant=False)

    with pytest.raises(ParameterError, match="cannot be insignificant here"):
        Wrong()

    class ByHand(d6tstore.tasks.TaskJson):
        seed: int = d6tstore.Parameter(default=0, significant=False)

        def requires(self):
            return Strict(seed=self.seed)

    from d6tstore.graph import Graph

    with pytest.raises(GraphError, match="Make the parameter significant"):
        Graph([ByHand(seed=1), ByHand(seed=2)])


def test_new_defaults():
    class Get(d6tstore.tasks.TaskJson):
        rate: float = 0.5
        items: list[int] = [1]

    class Child(Get):
        rate = 1
        items = [2]

    assert Child() == Child(rate=1.0, items=[2]) and type(Child().rate) is float

    @d6tstore.requires(Get)
    class Clean(d6tstore.tasks.TaskJson):
        rate = 2

    assert Clean().requires() == Get(rate=2.0) and Clean(rate=3).requires() == Get(rate=3.0)


def test_definitions_that_are_refused():
    class Get(d6tstore.tasks.TaskJson):
        pass

    with pytest.raises(GraphError, match="decorated with requires twice"):

        @d6tstore.requires(Get)
        @d6tstore.requires(Get)
        class Twice(d6tstore.tasks.TaskJson):
            pass

    class Mixin:
        p = d6tstore.Parameter(default=3)

    with pytest.raises(ParameterError, match="declared in Mixin, which is no task class"):

        class Mixed(Mixin, d6tstore.tasks.TaskJson):
            pass

    for flawed in ("def run(self):\n    yield 1", "async def run(self):\n    pass"):
        body = {}
        exec(flawed, body)
        with pytest.raises(GraphError, match="generator or coroutine"):
            type("Flawed", (d6tstore.tasks.TaskJson,), {"run": body["run"]})


def test_external_classes_of_a_common_base():
    class Project(d6tstore.tasks.TaskJson):
        check = "content"

    class Prices(Project):
        external = True

    class Rates(Project):
        external = True

    assert Prices.family == "Prices" and Prices().id != Rates().id


def test_new_defaults_below_a_decorated_class():
    class Get(d6tstore.tasks.TaskJson):
        year: int = 2024

    @d6tstore.requires(Get)
    class Clean(d6tstore.tasks.TaskJson):
        pass

    class Clean25(Clean):
        year = 2025

    assert Clean25().requires() == Get(year=2025) and Clean25(year=2030).requires() == Get(year=2030)
    assert Clean().requires() == Get(year=2024)

    class Hides(Clean):
        @property
        def year(self):
            return 1

    with pytest.raises(ParameterError, match="'year' is a parameter of Get"):
        Hides()


@dataclasses.dataclass
class Config:
    depth: int = 3


def test_what_the_maker_edits_later_is_not_the_tasks():
    class Train(d6tstore.tasks.TaskJson):
        config: Config
        layers: list[Config] = []

    shared, layers = Config(), [Config()]
    tasks = []
    for depth in (3, 4):
        shared.depth = layers[0].depth = depth
        tasks.append(Train(config=shared, layers=layers))
    assert [(t.config.depth, t.layers[0].depth) for t in tasks] == [(3, 3), (4, 4)]
    assert tasks[0].id != tasks[1].id

    default = Config()

    class Defaults(d6tstore.tasks.TaskJson):
        config: Config = default

    before = Defaults().id
    default.depth = 99
    assert Defaults().id == before and Defaults().config.depth == 3


def test_text_that_fits_is_not_converted():
    class Lax(d6tstore.tasks.TaskJson):
        a: Literal["null", "a"] | None = None
        b: Literal[1, "1"] = 1
        c: int | str = 0

    assert Lax(a="null").a == "null" and Lax(b="1").b == "1" and Lax(c="5").c == "5"
    with pytest.raises(ParameterError, match="NaN"):
        Typed(amount=Decimal("NaN"))


def test_a_task_keeps_its_identity_when_it_travels(project, tmp_path, monkeypatch):
    task = Typed(path="raw.csv", items=[3])
    data = pickle.dumps(task)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "other")
    again = pickle.loads(data)
    assert again == task and again.id == task.id and again.path == project / "raw.csv" and again.items == [3]


@pytest.mark.parametrize("value", [(1, "a"), [(1, "a")], {"a": (1, "a")}])
def test_a_result_of_a_tuple_is_found_again(any_store, value):
    class Paired(d6tstore.tasks.TaskJson):
        x = d6tstore.Parameter(
            value, type={tuple: tuple[int, str], list: list[tuple], dict: dict[str, tuple]}[type(value)]
        )

        def run(self):
            self.save(1)

    assert any_store.run(Paired()).ran == [Paired()]
    assert any_store.run(Paired()).ran == [] and Paired().output().load() == 1
