"""Commands that begin a project: new, init, adopt; in process, in a pipe and in a terminal, with good and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import invoke as call
from test_adopt import FLOW, MADE
from test_cli import D6TSTORE, error, shell_env, terminal

import d6tstore
from d6tstore.commands import template

FILES = ["tasks.py", "run.py", "visualize.py", "d6tstore.toml", "pyproject.toml", "README.md", ".gitignore",
         "raw/sales.csv", "tests/test_tasks.py"]  # fmt: skip


@pytest.fixture(autouse=True)
def path_of_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def python(folder: Path, *args: str) -> str:
    """Run Python there, as its owner would."""
    env = shell_env(PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ------------------------------------------------------------------------- new


@pytest.mark.parametrize("name", ["my-project", 'it\'s "mein" Projekt é', "日本"])
def test_a_new_project_works_at_once(project, name):
    done = subprocess.run([*D6TSTORE, "new", name], capture_output=True, text=True, env=shell_env(), check=True)
    assert [line.strip() for line in done.stdout.splitlines()[:-1]] == FILES
    folder, last = project / name, done.stdout.splitlines()[-1]
    assert last.startswith(f"Made {name}. Go on there: cd ") and last.endswith("; python run.py")
    shown = subprocess.run(["bash", "-c", f"{last.partition('there: ')[2].partition(';')[0]} && pwd"], text=True,
                           capture_output=True, check=True)  # fmt: skip
    assert shown.stdout.rstrip("\n") == str(folder)
    first = python(folder, "run.py")
    assert first.startswith("7 ran in ") and "COMPLETE" in first
    assert python(folder, "run.py").startswith("7 reused in ")
    shown = python(folder, "visualize.py")
    assert "Sold per week" in shown and "2026-01-11  ####" in shown and "7 days" in shown
    assert "3 passed" in python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert sorted(path.name for path in folder.iterdir()) == sorted({f.split("/")[0] for f in FILES} | {"data"})


def test_what_a_change_runs_again(project):
    call("new", "made")
    folder = project / "made"
    python(folder, "run.py")
    run = folder / "run.py"
    run.write_text(run.read_text().replace("window=[1, 7, 14]", "window=[1, 7, 30]"))
    shown = python(folder, "run.py").splitlines()
    assert [line.split()[1] for line in shown if line.startswith("  ran ")] == ["Smooth(window=30)", "Forecast(days=7,"]
    tasks = folder / "tasks.py"
    tasks.write_text(tasks.read_text().replace(".mean()\n", ".median()\n"))
    assert "code of smoothed" in python(folder, "run.py")
    (folder / "raw" / "sales.csv").write_text("day,sold\n" + "".join(f"2026-01-{d:02},{d}\n" for d in range(1, 29)))
    assert "GetData() (file raw/sales.csv changed)" in python(folder, "run.py")
    # The command line sees the same place, and another profile is another place.
    env = shell_env(PYTHONDONTWRITEBYTECODE="1")
    preview = subprocess.run(
        [*D6TSTORE, "preview", "tasks:Forecast"], cwd=folder, capture_output=True, text=True, env=env
    )
    assert "Forecast(days=7, window=7): COMPLETE" in preview.stdout, preview.stderr
    call_init = subprocess.run([*D6TSTORE, "init", "elsewhere", "--name", "other"], cwd=folder, env=env)
    assert call_init.returncode == 0
    os.environ["D6TSTORE_PROFILE"] = "other"
    try:
        assert python(folder, "run.py").startswith("7 ran in ")
    finally:
        del os.environ["D6TSTORE_PROFILE"]
    assert (folder / "elsewhere" / ".d6tstore").is_dir()


def test_new_never_overwrites(project):
    (project / "mine").mkdir()
    (project / "mine" / "tasks.py").write_text("mine")
    assert "mine is not empty. Give a new folder" in error(call("new", "mine", code=2))
    assert "cannot be written: File exists" in error(call("new", "pyproject.toml", code=2))
    assert "cannot be written: Not a directory" in error(call("new", "pyproject.toml/x", code=2))
    assert [path.name for path in (project / "mine").iterdir()] == ["tasks.py"]


def test_new_here(project, monkeypatch):
    (project / "empty").mkdir()
    monkeypatch.chdir(project / "empty")
    told = json.loads(call("new", ".", "--json").stdout)
    assert told["files"] == FILES and 'name = "empty"' in Path("pyproject.toml").read_text()


def test_new_in_a_terminal(project):
    with terminal("new", "made") as (process, read):
        assert "Made made. Go on there: cd made; python run.py" in read() and process.wait(30) == 0


@pytest.mark.parametrize("there", [True, False])
def test_new_is_all_or_nothing(project, monkeypatch, there):
    if there:
        (project / "made").mkdir()

    real = Path.write_text

    def write(self, *args, **options):
        if self.name == "test_tasks.py":
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "write_text", write)
    assert "interrupted" in error(call("new", "made", code=130))
    assert (project / "made").exists() == there and not (there and any((project / "made").iterdir()))


def test_the_template_is_whole():
    source = template._source()
    listed = set(template._FILES)
    there = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    assert {p for p in there if not p.startswith("data/") and "__pycache__" not in p} == listed


def test_names_of_projects():
    assert [template.project_name(n) for n in ("My Project", "a.b_c", "--x--", "...")] == [
        "my-project", "a-b-c", "x", "my-project",
    ]  # fmt: skip


# ------------------------------------------------------------------------ init


def test_init_writes_a_profile_that_is_used(project, flow):
    flow("import d6tstore\nclass One(d6tstore.tasks.TaskJson):\n    def run(self): self.save(1)\n")
    shown = call("init").stdout
    assert shown.startswith(f"[profiles.default] is written in {project / 'd6tstore.toml'}. It is used by any of\n")
    assert (project / "d6tstore.toml").read_text() == '[profiles.default]\nurl = "data"\n'
    call("init", "./lake", "--name", "lake", "--namespace", "me", "--check", "content", "--keep-versions", "0")
    assert (
        (project / "d6tstore.toml")
        .read_text()
        .endswith('[profiles.lake]\nurl = "lake"\nnamespace = "me"\ncheck = "content"\nkeep_versions = 0\n')
    )
    assert "d6tstore.init() " in shown.splitlines()[1]
    for line in shown.splitlines()[2:5]:  # each of the ways that it tells
        assert "default" in line
    call("--profile", "lake", "run", "flow:One")
    store = d6tstore.init("lake")
    assert store.repository.check == "content" and (project / "lake" / "me.One").is_dir()


def test_init_from_a_subfolder_is_of_the_project(project, monkeypatch):
    call("init", "--name", "first")
    (project / "sub").mkdir()
    monkeypatch.chdir(project / "sub")
    told = json.loads(call("init", "here", "--name", "second", "--json").stdout)
    assert told == {"profile": "second", "file": str(project / "d6tstore.toml")}
    assert 'url = "sub/here"' in (project / "d6tstore.toml").read_text()


def test_init_keeps_what_stands_there(project):
    file = project / "d6tstore.toml"
    file.write_text("# mine\n[profiles.a]\nurl = 'x' # why\n\n[pipes.p]\nurl = 'y'\n")
    call("init", "memory://", "--name", "b")
    assert file.read_text().startswith("# mine\n[profiles.a]\nurl = 'x' # why\n")
    assert '[profiles.b]\nurl = "memory://"\n' in file.read_text() and "[pipes.p]" in file.read_text()


def test_init_for_all_projects(project, tmp_path):
    call("init", str(tmp_path / "all"), "--name", "mine", "--user")
    assert (tmp_path / "config" / "d6tstore" / "d6tstore.toml").is_file() and not (project / "d6tstore.toml").exists()
    assert str(d6tstore.open("mine")) == f"Store('file://{tmp_path / 'all'}')"


@pytest.mark.parametrize(
    "args, said",
    [
        (["postgresql://me:hunter2@db/x"], "came with a secret, and a file is no place for one"),
        (["data", "--name", "no name"], "cannot name a profile"),
        (["data", "--name", "a"], "there is a profile 'a' already"),
        (["data", "--name", "new", "--namespace", "a/b"], "namespace"),
        (["s3://bucket?secret_key=hunter2", "--name", "new"], "secret"),
        (["data", "--name", "new", "--check", "often"], "Invalid value for '--check'"),
    ],
)
def test_init_of_what_cannot_be(project, args, said):
    file = project / "d6tstore.toml"
    file.write_text('[profiles.a]\nurl = "x"\n')
    result = call("init", *args, code=2)
    assert said in result.stderr and "hunter2" not in result.output
    assert file.read_text() == '[profiles.a]\nurl = "x"\n'
    assert [path.name for path in project.iterdir() if path.suffix == ".toml"].count("d6tstore.toml") == 1


def test_init_into_a_file_that_is_broken(project):
    (project / "d6tstore.toml").write_text("[profiles.a\n")
    assert "d6tstore.toml" in error(call("init", "--name", "b", code=2))
    assert (project / "d6tstore.toml").read_text() == "[profiles.a\n"


def test_init_in_a_terminal(project):
    with terminal("init", "--name", "team") as (process, read):
        assert "export D6TSTORE_PROFILE=team" in read() and process.wait(30) == 0


# ----------------------------------------------------------------------- adopt


@pytest.fixture
def theirs(project, flow):
    shutil.copytree(MADE / "data", project / "old")
    flow(FLOW)
    return project / "old"


def test_adopt_tells_then_does(theirs):
    would = call("adopt", "old", "flow:Train", "--model", "svm").stdout
    assert would.splitlines()[-1] == "would do: 3 adopted. To adopt them, pass --yes."
    assert "adopted: Train(model='svm', do_preprocess=True)\n" in would and not Path("data").exists()
    done = call("adopt", "old", "flow:Train", "--model", "svm", "flow:Typed", "--nothing", "x", "--yes").stdout
    assert done.splitlines()[-1] == "3 adopted, 1 not found"
    assert "3 COMPLETE" in call("preview", "flow:Train", "--model", "svm").stdout
    log = call("log", "flow:Train", "--model", "svm").stdout
    assert "adopted from d6tflow (Train_True_svm_97cc74d551) by " in log
    told = json.loads(call("adopt", "old", "flow:Train", "--model", "svm", "--json").stdout)
    assert {task["action"] for task in told["tasks"]} == {"has a result here"} and told["dry_run"]


def test_adopt_of_what_cannot_be(theirs):
    assert "which tasks?" in error(call("adopt", "old", code=2))
    assert "'nowhere' cannot be read: No such file" in error(call("adopt", "nowhere", "flow:Train", code=2))
    (file,) = theirs.glob("GetData/*")
    file.write_bytes(b"")
    failed = call("adopt", "old", "flow:Train", "--yes", code=1)
    assert "failed: GetData() (GetData__99914b932b-data.parquet is damaged" in failed.stdout
    assert error(failed) == "1 results could not be taken."


def test_adopt_piped_and_in_a_terminal(theirs):
    done = subprocess.run(
        [*D6TSTORE, "adopt", "old", "flow:Gz", "--yes"], capture_output=True, text=True, env=shell_env()
    )
    assert done.stdout.endswith("1 adopted\n") and done.returncode == 0
    with terminal("adopt", "old", "flow:Excel", "--yes") as (process, read):
        assert "1 adopted" in read() and process.wait(30) == 0


def test_adopt_that_is_interrupted_leaves_all_whole(theirs, project):
    """Killed by Ctrl-C while it stores the last result: those before are complete, of this one nothing remains."""
    (project / "slow.py").write_text(
        (project / "flow.py").read_text()
        + "\nimport threading, d6tstore_plugins.formats.pickle\nfrom d6tstore import d6tflow_data\n"
        "def dump(self, value, file):\n"
        "    print('started', flush=True)\n"
        "    threading.Event().wait(60)\n"
        "d6tflow_data.AsItIs.dump = dump\n"
    )
    process = subprocess.Popen([*D6TSTORE, "adopt", "old", "slow:Train", "--yes"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=shell_env(),
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted" in err
    left = {p.parts[1] for p in Path("data").rglob("*") if p.is_file() and ".d6tstore" not in p.parts}
    assert left == {"GetData", "Preprocess"}
    call("adopt", "old", "flow:Train", "--yes")
