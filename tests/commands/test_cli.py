"""The command line: in process, in a pipe, in a terminal; every command with good and bad input."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import operator
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import invoke

import d6tstore
from d6tstore import cli as cli_module
from d6tstore import registry
from d6tstore.cli import cli
from d6tstore.commands import upkeep

D6TSTORE = [sys.executable, "-m", "d6tstore.cli"]
FLOW = """
    import datetime
    from pathlib import Path
    from typing import Literal, Optional
    import d6tstore

    class Get(d6tstore.tasks.TaskJson):
        n: int = 3
        def run(self):
            self.save(numbers(self.n))

    def numbers(n):
        if n < 0:
            raise ValueError("n is negative")
        return list(range(n))

    @d6tstore.requires(Get)
    class Clean(d6tstore.tasks.TaskJson):
        do_preprocess: bool = True
        def run(self):
            values = self.input().load()
            self.save(values[1:] if self.do_preprocess else values)

    @d6tstore.requires(Clean)
    class Train(d6tstore.tasks.TaskJson):
        model: Literal["ols", "svm"] = "ols"
        def run(self):
            self.save(sum(self.input().load()))

    class Typed(d6tstore.tasks.TaskJson):
        day: datetime.date
        layers: list[int] = [1]
        rate: float = 0.5
        limit: Optional[int] = 7
        raw: Optional[Path] = None
        workers: int = 1
        text: str = "x"
        def run(self):
            self.save([str(v) for v in self.parameters.values()])

    class Absent(d6tstore.tasks.TaskJson):
        external = True

    def helper(): ...
"""


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    """The path of modules is as before afterwards; no store from outside."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("D6TSTORE_STORE", raising=False)


@pytest.fixture
def module(flow):
    return flow(FLOW)


@pytest.fixture
def call(module):
    """Runs a command in this process."""
    return invoke


def error(result) -> str:
    """The one message on stderr; nothing else is there."""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr), result.stderr
    return result.stderr.removeprefix("Error: ").strip()


def data(*parts: str) -> list[Path]:
    return [p for p in Path(*parts).rglob("*") if p.is_file() and ".d6tstore" not in p.parts]


# ------------------------------------------------------------------------- run


def test_run_computes_then_reuses(call):
    first = call("run", "flow:Train", "--model", "svm")
    assert first.stdout.startswith("3 ran in ")
    assert "  ran      Train(model='svm', do_preprocess=True, n=3) (never run)" in first.stdout
    assert call("run", "flow:Train", "--model", "svm").stdout.startswith("3 reused in ")
    assert data("data")  # ./data is the default


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--do-preprocess", "false"], "do_preprocess=False"),
        (["--do_preprocess=false"], "do_preprocess=False"),
        (["--do-preprocess", "False", "--n=-1"], "do_preprocess=False, n=-1"),
    ],
)
def test_parameters_in_either_spelling(call, words, shown):
    assert shown in call("preview", "flow:Train", *words).stdout


def test_values_take_the_type_of_their_parameter(call, module):
    words = ["--day", "2024-02-29", "--layers", "[3, 2]", "--rate", "1e-3", "--limit", "null"]
    words += ["--raw", "x/y.csv", "--text=--odd: [1]", "--", "--workers", "4"]
    shown = call("preview", "flow:Typed", *words).stdout
    expected = module.Typed(
        day="2024-02-29", layers=[3, 2], rate=0.001, limit=None, raw="x/y.csv", workers=4, text="--odd: [1]"
    )
    assert shown.startswith(f"{expected!r}: PENDING")
    assert expected.parameters["layers"] == [3, 2] and expected.limit is None


def test_several_tasks(call):
    shown = call("run", "flow:Get", "--n", "1", "flow:Get", "--n", "2", "flow:Train").stdout
    assert shown.startswith("5 ran")
    assert "Get(n=1)" in shown and "Get(n=2)" in shown and "Train(" in shown


