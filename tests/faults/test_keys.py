"""Whatever a parameter, a name or a namespace holds: keys stay below the root, and values come back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import d6tstore
from d6tstore.errors import InvalidKey, ParameterError, RunFailed, SaveError, UsageError

NASTY = [
    "",
    ".",
    "..",
    "../../../etc/passwd",
    "/etc/passwd",
    "~root",
    "a\0b",
    "\0",
    "x" * 10_000,
    "../" * 3000,
    "\U0001f600" * 5000,
    "日本語",
    "é",
    "e\u0301",  # the same to the eye, other code points
    "CON",
    "nul.txt",
    "COM1",
    ".hidden",
    "...",
    "-rf",
    "a\nb",
    "\r\n",
    " ",
    " trailing ",
    "trailing.",
    "a\\b",
    "C:\\Windows",
    "C:/Windows",
    "a:b",
    '<>:"|?*',
    "%2e%2e%2f",
    "$(rm -rf)",
    "'; --",
    "\u202e\u200b",
    "=,=",
    "{0}{x}%s",
]


class Text(d6tstore.tasks.TaskJson):
    text: str
    persist = ["one", "two words.x"]

    def run(self):
        self.save({"one": self.text, "two words.x": len(self.text)})


class Nested(d6tstore.tasks.TaskJson):
    items: dict[str, list[str]]
    name: str | None = None

    def run(self):
        self.save({"items": self.items, "name": self.name})


def check_inside(store, task):
    root = Path(store.repository.default.root).resolve()
    targets = task.output()
    for target in targets.values() if isinstance(targets, dict) else [targets]:
        path = target.path.resolve()
        assert path.is_relative_to(root)
        assert path.parent.parent == root / store.repository.family(task)
        assert path.name.isascii() and path.parent.name.isascii()
        assert not any(part.startswith(".") for part in path.relative_to(root).parts)
    for path in root.rglob("*"):
        assert all(len(part.encode()) <= 255 for part in path.relative_to(root).parts)


@pytest.mark.parametrize("namespace", ["", "team-1_x"])
def test_nasty_texts(tmp_path, namespace):
    around = {p.name for p in tmp_path.iterdir()}
    with d6tstore.use(d6tstore.open(tmp_path / "a" / "store", namespace=namespace)) as store:
        tasks = [Text(text=t) for t in NASTY]
        assert len({t.id for t in tasks}) == len(NASTY)
        store.run(tasks)
        for task in tasks:
            check_inside(store, task)
            assert task.output().load(verify=True) == {"one": task.text, "two words.x": len(task.text)}
        assert store.run(tasks).ran == []
        assert store.gc(older_than=0).keys == []
        store.preview(tasks)
        store.compare(tasks)
        assert store.verify() == []
    assert {p.name for p in tmp_path.iterdir()} == around | {"a"}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["store"]


quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@quick
@given(text=st.text(max_size=200))
def test_any_text(tmp_path, text):
    with (
        tempfile.TemporaryDirectory(dir=tmp_path) as folder,
        d6tstore.use(d6tstore.open(f"{folder}/s")) as store,
    ):
        task = Text(text=text)
        store.run(task)
        check_inside(store, task)
        assert task.output().load(verify=True)["one"] == text
        assert store.complete(Text(text=text))
        assert [p.name for p in Path(folder).iterdir()] == ["s"]


@quick
@given(items=st.dictionaries(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=3), max_size=3))
def test_any_nesting(tmp_path, items):
    with (
        tempfile.TemporaryDirectory(dir=tmp_path) as folder,
        d6tstore.use(d6tstore.open(f"{folder}/s")) as store,
    ):
        task = Nested(items=items, name=next(iter(items), None))
        store.run(task)
        check_inside(store, task)
        assert task.output().load(verify=True)["items"] == items
        assert [p.name for p in Path(folder).iterdir()] == ["s"]


@given(key=st.text(alphabet="a./\\\0:~ \n\U0001f600", max_size=12))
@settings(max_examples=400, deadline=None, database=None)
def test_a_key_that_passes_the_check_stays_inside(key):
    from d6tstore.backend import check_key

    try:
        check_key(key)
    except InvalidKey as exc:
        assert "relative" in str(exc)
        return
    import os

    assert os.path.normpath(f"/root/store/{key}") == f"/root/store/{key}"


def test_texts_that_differ_only_in_case_or_composition_stay_apart(store):
    texts = ["Abc", "abc", "ABC", "é", "e\u0301", "ﬁ", "fi", "a b", "a_b", "a/b"]
    store.run([Text(text=t) for t in texts])
    assert [Text(text=t).output()["one"].load() for t in texts] == texts
    folders = {Text(text=t).output()["one"].path.parent.name.lower() for t in texts}
    assert len(folders) == len(texts)


def test_families_and_outputs_that_differ_only_in_case_stay_apart(store):
    def made(name):
        return type(name, (d6tstore.tasks.TaskJson,), {"persist": ["x", "X"], "version": name, "run": run})

    def run(self):
        self.save({"x": type(self).__name__, "X": "upper"})

    tasks = [made("Train")(), made("TRAIN")(), made("train")()]
    store.run(tasks)
    keys = {o.path.as_posix().lower() for t in tasks for o in t.output().values()}
    assert len(keys) == 6  # also on a file system that folds case
    assert len({t.hash for t in tasks}) == 3
    assert [t.output().load() for t in tasks] == [{"x": type(t).__name__, "X": "upper"} for t in tasks]


@pytest.mark.parametrize("text", ["\ud800", "a\udcff"])
def test_half_a_character_is_refused(text):
    with pytest.raises(ParameterError, match="Text"):
        Text(text=text)


@pytest.mark.parametrize("name", ["../x", "/x", "", ".x", "a/b", "a\\b", "a\0", "a\nb", "x" * 65, "é", "a:b", "x\n"])
def test_names_of_outputs(store, name):
    kind = type("Bad", (d6tstore.tasks.TaskJson,), {"persist": [name, "y"], "run": lambda self: None})
    with pytest.raises(RunFailed, match="persist") as caught:
        store.run(kind())
    assert isinstance(caught.value.__cause__, SaveError)


@pytest.mark.parametrize("name", ["../x", "/x", "a.b", "a/b", "a\0", "a\n", "x" * 65, ".", "..", "é", " "])
def test_names_of_namespaces(tmp_path, name):
    with pytest.raises(UsageError, match="namespace"):
        d6tstore.open(tmp_path / "s", namespace=name)


def test_a_family_name_that_is_too_long_is_refused():
    with pytest.raises(ParameterError, match="Rename"):
        type("x" * 101, (d6tstore.tasks.TaskJson,), {})
