"""The examples for plug-in authors, installed for real: built, in an environment of their own, without a network."""

import os
import re
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FILES = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.M | re.S)  # of the tutorial
OURS = ("backend-zip", "format-yaml")
BACKEND = "from d6tstore_plugins.memory import MemoryBackend\nclass Place(MemoryBackend): pass\n"

# A distribution: its modules, and the backends that it registers.
OTHERS = {
    "d6tstore-broken": (
        {"raises": "raise RuntimeError('boom')", "leaves": "raise SystemExit('bye')", "wrong": "class Place: pass"},
        {"raises": "raises:Place", "leaves": "leaves:Place", "wrong": "wrong:Place", "absent": "wrong:NoSuchClass"},
    ),
    "d6tstore-one": ({"place_one": BACKEND}, {"both": "place_one:Place", "one": "place_one:Place"}),
    "d6tstore-two": ({"place_two": BACKEND}, {"both": "place_two:Place"}),
}


def write_distribution(folder, name, modules, backends):
    folder.mkdir()
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    points = "\n".join(f'{key} = "{value}"' for key, value in backends.items())
    (folder / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n[project.entry-points."d6tstore.backends"]\n{points}\n'
        f'[tool.hatch.build.targets.wheel]\ninclude = ["*.py"]\n'
    )
    return folder


def write_tutorial(folder):
    for name, content in FILES.findall((ROOT / "docs/plugins.md").read_text()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Run a command of a new environment, which holds the examples and also sees the packages of this one."""
    folder = tmp_path_factory.mktemp("examples")
    uv = [sys.executable, "-m", "uv", "--offline", "--no-cache", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder / "venv"], check=True)
    python = next(path for path in folder.glob("venv/*/python*") if path.stem == "python")
    (site,) = (folder / "venv").glob("[Ll]ib/**/site-packages")
    seen = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "seen.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(seen)))
    sources = [EXAMPLES / name for name in OURS]
    sources += [write_distribution(folder / name, name, *parts) for name, parts in OTHERS.items()]
    sources.append(write_tutorial(folder / "d6tstore-rows"))
    before = files()
    subprocess.run(
        [*uv, "pip", "install", "--python", python, "--no-index", "--no-deps", "--no-build-isolation", *sources],
        check=True,
    )
    assert files() == before, "building leaves something in the examples"

    def run(*args, code=0):
        done = subprocess.run(
            [python, *args], capture_output=True, text=True, timeout=120, cwd=folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    yield run
    assert files() == before, "the tests leave something in the examples"


def files():
    return sorted(path for name in OURS for path in (EXAMPLES / name).rglob("*"))


def test_plugins_lists_what_is_installed_and_what_is_broken(installed):
    lines = {tuple(line.split()[:2]): line for line in installed("-m", "d6tstore.cli", "plugins").splitlines()}
    for name, status in {
        ("backends", "zip"): r"d6tstore_zip:ZipBackend +d6tstore-zip +ok",
        ("formats", "yaml"): r"d6tstore_yaml:YamlFormat +d6tstore-yaml +ok",
        ("backends", "rows"): r"d6tstore_rows:RowsBackend +d6tstore-rows +ok",
        ("formats", "lines"): r"d6tstore_rows_lines:LinesFormat +d6tstore-rows +ok",
        ("backends", "one"): r"d6tstore-one +ok",
        ("backends", "memory"): r"d6tstore +ok",
        ("backends", "raises"): r"d6tstore-broken +broken: .*RuntimeError: boom",
        ("backends", "leaves"): r"d6tstore-broken +broken: .*SystemExit: bye",
        ("backends", "wrong"): r"d6tstore-broken +broken: .*wrong:Place is no Backend class",
        ("backends", "absent"): r"d6tstore-broken +broken: .*NoSuchClass",
        ("backends", "both"): r"d6tstore-two +broken: .*claimed by d6tstore-one .* and d6tstore-two .*Uninstall one",
    }.items():
        assert re.search(f"{status}", lines[name]), lines[name]


FLOW = """
import sys
import d6tstore
from d6tstore.errors import PluginError

class Settings(d6tstore.Task):
    format = "yaml"
    n: int = 3
    def run(self):
        self.save({"model": "svm", "layers": [self.n, self.n]})

@d6tstore.requires(Settings)
class Table(d6tstore.tasks.TaskPqPandas):
    def run(self):
        import pandas as pd
        self.save(pd.DataFrame(self.input().load()))

d6tstore.init("zip://results.zip")
report = d6tstore.run(Table(n=4))
print(len(report.ran), Table(n=4).output().load().to_dict("list"), d6tstore.run(Table(n=4)).ran)
for url in ("raises", "leaves", "wrong", "absent", "both", "absent-altogether"):
    try:
        d6tstore.open(f"{url}://")
    except PluginError as exc:
        print(url, "->", exc)
print(d6tstore.open("one://"))
"""


def test_a_flow_runs_on_their_url_and_format(installed, tmp_path):
    (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))
    shown = installed(tmp_path / "flow.py").splitlines()
    assert shown[0] == "2 {'model': ['svm', 'svm'], 'layers': [4, 4]} []"
    assert [line.split(" ->")[0] for line in shown[1:-1]] == [
        "raises", "leaves", "wrong", "absent", "both", "absent-altogether",
    ]  # fmt: skip
    assert all("of d6tstore-broken" in line for line in shown[1:5])
    assert "d6tstore-one (place_one:Place) and d6tstore-two (place_two:Place)" in shown[5]
    assert shown[-1] == "Store('one://')"
    listed = installed("-m", "zipfile", "-l", "results.zip")
    assert re.search(r"Settings/n=4-\w+/data-\w+\.yaml", listed) and ".d6tstore/records/" in listed


def test_the_package_of_the_tutorial_runs(installed):
    assert installed("d6tstore-rows/flow.py") == "['name 0', 'name 1', 'name 2']\n"


@pytest.mark.parametrize("name", OURS)
def test_their_own_tests_pass(installed, name):
    shown = installed("-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / name)
    assert int(re.search(r"(\d+) passed", shown)[1]) > 30, shown


def test_they_are_as_small_as_we_say():
    assert len((EXAMPLES / "backend-zip/d6tstore_zip.py").read_text().splitlines()) <= 60
    assert len((EXAMPLES / "format-yaml/d6tstore_yaml.py").read_text().splitlines()) <= 25