def test_force_takes_classes_and_all(call):
    call("run", "flow:Train")
    assert call("run", "flow:Train", "--force", "Clean").stdout.startswith("2 ran, 1 reused")
    assert call("run", "flow:Train", "--force", "flow:Train").stdout.startswith("1 ran, 2 reused")
    both = call("run", "--force", "Train", "--force", "Clean", "flow:Train", "--workers", "2").stdout
    assert both.startswith("2 ran, 1 reused")
    assert call("run", "flow:Train", "--force", "all").stdout.startswith("3 ran")
    assert "did you mean Clean?" in error(call("run", "flow:Train", "--force", "Claen", code=2))
    assert "They are Get, Clean, Train, or all." in error(call("run", "flow:Train", "--force", "xyz", code=2))


def test_a_failing_task_shows_the_report_and_the_users_frames_only(call, project):
    for words in ([], ["--workers", "2"]):
        result = call("run", "flow:Train", "--n", "-1", *words, code=1)
        assert result.stdout.startswith("1 failed, 2 blocked in ")
        assert f'File "{project}/flow.py", line 10, in run' in result.stderr
        assert f'File "{project}/flow.py", line 14, in numbers' in result.stderr
        assert "ValueError: n is negative" in result.stderr
        assert result.stderr.count("  File ") == 2  # no frame of d6tstore, nor of the pool
        last = result.stderr.splitlines()[-1]
        assert last.startswith("Error: 1 of 3 tasks failed, 2 could not run without them.")


def test_an_absent_external_task_is_no_traceback(call):
    result = call("run", "flow:Absent", code=1)
    assert "Absent() is external" in result.stdout
    assert result.stderr.startswith("[1/1] failed Absent(): ExternalAbsent\nError: 1 of 1 tasks failed.")


# ------------------------------------------------------------ how tasks are named


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which task? Name a task as module:Class"),
        (["Train"], "'Train' names no task"),
        (["flow:"], "'flow:' names no task"),
        ([":Train"], "':Train' names no task"),
        (["flwo:Train"], "there is no module flwo, did you mean flow?"),
        (["qqq.sub:Train"], "there is no module qqq. Modules are sought in "),
        ([".flow:Train"], "'.flow' names no module"),
        (["flow.py:Train"], "'flow.py' is a path. Name its module: flow:Train."),
        (["sub/flow.py:Train"], "Name its module: sub.flow:Train."),
        (["flow:Trian"], "module flow has no Trian, did you mean Train? Its tasks: Get, Clean, Train"),
        (["flow:helper"], "flow:helper is no task but a function. Its tasks: Get,"),
        (["flow:Train.x"], "module flow has no Train.x"),
        (["json:loads"], "json:loads is no task but a function. It defines no tasks."),
        (["flow:Train", "--modle", "svm"], "no parameter --modle, did you mean --model? It has --"),
        (["flow:Train", "--zzz=1"], "Train has no parameter --zzz. It has --model"),
        (["flow:Train", "svm"], "Train: 'svm' belongs to no option"),
        (["flow:Train", "-n", "3"], "Train: '-n' belongs to no option"),
        (["flow:Train", "--model"], "Train: --model needs a value"),
        (["flow:Train", "--model", "--n", "3"], "Train: --model needs a value"),
        (["flow:Train", "--n", "3", "--n", "4"], "Train: --n is given twice"),
        (["flow:Train", "--n", "three"], "parameter 'n' must be int, got 'three'"),
        (["flow:Train", "--model", "rf"], "parameter 'model' must be"),
        (["flow:Typed"], "Typed needs --day VALUE."),
        (["flow:Typed", "--day", "2024-01-01", "--layers", "1,2"], "Lists and dicts are written as JSON"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["run", "preview"])
def test_a_task_that_is_named_wrongly(call, command, words, message):
    result = call(command, *words, code=2)
    assert message in error(result)
    assert not result.stdout and not Path("data").exists()


@pytest.mark.parametrize("command", ["why", "reset", "accept", "show", "verify"])
def test_other_commands_name_tasks_alike(call, command):
    assert "did you mean Train?" in error(call(command, "flow:Trian", code=2))
    if command != "verify":
        assert "which task?" in error(call(command, code=2))


