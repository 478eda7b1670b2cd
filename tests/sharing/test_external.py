"""`d6tstore.external`: tasks of somebody else, without their code."""

from __future__ import annotations

import datetime as dt
import enum
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from typed_values import TYPED

import d6tstore
from d6tstore import external, record
from d6tstore.errors import ExternalAbsent, GraphError, ParameterError, RunFailed, UsageError
from d6tstore.plan import State


def task_class(family: str, base: type = d6tstore.tasks.TaskJson, **body: Any) -> type:
    body = {"run": lambda self: self.save(self.parameters_json()), "raw_files": lambda self: [], **body}
    return type(family, (base,), {"__module__": __name__, **body})


def made(store: d6tstore.Store, cls: type, *params: dict[str, Any]) -> None:
    store.run([cls(**each) for each in params])


@pytest.fixture
def team(tmp_path):
    """The place of the pipe `team`, which is empty."""
    d6tstore.pipes.init("team", url=tmp_path / "team")
    yield d6tstore.open(tmp_path / "team")
    d6tstore.context.pipes.clear()


Prices = task_class("Prices", year=d6tstore.IntParameter(), market=d6tstore.StrParameter("us"))


# -------------------------------------------------------- every type and value


@settings(deadline=None)
@given(st.data(), TYPED)
def test_ids_are_those_of_the_class(data, typed):
    fields = {"x": d6tstore.Parameter(type=typed.kind), "y": d6tstore.IntParameter(0)}
    cls = task_class("Sample", **fields, run=lambda self: self.save(self.id))
    one, other = data.draw(typed.values), data.draw(typed.values)
    try:
        mine = [cls(x=one), cls(x=one, y=1), cls(x=other)]
    except ParameterError:  # it has no stable hash
        assume(False)
    with d6tstore.use(d6tstore.open("memory://")) as store:
        store.run(mine)
        assert external("team", "Sample", x=one, y=0).id == mine[0].id
        assert external("team", "Sample", x=one, y=1).id == mine[1].id
        assert external("team", "Sample", x=other, y=0).id == mine[2].id
        theirs = external("team", "Sample", **mine[0].parameters_json())
        assert theirs.id == mine[0].id and theirs.parameters_json() == mine[0].parameters_json()
        assert theirs.output().load() == mine[0].id
        assert pickle.loads(pickle.dumps(theirs)) == theirs


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "value", "given"),
    [
        (float, 1, 1), (float, 1.0, "1"), (int, 3, "3"), (int, 3, np.int64(3)), (bool, True, "true"),
        (dt.datetime, "2024-01-02T03:04:05Z", "2024-01-02 03:04:05+00:00"),
        (dt.date, dt.date(2024, 1, 2), "2024-01-02"), (Colour, "red", Colour.RED),
        (Decimal, "1.5", 1.5), (Decimal, "1.50", Decimal("1.50")), (Path, "raw.csv", "./raw.csv"),
        (Path, "raw.csv", Path("x/../raw.csv")), (list[Path], ["x", "/y"], [Path("./x"), Path("/y")]),
        (list[float], [1, 2], np.array([1, 2])), (dict[str, list[float]], {"a": [1]}, {"a": (1,)}),
        (dict[int, float], {1: 1}, {1: 1}), (set[int], {3, 1}, {1, 3}), (set[int], {3, 1}, {np.int64(1), 3}),
        (int | None, None, None), (list[dt.date], ["2024-01-02"], (dt.date(2024, 1, 2),)),
    ],
)  # fmt: skip
def test_values_are_converted_as_a_class_would(store, kind, value, given):
    cls = task_class("Sample", x=d6tstore.Parameter(type=kind))
    made(store, cls, {"x": value})
    assert external("team", "Sample", x=given).id == cls(x=value).id


def test_a_path_in_the_project_is_relative_to_it(store, project):
    cls = task_class("Sample", x=d6tstore.PathParameter())
    made(store, cls, {"x": "raw.csv"})
    assert external("team", "Sample", x=project / "raw.csv").id == cls(x="raw.csv").id


