"""Fixtures that all tests share: a fresh store each, no default left behind."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

import d6tstore
from d6tstore import context

# No test meets the keyring of whoever runs it: there is none, unless a test chooses one.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Of a worker that dies, CI shows the last lines only: its stacks, written to a file, are said there."""
    if not hasattr(node.config, "crashes"):
        node.config.crashes = tempfile.TemporaryDirectory(prefix="d6tstore-crashes-")
    node.workerinput["crashes"] = node.config.crashes.name


@pytest.hookimpl(trylast=True)  # pytest itself has them written to stderr
def pytest_configure(config):
    if hasattr(config, "workerinput"):
        config.crashed = Path(config.workerinput["crashes"], config.workerinput["workerid"]).open("w")
        faulthandler.enable(config.crashed)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem, report, sched):
    """A worker died in native code, of which of many libraries its stacks tell: what it just ran runs once more.

    Such a death does not come again with the same test (seen twice in some twenty runs of all tests). One that does,
    or a third one in a run, fails.
    """
    crashed = _crashed.setdefault(id(sched), set())
    if crashitem not in crashed and len(crashed) < 2:
        crashed.add(crashitem)
        report.outcome = "rerun"
        sched.mark_test_pending(crashitem)


_crashed = {}


def pytest_terminal_summary(terminalreporter, config):
    for file in Path(config.crashes.name).iterdir() if hasattr(config, "crashes") else ():
        if said := file.read_text():
            before, current, stack = said.partition("Current thread")  # none: a thread of native code
            terminalreporter.section(f"{file.name} died")
            terminalreporter.write_line(before.splitlines()[0])
            terminalreporter.write_line("\n".join((stack if current else before).splitlines()[1:40]))


@pytest.fixture(autouse=True)
def no_default_store():
    yield
    context.set_default(None)
    while context.pipes:
        remote = context.pipes.popitem()[1]
        if remote._backend is not None:
            remote._backend.close()
    while context.named:
        context.named.popitem()[1].close()


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Each test works in a project of its own."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("D6TSTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))  # profiles and the choice of a keyring
    # Of sessions within: a new one locks servers out of ours.
    monkeypatch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path))
    for variable in ("D6TSTORE_PROFILE", "D6TSTORE_STORE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in [name for name in os.environ if name.startswith("AWS_")]:  # no test meets keys of the developer's
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path / "project"


@pytest.fixture
def keyring(tmp_path):
    """An encrypted file of the test's own is the keyring of this process. Gives the file."""
    import keyring as package
    from keyring.backends.fail import Keyring as NoKeyring
    from keyring_file import FileKeyring

    package.set_keyring(FileKeyring(tmp_path / "keyring.cfg", "master of tests"))
    yield tmp_path / "keyring.cfg"
    package.set_keyring(NoKeyring())


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


@pytest.fixture(scope="session")
def roomy():
    """A folder for servers. Not pytest's: of root, a server is another user, whom each new session locks out of it."""
    folder = Path(tempfile.mkdtemp(prefix="d6tstore-servers-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(roomy):
    """The Postgres server of this worker."""
    from postgres import server

    (roomy / "postgres").mkdir()
    started = server(roomy / "postgres")
    yield started
    started.server.close()


@pytest.fixture
def database(postgres):
    """A schema of it that no other test uses."""
    from postgres import Database

    return Database(postgres)


@pytest.fixture
def people(tmp_path):
    """Makes people who share results through a folder; tests of other places have their own."""
    from pipe_people import Person

    return lambda name, **options: Person(tmp_path / name, tmp_path / "shared", options)


@pytest.fixture
def ann(people):
    """One of two people."""
    return people("ann")


@pytest.fixture
def bob(people):
    """The other one."""
    return people("bob")