@pytest.mark.parametrize(
    ("source", "code", "traceback", "message"),
    [
        ("import nosuchthing", 1, "ModuleNotFoundError: No module named 'nosuchthing'", "your code raised"),
        ("1 / 0", 1, "ZeroDivisionError", "your code raised ZeroDivisionError"),
        ("def f(:", 1, "SyntaxError", "your code raised SyntaxError"),
        ("import sys; sys.exit(3)", 2, None, 'importing broken ended the program (SystemExit(3)).'),
        ("import d6tstore\n@d6tstore.requires(3)\nclass X: ...", 2, None, "broken.py, line 2: requires(3): "),
        ("import d6tstore as d\nclass X(d.Task):\n  def requires(self): 1/0", 1, "in requires", "your code"),
    ],
)  # fmt: skip
def test_a_module_that_raises(call, project, source, code, traceback, message):
    (project / "broken.py").write_text(source)
    try:
        result = call("preview", "broken:X", code=code)
    finally:
        sys.modules.pop("broken", None)
    assert message in result.stderr.splitlines()[-1]
    if traceback:
        assert traceback in result.stderr and f'"{project}/broken.py"' in result.stderr
        assert "d6tstore/" not in result.stderr.replace(str(project), "") and "importlib" not in result.stderr
    else:
        assert "Traceback" not in result.stderr


def test_a_broken_pipe_of_the_users_code_is_told(call, project):
    (project / "broken.py").write_text("raise BrokenPipeError(32, 'to the database')\n")
    assert "BrokenPipeError" in call("run", "broken:X", code=1).stderr


def test_an_error_that_has_no_text_costs_no_report(call, project):
    (project / "mute.py").write_text(
        textwrap.dedent("""
        import d6tstore
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no text")
            __repr__ = __str__
        class Bad(d6tstore.tasks.TaskJson):
            def run(self):
                raise Mute()
        class Good(d6tstore.tasks.TaskJson):
            def run(self):
                self.save(1)
    """)
    )
    done = call("run", "mute:Bad", "mute:Good", code=1)
    assert "1 ran, 1 failed" in done.stdout and "Mute: its text raises RuntimeError" in done.stdout
    assert "1 of 2 tasks failed" in done.stderr
    told = json.loads(call("run", "mute:Bad", "mute:Good", "--json", code=1).stdout)
    assert {each["error"] for each in told["tasks"]} == {None, "Mute: its text raises RuntimeError"}


def test_reset_of_a_damaged_record(call, project):
    call("run", "flow:Get")
    (file,) = (project / "data/.d6tstore/records/Get").iterdir()
    file.write_text("bad")
    assert "forgot Get(n=3)" in call("reset", "flow:Get", "--yes").stdout and not file.exists()


def test_why_names_what_began_it(call):
    call("run", "flow:Train")
    call("reset", "flow:Get", "--yes")
    shown = call("why", "flow:Train").stdout
    assert "input Clean(do_preprocess=True, n=3): PENDING (upstream will run)" in shown
    assert "because of Get(n=3): PENDING (never run)" in shown
    assert re.search(r"its result of [-0-9T:]+ was reset at [-0-9T:]+\n", call("why", "flow:Get").stdout)


def test_a_profile_default_is_the_default(call, project):
    (project / "d6tstore.toml").write_text('[profiles.default]\nurl = "results"\n')
    call("run", "flow:Get")
    assert (project / "results/Get").is_dir() and not (project / "data").exists()
    assert d6tstore.open("./data").repository.default.url.endswith("/data")
    assert d6tstore.open().repository.default.url == f"file://{project / 'results'}"


def test_a_defect_of_ours_keeps_its_traceback(call, monkeypatch):
    monkeypatch.setattr(cli_module, "tasks_of", functools.partial(operator.getitem, {}))
    result = CliRunner().invoke(cli, ["why", "flow:Train"])
    assert isinstance(result.exception, KeyError) and "your code" not in result.output


# ------------------------------------------------------------- preview, why, accept


def test_preview_runs_nothing(call):
    shown = call("preview", "flow:Train").stdout.splitlines()
    assert shown == [
        "Train(model='ols', do_preprocess=True, n=3): PENDING (never run)",
        "└─ Clean(do_preprocess=True, n=3): PENDING (never run)",
        "   └─ Get(n=3): PENDING (never run)",
        "3 PENDING",
    ]
    assert not Path("data").exists()