@pytest.mark.parametrize(
    ("value", "given"), [(1, True), (1, 1.5), (True, 1), ("1", 2), ("a", None), ([1], [1, 2]), ({"a": 1}, {"b": 1})]
)
def test_other_values_do_not_fit(store, team, value, given):
    made(store, task_class("Sample", x=d6tstore.Parameter()), {"x": value})
    with pytest.raises(ExternalAbsent, match="there is no result of Sample"):
        external("team", "Sample", x=given)


def test_what_json_tells_apart_stays_apart(store):
    cls = task_class("Sample", x=d6tstore.Parameter())
    values = [1, 1.0, True, "1", None, [1], [1.0], {"a": 1}]
    made(store, cls, *({"x": value} for value in values))
    for value in values:
        assert external("team", "Sample", x=value).id == cls(x=value).id
    wider = task_class("Wider", x=d6tstore.Parameter(), y=d6tstore.IntParameter(0))
    made(store, wider, *({"x": value} for value in values))
    for value in values:
        assert external("team", "Wider", x=value).id == wider(x=value).id


@pytest.mark.parametrize("value", [float("nan"), object(), {1: object()}, "\ud800", [float("inf")]])
def test_unsuitable_values_are_refused(store, value):
    with pytest.raises(ParameterError, match="Sample: parameter 'x' cannot be"):
        external("team", "Sample", x=value)


def test_a_cycle_is_refused(store):
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(ParameterError, match="'x' cannot be"):
        external("team", "Sample", x=ring)


# --------------------------------------------------------------- which result


def test_parameters_in_part(store, team):
    made(store, Prices, {"year": 2023}, {"year": 2024}, {"year": 2024, "market": "eu"})
    assert external("team", "Prices", year=2023).id == Prices(year=2023).id
    assert external("team", "Prices", market="eu").id == Prices(year=2024, market="eu").id
    with pytest.raises(
        UsageError, match=r"Prices\(year=2024\) fits 2 results. Say which one: give market \('\w+', '\w+'"
    ):
        external("team", "Prices", year=2024)
    with pytest.raises(UsageError, match="fits 3 results.*year.*market"):
        external("team", "Prices")
    with pytest.raises(ExternalAbsent, match=r"no result of Prices\(year=2030\).*'team'.*nearest one has year=202"):
        external("team", "Prices", year=2030)
    with pytest.raises(ParameterError, match="no parameter|has a parameter 'yaer', did you mean year"):
        external("team", "Prices", yaer=2023)
    with pytest.raises(ExternalAbsent, match="no result of a task class 'Price'.*did you mean Prices"):
        external("team", "Price", year=2023)


def test_messages_stay_short(store, team):
    cls = task_class("Sample", **{f"p{i}": d6tstore.Parameter("x") for i in range(20)})
    made(store, cls, *({f"p{i % 20}": f"{i}\x1b[31m" + "long" * 100} for i in range(60)))
    with pytest.raises(UsageError, match="fits 60 results") as caught:
        external("team", "Sample")
    assert len(str(caught.value)) < 3000 and "\x1b" not in str(caught.value)


def test_classes_that_were_edited(store):
    made(store, task_class("Sample", a=d6tstore.IntParameter(1)), {})
    newer = task_class("Sample", d6tstore.tasks.TaskText, a=d6tstore.IntParameter(1), b=d6tstore.IntParameter(2),
                       run=lambda self: self.save("text"))  # fmt: skip
    made(store, newer, {})
    old, new = external("team", "Sample", a=1), external("team", "Sample", b=2)
    assert old.output().load() == {"a": 1} and new.output().load() == "text"
    assert old.parameters == {"a": 1} and external("team", "Sample", a="1").id == old.id

    class Both(d6tstore.tasks.TaskJson):
        def requires(self):
            return [external("team", "Sample", a=1), external("team", "Sample", b=2)]

        def run(self):
            self.save(self.input().load())

    store.run(Both())
    assert Both().output().load() == [{"a": 1}, "text"]


