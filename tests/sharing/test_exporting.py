"""`d6tstore export`: external classes of a flow, with the ids of the flow's, in Python that anybody can import."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import itertools
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Annotated, Any, NewType

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typed_values import TEXT, TYPED, Colour, Config

import d6tstore
from d6tstore.cli import cli
from d6tstore.errors import ExternalAbsent, GraphError, ParameterError, PluginError, UsageError
from d6tstore.exporting import source
from d6tstore.format import Format

count = itertools.count()


def imported(text: str) -> types.ModuleType:
    """The module, imported from a file."""
    file = Path(f"shared_{os.getpid()}_{next(count)}.py").absolute()
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def task_class(family: str, base: type = d6tstore.tasks.TaskJson, **body: Any) -> type:
    return type(family, (base,), {"__module__": __name__, "raw_files": lambda self: [], **body})


def lines_of(doc: str) -> list[str]:
    """Lines of a docstring, without white space around them all and behind each."""
    return "\n".join(line.rstrip() for line in inspect.cleandoc(doc).split("\n")).strip().split("\n")


def linted(text: str) -> None:
    for command in (["check", "--isolated", "-"], ["format", "--isolated", "-"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr + text


FLOW = '''
    import datetime as dt
    import enum
    from dataclasses import dataclass
    from decimal import Decimal
    from pathlib import Path
    from typing import Literal

    import d6tstore

    print("what a module prints is no source")

    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"

    @dataclass
    class Config:
        depth: int = 3

    class GetData(d6tstore.tasks.TaskPqPandas):
        """All prices.

        Of "every" day, \\\\ of every 'year' and so on.
        """

        year: int
        day: dt.date = dt.date(2024, 1, 31)
        source: Path = Path("raw.csv")
        threads: int = d6tstore.Parameter(default=4, significant=False, description="changes nothing")

        def run(self):
            self.save(1)

    @d6tstore.requires(GetData)
    class Train(d6tstore.tasks.TaskPickle):
        persist = {"model": "pickle", "report": "html"}
        backend = "lake"
        colour: Colour = Colour.RED
        config: Config = Config()
        rates: list[Decimal] = [Decimal("1.50")]
        kind: Literal["ols", "svm"] | None = None

        def run(self):
            secret_of_the_engineer()
'''

EXPECTED = '''"""Tasks that somebody else runs: load their results, or build on them. Written by d6tstore export."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal

import d6tstore


class GetData(d6tstore.tasks.TaskPqPandas):
    """All prices.

    Of "every" day, \\\\ of every 'year' and so on.
    """

    external = True
    pipe = "team-features"

    year: int
    day: datetime.date = datetime.date(2024, 1, 31)
    source: Path = Path("raw.csv")
    threads: int = d6tstore.Parameter(
        default=4,
        significant=False,
        description="changes nothing",
    )


class Train(d6tstore.tasks.TaskPickle):
    external = True
    pipe = "team-features"
    backend = "lake"
    persist: ClassVar = {"model": "pickle", "report": "html"}

    colour: Literal["red", "blue"] = "red"
    # Config: its JSON value.
    config: Any = d6tstore.Parameter(default={"depth": 3})
    rates: list[Decimal] = d6tstore.Parameter(default=[Decimal("1.50")])
    kind: Literal["ols", "svm"] | None = None
    year: int
    day: datetime.date = datetime.date(2024, 1, 31)
    source: Path = Path("raw.csv")