def test_preview_names_what_stands_above_once(call):
    shown = call("preview", "flow:Train", "flow:Train", "--model", "svm").stdout.splitlines()
    above = "  ↑ Clean(do_preprocess=True, n=3)"
    assert shown[3] == "Train(model='svm', do_preprocess=True, n=3): PENDING (never run)" + above
    assert len(shown) == 5


def test_show_tells_what_is_stored_and_where(call):
    assert "PENDING (never run)" in call("show", "flow:Train").stdout
    call("run", "flow:Train", "--model", "svm")
    shown = call("show", "flow:Train", "--model", "svm").stdout
    assert shown.startswith("Train(") and "COMPLETE" in shown
    place = Path(shown.split()[-1])
    assert place.suffix == ".json" and place.read_text() == "3"
    (told,) = json.loads(call("show", "flow:Train", "--model", "svm", "--json").stdout)
    assert told["state"] == "COMPLETE" and told["record"]["params"]["model"] == "svm"
    assert told["record"]["outputs"]["data"]["place"] == str(place)
    assert json.loads(call("show", "flow:Train", "--json").stdout)[0]["record"] is None


def test_why_names_the_nearest_result(call):
    call("run", "flow:Train")
    shown = call("why", "flow:Train", "--model", "svm").stdout
    assert "PENDING (never run)" in shown and "has model='ols'" in shown
    assert "COMPLETE" in call("why", "flow:Train").stdout


def test_accept_keeps_results_of_edited_code(call, flow):
    call("run", "flow:Train")
    flow(FLOW.replace("values[1:] if", "values[2:] if"))
    assert "PENDING (code of Clean.run changed)" in call("preview", "flow:Train").stdout
    assert call("accept", "flow:Clean").stdout == "accepted Clean(do_preprocess=True, n=3)\n"
    assert "3 COMPLETE" in call("preview", "flow:Train").stdout
    assert call("accept", "flow:Clean").stdout.startswith("nothing to accept")


def test_accept_upstream(call, flow):
    call("run", "flow:Train")
    flow(FLOW.replace("values[1:] if", "values[2:] if").replace("list(range(n))", "[*range(n)]"))
    shown = call("accept", "flow:Train", "--upstream").stdout
    assert shown == "accepted Get(n=3)\naccepted Clean(do_preprocess=True, n=3)\n"
    assert "3 COMPLETE" in call("preview", "flow:Train").stdout


def test_accept_without_a_result(call):
    assert "has no result" in error(call("accept", "flow:Train", code=2))


# ------------------------------------------------------------------------- reset


def pending(call, *words: str) -> set[str]:
    shown = call("preview", "flow:Train", *words).stdout
    return {line.lstrip(" └─").split("(")[0] for line in shown.splitlines() if "PENDING (never run)" in line}


@pytest.mark.parametrize(
    ("words", "forgotten"),
    [
        (["flow:Train"], {"Train"}),
        (["flow:Train", "--upstream"], {"Train", "Clean", "Get"}),
        (["flow:Train", "--downstream-of", "flow:Clean"], {"Train", "Clean"}),
        (["--all"], {"Train", "Clean", "Get"}),
        (["flow:Clean", "--orphans"], {"Train"}),
    ],
)
def test_reset(call, words, forgotten):
    call("run", "flow:Train")
    before = data("data")
    shown = call("reset", *words, "--yes").stdout
    assert shown.count("forgot ") == len(forgotten)
    assert pending(call) == forgotten
    assert data("data") == before  # objects stay until gc
    assert call("reset", *words, "--yes").stdout == "nothing to forget\n"


def test_reset_asks_and_a_pipe_cannot_answer(call):
    call("run", "flow:Train")
    assert "Pass --yes" in error(call("reset", "flow:Train", code=2))
    assert pending(call) == set()