def test_insignificant_parameters_decide_nothing(store):
    cls = task_class("Sample", a=d6tstore.IntParameter(1), threads=d6tstore.IntParameter(4, significant=False))
    made(store, cls, {})
    task = external("team", "Sample", a=1)
    assert task.threads == 4 and external("team", "Sample", threads=8).threads == 8
    assert external("team", "Sample", a=1, threads=8).id == cls().id == task.id


def test_namespace_and_named_backends(tmp_path):
    lake = task_class("Lake", backend="lake", n=d6tstore.IntParameter(1))
    with d6tstore.use(d6tstore.open(tmp_path / "a", namespace="team_a", backends={"lake": tmp_path / "b"})) as store:
        made(store, lake, {})
        made(store, Prices, {"year": 1})
        assert external("team", "Prices", year=1).output().load() == {"year": 1, "market": "us"}
        assert external("team", "Lake").output().load() == {"n": 1} and external("team", "Lake").backend == "lake"


def test_several_outputs_keep_names_and_formats(store):
    cls = task_class("Sample", persist={"a": "json", "b": "text"}, run=lambda self: self.save({"a": [1], "b": "x"}))
    made(store, cls, {})
    task = external("team", "Sample")
    assert type(task).formats() == {"a": "json", "b": "text"} and task.output().load() == {"a": [1], "b": "x"}


# ------------------------------------------------------------------- the pipe


def test_what_only_the_pipe_has(store, team):
    made(team, Prices, {"year": 2023}, {"year": 2024})
    task = external("team", "Prices", year="2024")
    assert task.id == Prices(year=2024).id
    plan = store.plan(task)
    assert plan[task].state is State.EXTERNAL and "d6tstore pipe pull team brings it" in plan[task].reason
    with pytest.raises(ExternalAbsent, match="d6tstore pipe pull team brings it"):
        task.output().load()
    with pytest.raises(RunFailed) as failed:
        store.run(task)
    assert "d6tstore pipe pull team brings it" in str(failed.value.__cause__)
    d6tstore.pipes.get_pipe("team").pull()
    assert task.output().load() == {"year": 2024, "market": "us"}
    assert external("team", "Prices", year=2024) == task, "the class is the same"


def test_a_pipe_of_another_namespace(store, tmp_path, team):
    with d6tstore.use(d6tstore.open(tmp_path / "team", namespace="them")) as other:
        made(other, Prices, {"year": 1})
    d6tstore.pipes.init("theirs", url=tmp_path / "team", namespace="them")
    assert external("theirs", "Prices").id == Prices(year=1).id


def test_an_unknown_pipe(store):
    with pytest.raises(UsageError, match="there is no pipe 'nope'"):
        external("nope", "Prices")


def test_a_pipe_of_plain_files(store, tmp_path):
    (tmp_path / "vendor").mkdir()
    d6tstore.pipes.files("vendor", url=tmp_path / "vendor")
    try:
        with pytest.raises(UsageError, match="plain files"):
            external("vendor", "Prices")
    finally:
        d6tstore.context.pipes.clear()


@pytest.mark.parametrize(
    ("pipe", "family"),
    [("team", "a b"), ("team", "../x"), (None, "Prices"), ("team", Prices), ("a\nb", "Prices"), ("team", "")],
)
def test_names_that_are_none(store, pipe, family):
    with pytest.raises(UsageError, match="name of a pipe and the name of a task class"):
        external(pipe, family)


# ------------------------------------------------------------ the class itself