'''


def test_a_flow(flow):
    mine = flow(FLOW)
    text = source(mine.Train, pipe="team-features")
    assert text == EXPECTED == source([mine.Train, mine.GetData], pipe="team-features")
    linted(text)
    theirs = imported(text)
    for family in ("GetData", "Train"):
        cls = getattr(theirs, family)
        assert cls.external and cls.pipe == "team-features"
        assert cls(year=2024).id == getattr(mine, family)(year=2024).id
        assert cls.formats() == getattr(mine, family).formats()
        assert inspect.getdoc(cls) == inspect.getdoc(getattr(mine, family))
        assert source(cls) == source(cls, pipe="other"), "what is external already stays as it is"
    assert theirs.Train(year=1, colour="blue").id == mine.Train(year=1, colour=mine.Colour.BLUE).id
    assert theirs.GetData(year=1, threads=9).id == mine.GetData(year=1).id


def test_an_exported_class_loads_without_the_flow(store, flow):
    mine = flow("""
        import d6tstore

        class Numbers(d6tstore.tasks.TaskJson):
            n: int

            def run(self):
                self.save(list(range(self.n)))
    """)
    store.run(mine.Numbers(n=3))
    Path("shared_tasks.py").write_text(source(mine.Numbers, "team"))
    code = f"""
        import sys, d6tstore
        sys.modules["flow"] = None
        import shared_tasks
        d6tstore.init({str(store.repository.default.url)!r})
        print(shared_tasks.Numbers(n="3").output().load())
        try:
            shared_tasks.Numbers(n=4).output().load()
        except d6tstore.errors.ExternalAbsent as exc:
            print(exc)
        print(d6tstore.preview(shared_tasks.Numbers(n=4)))
    """
    done = subprocess.run([sys.executable, "-c", inspect.cleandoc(code)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[0, 1, 2]\n") and "d6tstore pipe pull team" in done.stdout
    assert "EXTERNAL, absent" in done.stdout


# -------------------------------------------------------- every type and value


@settings(deadline=None)
@given(st.data(), TYPED, st.booleans())
def test_ids_are_those_of_the_flow(data, typed, required):
    default, value = data.draw(typed.values), data.draw(typed.values)
    body = {"__annotations__": {"x": typed.kind}} | ({} if required else {"x": d6tstore.Parameter(default=default)})
    cls = task_class("Sample", **body)
    try:
        mine = cls(x=value)
        assert required or cls().id
    except ParameterError:  # it has no stable hash: two members of an enum in a set, say
        assume(False)
    text = source(cls)
    theirs = imported(text).Sample
    assert theirs(**mine.parameters_json()).id == mine.id, text
    assert not typed.known or theirs(x=value).id == mine.id, text
    assert required or (theirs().id == cls().id), text
    assert source(theirs) == re.sub("    # .*JSON value.\n", "", text) and source(cls) == text


@settings(deadline=None)
@given(TEXT, TEXT, st.text(max_size=20))
def test_texts_of_every_kind(default, description, doc):
    cls = task_class(
        "Sample",
        __doc__=doc,
        persist=["a b", "é"][:1],
        x=d6tstore.Parameter(default=default, description=description),
    )
    text = source(cls)
    assert all(c.isprintable() or c == "\n" for c in text)
    theirs = imported(text).Sample
    assert theirs().x == default and theirs.fields()["x"].description == description
    assert not doc.strip() or lines_of(theirs.__doc__) == lines_of(doc)
    assert theirs().id == cls().id


@pytest.mark.parametrize(
    "doc",
    ['"', 'ends with "', '"""', "\\", 'a\\"""b', '"""\n"""', "a\r\nb", "\x1b[31m\u202e", "a\n\n  b  \n", "'''", '\\"'],
)
def test_docstrings(doc):
    text = source(task_class("Sample", __doc__=doc))
    ast.parse(text)
    (found,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    assert ast.get_docstring(found).split() == inspect.cleandoc(doc).split()


NAMES = """
    int str list dict type set frozenset datetime Path Decimal Any Literal ClassVar d6tstore vars pipe match case
    lambda class None é 名前 l O
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_parameters(name):
    import datetime as dt
    from decimal import Decimal

    others = {
        "a_day": (dt.date, dt.date(2024, 1, 2)), "a_text": (str, "x"), "items": (list[int], [1]),
        "empty": (set[str], set()),
        "frozen": (frozenset[str], frozenset("a")), "loose": (Any, None), "amount": (Decimal, Decimal(1)),
        "path": (Path, Path("x")), "last": (int, 1),
    }  # fmt: skip
    named = {name: (int, 3), **{f"x_{other}": pair for other, pair in others.items()}}
    fields = {n: d6tstore.Parameter(default, type=kind, description="d") for n, (kind, default) in named.items()}
    cls = task_class("Sample", persist={"a": "json", "b": "text"}, **fields)
    text = source(cls, "team")
    if name not in "lO":  # whose names linters never like
        linted(text)
    theirs = imported(text).Sample
    assert theirs().id == cls().id and theirs(**{name: "4"}).id == cls(**{name: 4}).id
    assert vars(theirs).get("pipe") == (None if name == "pipe" else "team")


@pytest.mark.parametrize("name", ["int", "datetime", "Path", "d6tstore", "Any", "_datetime", "é", "match", "vars"])
def test_names_of_classes(name):
    import datetime as dt

    body = {"x": d6tstore.Parameter(dt.date(2024, 1, 2)), "y": d6tstore.IntParameter(1), "z": d6tstore.Parameter(None)}
    one, two = task_class(name, p=d6tstore.PathParameter("x"), **body), task_class("_d6tstore", **body)
    theirs = imported(source([one, two]))
    assert getattr(theirs, name)(y=3).id == one(y=3).id and theirs._d6tstore().id == two().id


@pytest.mark.parametrize("name", ["class", "ﬁt", "None"])
def test_a_class_that_python_cannot_import(name):
    with pytest.raises(UsageError, match="Rename the class"):
        source(task_class(name))


def test_types_that_stand_for_others():
    Year = NewType("Year", int)
    fields = {
        "year": d6tstore.Parameter(Year(3), type=Year),
        "positive": d6tstore.Parameter(3, type=Annotated[int, msgspec.Meta(gt=0)]),
        "nothing": d6tstore.Parameter((), type=tuple[()]),
        "either": d6tstore.Parameter("a", type=int | str | None),
        "configs": d6tstore.Parameter([Config()], type=list[Config]),
        "colours": d6tstore.Parameter({"a": Colour.RED}, type=dict[str, Colour | None]),
        "whatever": d6tstore.Parameter(3, type=object),
    }
    cls = task_class("Sample", **fields)
    text = source(cls)
    linted(text)
    assert "year: int = 3" in text and "nothing: tuple[()] = ()" in text and "either: int | str | None" in text
    assert "positive: int = 3" in text and "configs: Any" in text and "whatever: object = 3" in text
    assert imported(text).Sample(positive="4").id == cls(positive=4).id


# --------------------------------------------------------------------- classes


class Own(Format):
    """A format of the flow."""

    suffix = ".own"

    def dump(self, value, file):
        file.write(value)

    def load(self, file):
        return file.read()


def test_a_format_of_the_flow_is_said(store):
    class Sample(d6tstore.Task):
        format = Own

        def run(self):
            self.save(b"x")

    store.run(Sample())
    text = source(Sample)
    assert 'format = "test_exporting:Own"' in text and '# Output "data" loads where a plug-in brings' in text
    with pytest.raises(PluginError, match="test_exporting:Own"):
        imported(text).Sample().output().load()


def test_a_format_of_a_plug_in_goes_by_its_name(store):
    from d6tstore_plugins.formats.json import JsonFormat

    class Sample(d6tstore.Task):
        format = JsonFormat

        def run(self):
            self.save([1])

    store.run(Sample())
    text = source(Sample)
    assert 'format = "json"' in text
    assert imported(text).Sample().output().load() == [1]


def test_a_method_that_requires_needs_a_task(flow):
    module = flow("""
        import d6tstore

        class A(d6tstore.tasks.TaskJson):
            n: int

        class B(d6tstore.tasks.TaskText):
            n: int
            m: int

            def requires(self):
                return {"a": [A(n=self.n)]}

        class All(d6tstore.tasks.TaskAggregator):
            def requires(self):
                return [B(n=n, m=1) for n in range(3)]
    """)
    with pytest.raises(UsageError, match=r"B\(n=..., m=...\) in Python, --n VALUE --m VALUE on the command line"):
        source(module.B)
    text = source(module.B(n=1, m=2))
    assert text.index("class A(") < text.index("class B(")
    assert source(module.All) == text
    done = CliRunner().invoke(cli, ["export", "flow:B", "--n", "1", "--m", "2"])
    assert done.exit_code == 0 and done.stdout == text


def test_two_classes_of_a_family_and_other_bad_input(flow):
    one, two = task_class("Same"), task_class("Same")
    with pytest.raises(GraphError, match="two task classes of the family 'Same'"):
        source([one, two])
    with pytest.raises(UsageError, match="takes task classes"):
        source([int])
    with pytest.raises(UsageError, match="name of a pipe"):
        source(one, pipe="a\nb")


def test_external_classes_keep_their_family(flow):
    base = task_class("Prices", run=lambda self: None, year=d6tstore.IntParameter(1))
    mine = type("Renamed", (base,), {"__module__": __name__, "external": True, "pipe": "theirs"})
    theirs = imported(source(mine, pipe="ours")).Prices
    assert theirs().id == base().id and theirs.pipe == "theirs"


# --------------------------------------------------------------------- command


def test_command(flow, project):
    flow(FLOW)
    del sys.modules["flow"]
    command = [sys.executable, "-m", "d6tstore.cli", "export", "flow:Train", "--pipe", "team-features"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, cwd=project, env=environment)
    assert done.stdout.decode() == EXPECTED and b"what a module prints" in done.stderr
    assert {file.name for file in project.iterdir()} - {"__pycache__"} == {"pyproject.toml", "flow.py"}


def test_command_writes_utf_8_whatever_the_terminal(flow, project):
    flow('import d6tstore\nclass Sample(d6tstore.tasks.TaskJson):\n    "é名"\n')
    command = [sys.executable, "-m", "d6tstore.cli", "export", "flow:Sample"]
    done = subprocess.run(command, capture_output=True, cwd=project, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert '"""é名"""' in done.stdout.decode()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which classes"),
        (["flow:Nope"], "has no Nope"),
        (["flow:Colour"], "is no task"),
        (["flow:Train", "--yeer", "1"], "mean --year"),
        (["flow:Train", "--pipe", "a\nb"], "name of a pipe"),
    ],
)
def test_command_refuses(flow, words, message):
    flow(FLOW)
    done = CliRunner().invoke(cli, ["export", *words])
    assert done.exit_code == 2 and message in done.output.replace("\n", " ") and not done.stdout


def test_absent_names_the_pull(store):
    theirs = imported(source(task_class("Sample"), "team")).Sample
    with pytest.raises(ExternalAbsent, match="d6tstore pipe pull team brings it"):
        theirs().output().load()