@pytest.mark.parametrize(("answer", "code", "forgotten"), [("y", 0, {"Train"}), ("n", 1, set()), ("", 1, set())])
def test_reset_with_an_answer(call, monkeypatch, answer, code, forgotten):
    call("run", "flow:Train")

    monkeypatch.setattr(upkeep, "_is_terminal", lambda: True)
    result = CliRunner().invoke(cli, ["reset", "flow:Train"], input=f"{answer}\n")
    assert result.exit_code == code, result.output
    assert "Forget the result of Train(model='ols'" in result.output
    assert pending(call) == forgotten


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["flow:Train", "--upstream", "--orphans"], "exclude each other"),
        (["flow:Train", "--all"], "--all resets the whole store"),
        (["flow:Train", "--downstream-of", "flow:Absent"], "is none of the tasks here"),
        (["flow:Train", "--downstream-of", "Clean"], "'Clean' names no task"),
        (["--orphans"], "which task?"),
    ],
)
def test_reset_of_the_wrong_thing(call, words, message):
    call("run", "flow:Train")
    assert message in error(call("reset", *words, "--yes", code=2))
    assert pending(call) == set()


# ------------------------------------------------------------------- gc, verify


def test_gc_is_dry_without_yes(call):
    call("run", "flow:Train")
    call("reset", "--all", "--yes")
    before = data("data")
    dry = call("gc", "--older-than", "0").stdout
    assert "would remove 6 objects" in dry and "pass --yes" in dry and data("data") == before
    assert "removed 6 objects" in call("gc", "--older-than", "0", "--yes").stdout
    assert not data("data")
    assert call("gc").stdout == "would remove 0 objects, 0 bytes\n"


def test_gc_spares_what_is_young(call):
    call("run", "flow:Get")
    call("reset", "--all", "--yes")
    call("gc", "--yes")
    assert data("data")


def test_gc_with_a_wrong_age(call):
    assert "'--older-than'" in call("gc", "--older-than", "-1", code=2).stderr
    assert "'--older-than'" in call("gc", "--older-than", "day", code=2).stderr


def test_copy_tells_then_does(call, tmp_path):
    call("run", "flow:Train")
    other = str(tmp_path / "other")
    dry = call("copy", other).stdout
    assert "pass --yes" in dry and not data(other)
    done = call("copy", other, "flow:Train", "--yes").stdout
    assert "Train-" in done and "copied, " in done and "--yes" not in done
    assert "same, 0 bytes" in call("copy", other).stdout
    assert call("--store", other, "verify").stdout == "no problems found\n"


def test_copy_says_what_failed(call, tmp_path):
    call("run", "flow:Train")
    (get,) = data("data", "Get")
    get.write_bytes(get.read_bytes()[::-1])
    result = call("copy", str(tmp_path / "other"), "--yes", code=1)
    assert "is not what its record says" in result.stdout and "1 results were not copied" in error(result)


def test_verify_finds_damage(call):
    call("run", "flow:Train")
    assert call("verify").stdout == "no problems found\n"
    (get,) = data("data", "Get")
    get.write_bytes(get.read_bytes()[::-1])
    result = call("verify", "flow:Train", code=1)
    assert "has other bytes than its record says" in result.stdout and str(get.name) in result.stdout
    assert "1 stored objects are not what their records say" in error(result)


# ------------------------------------------------------------------------ store


def test_store_option_and_environment(call, monkeypatch, tmp_path):
    call("--store", str(tmp_path / "a"), "run", "flow:Get")
    monkeypatch.setenv("D6TSTORE_STORE", str(tmp_path / "b"))
    call("run", "flow:Get")
    assert data(tmp_path / "a") and data(tmp_path / "b") and not Path("data").exists()
    call("--store", str(tmp_path / "c"), "run", "flow:Get")  # the option wins
    assert data(tmp_path / "c")


def test_the_store_that_the_module_chose(call, flow, tmp_path):
    flow(FLOW + f"\n    d6tstore.init({str(tmp_path / 'chosen')!r})\n")
    call("run", "flow:Get")
    assert data(tmp_path / "chosen") and not Path("data").exists()
    call("--store", str(tmp_path / "other"), "run", "flow:Get")
    assert data(tmp_path / "other")


@pytest.mark.parametrize("command", [["run", "flow:Get"], ["preview", "flow:Get"], ["gc"], ["verify"]])
def test_a_store_that_cannot_be(call, project, command):
    assert "'nosuch' is not installed" in error(call("--store", "nosuch://x", *command, code=2))
    assert "is a file" in error(call("--store", "flow.py", *command, code=2))
    assert "did you mean" in error(call("--store", "memry://", *command, code=2))


