"""The project as a whole: what it imports, exports, ships, and promises in its files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import d6tstore
from d6tstore import errors
from d6tstore.target import Target

ROOT = Path(__file__).parents[1]
HEAVY = ["pandas", "pyarrow", "numpy", "sqlalchemy", "fsspec", "sklearn", "rich", "click", "cloudpickle"]

# Files that are longer than the house allows, until somebody splits them. Never add to this.
LONG = {"content.py", "local.py", "task.py"}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["d6tstore", "d6tstore.store", "d6tstore.cli"])
def test_import_is_light(module):
    heavy = [name for name in HEAVY if not (module == "d6tstore.cli" and name in ("click", "rich"))]
    found = python(f"import sys, {module}; print(*[n for n in {heavy} if n in sys.modules])")
    assert found == ""


def test_import_prints_nothing_and_opens_nothing():
    assert python("import d6tstore, d6tstore.context as c; assert c._default is None") == ""


NAMES = """
    tasks errors Task requires Parameter IntParameter FloatParameter BoolParameter StrParameter DateParameter
    DatetimeParameter ChoiceParameter EnumParameter ListParameter TupleParameter DictParameter PathParameter
    init use open run preview why accept grid compare diff gc verify invalidate_upstream invalidate_downstream
    invalidate_all invalidate_orphans Store Target Record Format PathFormat TableFormat Backend TableBackend
    Plan State Report Comparison Diff
"""
OF_TASKS = """
    requires run save log input output complete invalidate clone persist external version backend check
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_public_name(name):
    assert getattr(d6tstore, name) is not None
    assert name in d6tstore.__all__ and name in dir(d6tstore)


def test_every_exported_name_exists():
    missing = [name for name in d6tstore.__all__ if not hasattr(d6tstore, name)]
    assert missing == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = d6tstore.nonsense


def test_names_of_tasks_targets_and_errors():
    for name in OF_TASKS.split():
        assert hasattr(d6tstore.Task, name), name
    for name in "exists load save invalidate uri path".split():
        assert hasattr(Target, name), name
    for kind in "PqPandas CSVPandas Json Pickle Cache CachePandas Aggregator".split():
        assert issubclass(getattr(d6tstore.tasks, f"Task{kind}"), d6tstore.Task)


def test_error_tree_is_the_one_in_the_docstring():
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"( {4}[│ ]*[├└]── )(\w+)", line):
            drawn.append((len(match[1]) // 4 - 1, match[2]))
    parents = {0: "D6tstoreError"}
    for depth, name in drawn:
        parents[depth] = name
        assert getattr(errors, name).__bases__[0].__name__ == parents[depth - 1], name
    defined = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.D6tstoreError)}
    assert defined == {name for _, name in drawn} | {"D6tstoreError"}


def test_files_are_short():
    for package in ("d6tstore", "d6tstore_plugins"):
        for file in (ROOT / package).rglob("*.py"):
            lines = len(file.read_text().splitlines())
            limit = 400 if file.name in LONG else 300
            assert lines <= limit, f"{file.relative_to(ROOT)} has {lines} lines, the house allows 250 (at most {limit})"


# ------------------------------------------------------------------- frame


def first_block(heading: str) -> str:
    text = (ROOT / "README.md").read_text()
    match = re.search(rf"^## {heading}\n.*?^```\w*\n(.*?)^```", text, re.M | re.S)
    assert match, f"README.md has no fenced block under '## {heading}'"
    return match[1].strip()


def test_the_two_commands_of_the_readme():
    assert first_block("Try it") == "scripts/demo"
    assert first_block("Test it") == "scripts/test"
    assert "scripts/test" in (ROOT / ".ci/run").read_text().splitlines()[-1]


def test_scripts_can_be_executed():
    for script in [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"]:
        assert os.access(script, os.X_OK), script
        subprocess.run(["bash", "-n", script], check=True)


def test_environment_refuses_an_old_python(tmp_path):
    for name in ("python3.13", "python3.12", "python3.11", "python3", "python"):
        fake = tmp_path / name
        fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.4\nexit 1\n')
        fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [ROOT / "scripts/env", "--venv", tmp_path / "venv"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_changelog_knows_the_version():
    assert f"## [{d6tstore.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_registry_is_named():
    hosts = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "anaconda" + r"\.org", "/opt/" + "pypi"]))
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    naming = []
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if file.is_file() and hosts.search(file.read_text(errors="replace")):
            naming.append(name)
    assert listed.stdout and naming == []


# ------------------------------------------------------------------- wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that nothing else in the checkout is touched."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("d6tstore", "d6tstore_plugins", "examples"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (built,) = (copy / "dist").iterdir()
    return built


def test_wheel_holds_both_packages_and_the_example(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    for package in ("d6tstore", "d6tstore_plugins"):
        sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / package).rglob("*.py")}
        assert sources <= names
        assert f"{package}/py.typed" in names
    assert "d6tstore/_examples/model_comparison/flow.py" in names
    top = {name.split("/")[0] for name in names}
    assert {n for n in top if not n.endswith(".dist-info")} == {"d6tstore", "d6tstore_plugins"}


def test_wheel_brings_the_template_of_new(wheel, tmp_path):
    """`d6tstore new` from the unpacked wheel alone makes a project that runs."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    for command in (["-m", "d6tstore.cli", "new", "made"], ["made/run.py"]):
        done = subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    there = {p.relative_to(ROOT / "examples/template") for p in (ROOT / "examples/template").rglob("*") if p.is_file()}
    shipped = tmp_path / "site" / "d6tstore" / "_examples" / "template"
    assert {p.as_posix() for p in there if "data" not in p.parts and "__pycache__" not in p.parts} == {
        p.relative_to(shipped).as_posix() for p in shipped.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }


def test_wheel_declares_plugins_command_and_licence(wheel):
    with zipfile.ZipFile(wheel) as file:
        info = next(n.split("/")[0] for n in file.namelist() if ".dist-info/" in n)
        points = file.read(f"{info}/entry_points.txt").decode()
        metadata = Parser().parsestr(file.read(f"{info}/METADATA").decode())
    assert "[d6tstore.backends]" in points and "file = d6tstore_plugins.local:LocalBackend" in points
    assert "[d6tstore.formats]" in points and "parquet = d6tstore_plugins.formats.parquet:ParquetFormat" in points
    assert "d6tstore = d6tstore.cli:main" in points
    assert metadata["Version"] == d6tstore.__version__
    assert metadata["License-Expression"] == "MIT" and metadata["Requires-Python"] == ">=3.11"
    assert "demo" in metadata.get_all("Provides-Extra")


def test_wheel_works_where_nothing_else_is(wheel, tmp_path):
    """Run from the unpacked wheel alone: the checkout is not on the path."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    code = (
        "import d6tstore, json; from d6tstore import registry;"
        "store = d6tstore.open('memory://');"
        "print(json.dumps([d6tstore.__file__, repr(store), registry.format_of('json').suffix]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    file, store, suffix = json.loads(done.stdout)
    assert file.startswith(str(tmp_path)) and store == "Store('memory://')" and suffix == ".json"
