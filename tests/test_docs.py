"""Documentation is executed: the pages, the README, and the examples in docstrings.

The python blocks of a page run in order in one namespace, like the cells of a notebook, in a fresh folder.
A block ```text right behind one is what it prints: `...` stands for anything; the amount of white space does not
count, nor how long a run took, nor what a forecast says. A block with a title is a file: it is
written into that folder, where the others can import it. On the pages of SHELL the bash blocks run instead, in
order, as in one shell.
"""

from __future__ import annotations

import contextlib
import doctest
import html
import importlib
import io
import linecache
import os
import pkgutil
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import pytest

import d6tstore
import d6tstore_plugins

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = [ROOT / "docs/ci.md", ROOT / "docs/handover.md"]
NO_PYTHON = [*SHELL, ROOT / "docs/index.md"]
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.M | re.S)
TAKES = re.compile(r"about [\d.]+ (s|min|h) and [\d.]+ (B|kB|MB)|(?<=\bin )[\d.]+ s")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    module.name
    for package in (d6tstore, d6tstore_plugins)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
) + ["d6tstore"]


class Block(NamedTuple):
    line: int
    code: str
    expected: str | None


def equal(expected: str, printed: str) -> bool:
    """Is it what the page shows?"""
    expected, printed = (TAKES.sub("soon", text) for text in (expected, printed))
    return doctest.OutputChecker().check_output(expected, printed, FLAGS)


def blocks(text: str, language: str = "python") -> list[Block]:
    """The blocks of a page in a language, each with the output that the page shows for it."""
    found, fences = [], list(FENCE.finditer(text))
    for i, fence in enumerate(fences):
        if fence[1] != language or fence[2]:
            continue
        shown = None
        behind = fences[i + 1] if i + 1 < len(fences) else None
        if behind and behind[1] == "text" and not behind[2] and not text[fence.end() : behind.start()].strip():
            shown = behind[3]
        found.append(Block(text.count("\n", 0, fence.start()) + 2, fence[3], shown))
    return found


def write_files(text: str, folder: Path) -> list[str]:
    """Write the files of a page; returns the names of its modules."""
    files = {fence[2]: fence[3] for fence in FENCE.finditer(text) if fence[2]}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return [Path(name).stem for name in files if name.endswith(".py")]


def play(page: str, text: str) -> None:
    """Run the blocks of a page. Raises AssertionError where it prints something else than the page shows."""
    name = f"page_{Path(page).stem.lower()}"
    module = sys.modules[name] = types.ModuleType(name)
    modules = write_files(text, Path.cwd())
    sys.path.insert(0, os.getcwd())
    try:
        for block in blocks(text):
            file = f"<{page}, line {block.line}>"
            linecache.cache[file] = (len(block.code), None, block.code.splitlines(True), file)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.code, file, "exec"), vars(module))
            if block.expected is not None:
                same = equal(block.expected, out.getvalue())
                shown = f"{page}, line {block.line} prints:\n{out.getvalue()}\nbut the page shows:\n"
                assert same, shown + block.expected
    finally:
        sys.path.remove(os.getcwd())
        for each in (name, *modules):
            sys.modules.pop(each, None)
        for file in [file for file in linecache.cache if file.startswith(f"<{page}, ")]:
            del linecache.cache[file]


def play_in_shell(page: str, text: str) -> None:
    """Run the bash blocks of a page, each in the folder where the one before ended. Raises as `play`."""
    write_files(text, Path.cwd())
    folder = os.getcwd()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for block in blocks(text, "bash"):
        command = ["bash", "-ec", f"exec 2>&1\n{block.code}\npwd"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        printed, _, folder = done.stdout.rstrip().rpartition("\n")
        shown = f"{page}, line {block.line} prints:\n{done.stdout}\nbut the page shows:\n{block.expected or ''}"
        assert done.returncode == 0, f"{shown}\nexit code {done.returncode}"
        same = equal(block.expected or "\n", f"{printed}\n")
        assert same, shown


@pytest.mark.parametrize("page", SHELL, ids=lambda page: page.name)
def test_page_of_commands(page, project):
    play_in_shell(page.name, page.read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NO_PYTHON], ids=lambda page: page.name)
def test_page(page):
    text = page.read_text()
    assert blocks(text), f"{page.name} has no python block"
    play(page.name, text)


def test_page_that_lies_is_noticed():
    with pytest.raises(AssertionError, match=r"line 2 prints:\s+3"):
        play("lie.md", "```python\nprint(1 + 2)\n```\n```text\n4\n```\n")
    play("true.md", "```python\nprint(1 + 2, id(1))\n```\n\n```text\n3   ...\n```\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", page.read_text()):
        assert not target or (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    if name.rpartition(".")[2] in ("keras", "torch"):
        pytest.importorskip(name.rpartition(".")[2], reason="a large library: scripts/env --group models")
    module = importlib.import_module(name)
    # Classes of an example belong to the user, not to the module that documents them.
    names = {**vars(module), "__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for example in doctest.DocTestFinder().find(module, name, module=module, globs=names):
        out = io.StringIO()
        runner.run(example, out=out.write)
        assert not runner.failures, out.getvalue()


def test_the_picture_of_the_readme_is_up_to_date():
    drawn = re.findall(r">([^<>]+)</text>", (ROOT / "docs/images/flow.svg").read_text())
    labels = re.findall(r'\["(.*)"\]', runpy.run_path(str(ROOT / "docs/images/flow.py"))["picture"]().mermaid)
    lines = [line for label in labels for line in label.replace("#39;", "'").split("<br/>")]
    assert sorted(html.unescape(text) for text in drawn) == sorted(lines), "run docs/images/flow.py"


def test_plugins_of_the_page_pass_the_conformance_tests(tmp_path):
    write_files((ROOT / "docs/plugins.md").read_text(), tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0 and passed and int(passed[1]) > 50, done.stdout[-3000:]