# ---------------------------------------------------------------- plugins, help


def test_plugins_tell_of_broken_ones(call, monkeypatch):
    class Distribution:
        name = "acme-store"
        requires = None

    broken = importlib.metadata.EntryPoint("acme", "nosuchpackage.acme:Backend", registry.BACKENDS)
    vars(broken)["dist"] = Distribution()
    found = registry._found
    more = {registry.BACKENDS: {**found(registry.BACKENDS), "acme": [broken]}}
    monkeypatch.setattr(registry, "_found", lambda group: more.get(group) or found(group))
    rows = [re.split(r"  +", line) for line in call("plugins").stdout.splitlines()]
    assert rows[0] == ["GROUP", "NAME", "CLASS", "DISTRIBUTION", "STATUS"]
    assert ["formats", "json", "d6tstore_plugins.formats.json:JsonFormat", "d6tstore", "ok"] in rows
    (acme,) = [row for row in rows if row[1] == "acme"]
    assert acme[3] == "acme-store" and acme[4].startswith("broken: ") and "nosuchpackage" in acme[4]


def test_plugins_tell_what_some_need(call, monkeypatch):
    class Distribution:
        name = "acme-store"
        requires = ("nosuchpackage>=1; extra == 'cloud'",)

    needy = importlib.metadata.EntryPoint("acme", "nosuchpackage.acme:Backend", registry.BACKENDS)
    vars(needy)["dist"] = Distribution()
    monkeypatch.setattr(registry, "_found", lambda group: {"acme": [needy]} if group == registry.BACKENDS else {})
    (acme,) = [line for line in call("plugins").stdout.splitlines() if " acme " in line]
    assert acme.endswith("  needs nosuchpackage, which is not installed: pip install 'acme-store[cloud]'")


def test_version_and_help(call):
    assert call("--version").stdout == f"d6tstore {d6tstore.__version__}\n"
    shown = call("--help").stdout
    assert "Exit codes:" in shown and "D6TSTORE_STORE" in shown
    for name in cli.commands:
        assert f"  {name} " in shown
        assert f"d6tstore {name}" in call(name, "--help").stdout.split("Example")[1]


def test_a_command_that_does_not_exist(call):
    assert error(call("rnu", code=2)) == "there is no command 'rnu', did you mean run?"
    assert "Commands: demo, new, init, run, preview" in error(call("xyzzy", code=2))
    assert "No such option" in call("--nope", code=2).stderr


def test_help_imports_nothing_heavy():
    heavy = (
        "pandas",
        "pyarrow",
        "numpy",
        "rich",
        "importlib.metadata",
        "d6tstore.store",
        "d6tstore.registry",
    )
    code = f"import sys, d6tstore.cli; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# ----------------------------------------------------------- real processes


