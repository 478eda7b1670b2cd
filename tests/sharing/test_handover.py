"""The example `handover`: what its README shows is what its commands print, whatever the place that is shared.

What can go wrong: a place where more, or less, runs than elsewhere; results that depend on how the engineer's module
was called when they were made; an export that is not up to date; a push by somebody who may only read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/handover"
BLOCK = re.compile(r"^```bash\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
DIFFERENT = {  # from run to run, and from place to place
    r"in \d+\.\d\d s(, .* saved)?": "in SECONDS",
    r"\d{4}-\d\d-\d\dT[\d:]+ \S+@\S+:": "TIME WHO:",
    r"[\d,]+ bytes": "SIZE bytes",
}


@pytest.fixture
def example(tmp_path):
    """A copy of the example."""
    return Path(
        shutil.copytree(
            EXAMPLE, tmp_path / "handover", ignore=shutil.ignore_patterns("__pycache__", "data", "team", "*.bak")
        )
    )


@pytest.fixture(params=["folder", "s3", "postgres"])
def place(request, tmp_path, monkeypatch):
    """A place that is shared, in the variable that the example reads."""
    if request.param == "s3":
        from s3servers import moto

        server, made = moto(), moto().bucket()
        bucket = made.__enter__()
        request.addfinalizer(lambda: made.__exit__(None, None, None))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.keys.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.keys.secret)
        monkeypatch.setenv("TEAM_URL", f"s3://{bucket}/team?endpoint={server.url}&region=us-east-1")
    elif request.param == "postgres":
        monkeypatch.setenv("TEAM_URL", request.getfixturevalue("database").url)
    return request.param


def run(folder, command, path=None):
    """What a command prints in a shell in that folder, and the folder where it ends."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"PYTHONPATH": str(path)} if path else {}),
    }
    done = subprocess.run(
        ["sh", "-ec", f"{command}\npwd >&2"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr  # no warnings
    return done.stdout, Path(done.stderr.strip())


def plain(text):
    for pattern, name in DIFFERENT.items():
        text = re.sub(pattern, name, text)
    return text


def test_the_readme_shows_what_is_printed(example, place):
    folder, shown = example, BLOCK.findall((EXAMPLE / "README.md").read_text())
    assert len(shown) == 10
    for command, expected in shown:
        printed, folder = run(folder, command)
        assert plain(printed) == plain(expected), command
    assert (example / "team").exists() == (place == "folder")


def test_the_exported_module_is_up_to_date(example):
    printed, _ = run(
        example / "engineer", f"{sys.executable} -m d6tstore.cli export tasks:Features --pipe team-features"
    )
    assert printed == (EXAMPLE / "scientist/shared_tasks.py").read_text()


INSTALLED = "import d6tstore, engineer.tasks as t; d6tstore.init(); d6tstore.run(t.everything())"
PUSH = "d6tstore.pipes.get_pipe('team-features').push()"


@pytest.mark.parametrize("way", ["script", "imported", "installed"])
def test_it_does_not_matter_how_the_engineers_module_is_called(example, tmp_path, way):
    shutil.copytree(example / "engineer", tmp_path / "site/engineer")
    command, module = {
        "script": (f'python tasks.py; python -c "import d6tstore; d6tstore.init(); {PUSH}"', "__main__"),
        "imported": ("python publish.py first", "tasks"),
        "installed": (f'python -c "{INSTALLED}; {PUSH}"', "engineer.tasks"),
    }[way]
    run(example / "engineer", command, tmp_path / "site" if way == "installed" else None)
    records = [json.loads(file.read_text()) for file in (example / "team/.d6tstore/records").glob("*/*.json")]
    assert {record["module"] for record in records} == {module} and len(records) == 4
    printed, _ = run(example / "scientist", "python analyse.py")
    assert "4 ran, 4 reused" in printed
    printed, _ = run(example / "scientist", "python with_code.py", example)  # the project, as it lies there
    assert "2 ran, 2 reused" in printed
    printed, _ = run(example / "scientist", "python with_code.py", tmp_path / "site")  # installed
    assert "4 reused" in printed and " ran" not in printed


def test_who_publishes_again_under_another_name_of_the_module_makes_nothing_stale(example):
    run(example / "engineer", "python tasks.py; python publish.py first")
    run(example / "scientist", "python analyse.py")
    printed, _ = run(example / "engineer", "python publish.py --anew again")  # by module `tasks`, no longer `__main__`
    assert "push to team-features: 4 changed" in printed
    printed, _ = run(example / "scientist", "python analyse.py")
    assert "8 reused" in printed and " ran" not in printed


def test_a_plan_without_the_pipe_says_what_to_pull(example):
    code = "import d6tstore; from tasks import Model; d6tstore.init(); d6tstore.preview(Model(market='north'))"
    printed, _ = run(example / "scientist", f'python -c "{code}"')
    assert "EXTERNAL, absent" in printed and "d6tstore pipe pull team-features" in printed