def test_the_class_is_one_whoever_asks(store):
    made(store, Prices, {"year": 1}, {"year": 2})
    found = []

    def ask():
        with d6tstore.use(store):
            found.append(type(external("team", "Prices", year=2)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cls = type(external("team", "Prices", year=1))
    assert len(found) == 8 and set(found) == {cls}
    assert cls.pipe == "team" and cls.external and cls.__name__ == "Prices" and repr(external("team", "Prices", year=1))
    assert cls(year=3, market="us").id == Prices(year=3).id == external("team", "Prices", year=1).clone(year=3).id


class Total(d6tstore.tasks.TaskJson):
    def requires(self):
        return [external("team", "Prices", year=year) for year in (1, 2)]

    def run(self):
        self.save(sum(prices["year"] for prices in self.input().load()))


def test_it_is_built_upon_by_worker_processes(store):
    made(store, Prices, {"year": 1}, {"year": 2})
    with ProcessPoolExecutor(2) as pool:
        store.run(Total(), executor=pool)
    assert Total().output().load() == 3
    task = external("team", "Prices", year=1)
    assert cloudpickle.loads(cloudpickle.dumps(task)) == task and store.run(task).ran == []


def test_its_content_decides_what_is_stale(store):
    made(store, Prices, {"year": 1}, {"year": 2})
    assert store.run(Total()).ran == [Total()]
    store.run(Prices(year=1), force=True)
    assert store.run(Total()).ran == []
    fields = {"year": d6tstore.IntParameter(), "market": d6tstore.StrParameter("us")}
    edited = task_class("Prices", __module__="elsewhere", **fields, run=lambda self: self.save({"year": 10}))
    store.run(edited(year=1), force=True)
    assert store.run(Total()).ran == [Total()] and Total().output().load() == 12


def test_a_new_process_needs_no_code(store):
    made(store, Prices, {"year": 2024})
    code = (
        f"import d6tstore; d6tstore.init({str(store.repository.default.url)!r});"
        "task = d6tstore.external('team', 'Prices', year=2024);"
        "print(task, task.output().load()['year'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Prices(year=2024, market='us') 2024"


def test_two_classes_of_a_family_where_one_runs(store):
    made(store, Prices, {"year": 1})
    with pytest.raises(GraphError, match="two task classes of the family 'Prices'"):
        store.plan([Prices(year=2), external("team", "Prices", year=1)])


def test_a_parameter_named_pipe(store):
    cls = task_class("Sample", pipe=d6tstore.StrParameter("x"), family_=d6tstore.StrParameter("y"))
    made(store, cls, {})
    assert external("team", "Sample", pipe="x").pipe == "x"
    assert external("team", "Sample").id == cls().id


# ------------------------------------------------------------ damage and forgery


def written(store: d6tstore.Store, found: record.Record, key: str | None = None) -> None:
    store.repository.default.write(key or found.key, record.encode(found))


def forgeries(found: record.Record) -> list[record.Record]:
    def forged(**changes: Any) -> record.Record:
        new = replace(found, **changes)
        return replace(new, hash=record.task_hash(new.family, new.params)) if "hash" not in changes else new

    return [
        forged(params={"year": 7, "market": "us"}, hash=found.hash[::-1]),
        *(
            forged(params={"year": 7, name: 1})
            for name in ("save", "hash", "persist", "_own", "__slots__", "__reduce__", "a b", "fields", "family")
        ),
        forged(params={"year": 7}, insignificant={"year": 8}),
        forged(params={"year": 7}, outputs={}),
        forged(params={"year": 7}, outputs={"../x": next(iter(found.outputs.values()))}),
    ]


def test_damaged_and_forged_records_are_ignored(store, team):
    made(store, Prices, {"year": 1})
    good = store.repository.read_one(Prices(year=1))
    fakes = forgeries(good)
    for fake in fakes:
        written(store, fake)
        written(team, fake)
    store.repository.default.write(record.record_key("Prices", "0" * 16), b"{")
    written(store, good, record.record_key("Prices", "1" * 16))  # a copy under another name
    assert external("team", "Prices").id == Prices(year=1).id
    for fake in fakes:
        with pytest.raises((ExternalAbsent, ParameterError)):
            external("team", "Prices", **fake.params)


def test_a_record_under_the_key_of_another_is_ignored(store, team):
    made(store, Prices, {"year": 1})
    found = store.repository.read_one(Prices(year=1))
    store.repository.default.delete(found.key)
    written(store, found, record.record_key("Prices", "1" * 16))
    with pytest.raises(ExternalAbsent):
        external("team", "Prices")


def test_a_result_is_found_by_its_key(store, monkeypatch):
    made(store, Prices, *({"year": year} for year in range(20)))
    monkeypatch.setattr(type(store.repository.default), "records", None)  # no record of the family is read
    assert external("team", "Prices", year=7, market="us").id == Prices(year=7).id