def shell_env(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm"} | more


@pytest.fixture
def written(project):
    (project / "flow.py").write_text(textwrap.dedent(FLOW))
    return project


def test_piped(written):
    run = subprocess.run([*D6TSTORE, "run", "flow:Train"], capture_output=True, text=True, env=shell_env())
    assert run.returncode == 0 and run.stdout.startswith("3 ran in ")
    assert [line.partition(" in ")[0] for line in run.stderr.splitlines()] == [
        "[1/3] ran Get(n=3)", "[2/3] ran Clean(do_preprocess=True, n=3)",
        "[3/3] ran Train(model='ols', do_preprocess=True, n=3)",
    ]  # fmt: skip
    quiet = subprocess.run([*D6TSTORE, "run", "--quiet", "flow:Train"], capture_output=True, text=True, env=shell_env())
    assert (quiet.returncode, quiet.stderr) == (0, "") and quiet.stdout.startswith("3 reused in ")
    preview = subprocess.run([*D6TSTORE, "preview", "flow:Train"], capture_output=True, text=True, env=shell_env())
    assert "3 COMPLETE" in preview.stdout and "\x1b" not in preview.stdout
    failing = subprocess.run(
        [*D6TSTORE, "run", "flow:Train", "--n=-1"], capture_output=True, text=True, env=shell_env()
    )
    assert failing.returncode == 1 and failing.stderr.count("  File ") == 2


def test_a_pipe_that_knows_ascii_only(written):
    env = shell_env(PYTHONIOENCODING="ascii")
    preview = subprocess.run([*D6TSTORE, "preview", "flow:Train"], capture_output=True, text=True, env=env)
    assert preview.returncode == 0 and preview.stdout.splitlines()[-1] == "3 PENDING"


@pytest.mark.parametrize("command", [D6TSTORE, [str(Path(sys.executable).with_name("d6tstore"))]])
def test_a_folder_without_marks_is_the_project(tmp_path, command):
    """Not that in which d6tstore is installed: a helper module beside the tasks is the user's own code."""
    if not Path(command[0]).exists():
        pytest.skip("the command is not installed as a script")
    (tmp_path / "helper.py").write_text("def value():\n    return 1\n")
    (tmp_path / "work.py").write_text(
        "import d6tstore, helper\n"
        "class Value(d6tstore.tasks.TaskJson):\n"
        "    def run(self):\n"
        "        self.save(helper.value())\n"
    )

    def call(*args: str) -> str:
        env = shell_env(PYTHONDONTWRITEBYTECODE="1")
        return subprocess.run([*command, *args], capture_output=True, text=True, cwd=tmp_path, env=env).stdout

    assert call("run", "work:Value").startswith("1 ran")
    (tmp_path / "helper.py").write_text("def value():\n    return 2\n")
    assert "PENDING (code of value changed)" in call("preview", "work:Value")


def test_ctrl_c(project):
    """Interrupted in the middle of a task: message, 130, and the result before it is kept."""
    (project / "slow.py").write_text(
        textwrap.dedent(
            """
            import threading
            import d6tstore
            class Quick(d6tstore.tasks.TaskJson):
                def run(self): self.save(1)
            @d6tstore.requires(Quick)
            class Slow(d6tstore.tasks.TaskJson):
                def run(self):
                    print("started", flush=True)
                    threading.Event().wait(60)
            """
        )
    )
    process = subprocess.Popen(
        [*D6TSTORE, "run", "slow:Slow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.fullmatch(r"\[1/2\] ran Quick.*\nError: interrupted. Finished work is kept; run again to go on.\n", err)
    assert [p.parts[1] for p in data("data")] == ["Quick"]


@contextlib.contextmanager
def terminal(*args: str, env: dict[str, str] | None = None):
    """A command in a pseudo-terminal; a function reads until a text appears (or the end), and answers."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*D6TSTORE, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env or shell_env(), close_fds=True
    )
    os.close(theirs)
    seen = b""

    def read(until: str | None = None, answer: str = "") -> str:
        nonlocal seen
        deadline = time.monotonic() + 30
        while until is None or until.encode() not in seen:
            if not select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{until!r} did not appear in {seen!r}")
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # EIO: the other side has closed
                break
            if not chunk:
                break
            seen += chunk
        if answer:
            os.write(ours, answer.encode())
        return seen.decode()

    try:
        yield process, read
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_the_tree_is_coloured_in_a_terminal(written):
    with terminal("preview", "flow:Train") as (process, read):
        shown = read()
        assert process.wait(30) == 0
    assert "\x1b[1;33mPENDING\x1b[0m" in shown and "\x1b[1mTrain\x1b[0m" in shown
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\r", "").splitlines()
    assert plain[1] == "└─ Clean(do_preprocess=True, n=3): PENDING (never run)" and plain[-1] == "3 PENDING"


def test_no_color_is_respected(written):
    with terminal("preview", "flow:Train", env=shell_env(NO_COLOR="1")) as (process, read):
        assert "\x1b[1;33m" not in read() and "\x1b[33m" not in read()


def test_reset_asks_in_a_terminal(written):
    subprocess.run([*D6TSTORE, "run", "flow:Get"], check=True, capture_output=True)
    with terminal("reset", "flow:Get") as (process, read):
        read("[y/N]", answer="n\n")
        assert "nothing was reset" in read() and process.wait(30) == 1
    with terminal("reset", "flow:Get") as (process, read):
        read("[y/N]", answer="y\n")
        assert "forgot Get(n=3)" in read() and process.wait(30) == 0
