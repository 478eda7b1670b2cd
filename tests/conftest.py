"""Fixtures that all tests share: a fresh store each, no default left behind."""

from __future__ import annotations

import contextlib
import importlib
import sys
import textwrap

import pytest

import d6tstore
from d6tstore import context


@pytest.fixture(autouse=True)
def no_default_store():
    yield
    context.set_default(None)


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Each test works in a project of its own."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def store(tmp_path):
    """A local store that is the current one."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(d6tstore.use(d6tstore.open(tmp_path / "store")))


@pytest.fixture(params=["local", "memory"])
def any_store(request, tmp_path):
    """A store on each backend, current."""
    url = {"local": str(tmp_path / "store"), "memory": "memory://"}[request.param]
    with d6tstore.use(d6tstore.open(url)) as store:
        yield store


@pytest.fixture
def flow(project, monkeypatch):
    """Write the source of a module `flow` of the user's project and import it afresh."""
    monkeypatch.syspath_prepend(str(project))

    def write(source: str, name: str = "flow"):
        (project / f"{name}.py").write_text(textwrap.dedent(source))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        for cached in (project / "__pycache__").glob(f"{name}.*"):
            cached.unlink()  # two edits within a second of the same length look alike to the import system
        names.add(name)
        return importlib.import_module(name)

    names: set[str] = set()
    yield write
    for name in names:
        sys.modules.pop(name, None)
