"""Commands about this machine: doctor, plugins, completion."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import invoke as call
from test_cli import D6TSTORE, error, shell_env, terminal


@pytest.fixture(autouse=True)
def path_of_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def told(*args: str, code: int = 0) -> dict[str, tuple[str, str]]:
    return {each["what"]: (each["state"], each["told"]) for each in json.loads(call(*args, "--json", code=code).stdout)}


# ---------------------------------------------------------------------- doctor


def test_doctor_where_all_is_well(project):
    found = told("doctor")
    assert {state for state, _ in found.values()} <= {"ok", "note"}
    assert found["python"][1].startswith("3.") and "pandas " in found["d6tstore"][1]
    assert "file" in found["backends"][1] and "parquet" in found["formats"][1]
    assert found["keyring"] == ("note", found["keyring"][1]) and "D6TSTORE_<NAME>_<FIELD>" in found["keyring"][1]
    assert found["store"] == ("ok", f"file://{project}/data") and found["claims"][0] == "ok"
    assert "GB free at" in found["disk"][1] and found["clock"][0] == "ok"
    assert not (project / "data").exists()  # to look makes nothing


def test_doctor_visits_profiles_and_pipes(project):
    (project / "d6tstore.toml").write_text(
        '[profiles.good]\nurl = "data"\n[profiles.gone]\nurl = "postgresql://me@localhost:1/x"\n'
        '[profiles.typo]\nurll = "x"\n[pipes.team]\nurl = "nothing://there"\n'
    )
    found = told("doctor", code=1)
    assert found["profile good"][0] == "ok" and "a listing was read" in found["profile good"][1]
    assert found["profile gone"][0] == "failed" and found["profile typo"][0] == "failed"
    assert "did you mean 'url'?" in found["profile typo"][1]
    assert found["pipe team"][0] == "failed" and "nothing" in found["pipe team"][1]
    failed = call("doctor", code=1)
    assert "ok      profile good: LocalBackend" in failed.stdout and "failed  pipe team: " in failed.stdout
    assert "3 of " in error(failed) and error(failed).endswith("do not work: profile typo, profile gone, pipe team.")


def test_doctor_of_a_store_that_cannot_be_opened(project):
    found = told("--store", "nothing://there", "doctor", code=1)
    assert found["store"][0] == "failed" and "python" in found
    (project / "d6tstore.toml").write_text("[profiles\n")
    assert told("doctor", code=1)["profiles and pipes"][0] == "failed"


def test_doctor_names_the_store_of_a_profile_and_shows_no_secret(project, monkeypatch):
    (project / "d6tstore.toml").write_text(
        '[profiles.prod]\nurl = "postgresql://me@localhost:1/x"\ncredentials = "warehouse"\n'
    )
    monkeypatch.setenv("D6TSTORE_WAREHOUSE_PASSWORD", "hunter2")
    result = call("--profile", "prod", "doctor", code=1)
    assert "failed  profile prod: " in result.stdout and "hunter2" not in result.output


def test_doctor_of_a_place_without_claims(project):
    found = told("--store", f"sqlite:///{project}/x.db", "doctor")
    assert found["claims"] == ("note", "not supported: two runs at the same time may compute a task twice, "
                                       "and each result is whole")  # fmt: skip


def test_doctor_in_a_terminal_has_colours():
    with terminal("doctor") as (process, read):
        shown = read()
        assert process.wait(60) == 0
    assert "\x1b[32mok    \x1b[0m  python: " in shown


# ------------------------------------------------------------------ completion

FLOW = """
import d6tstore
class Get(d6tstore.tasks.TaskJson): ...
class Train(d6tstore.tasks.TaskJson): ...
class _Hidden(d6tstore.tasks.TaskJson): ...
class Plain: ...
raise RuntimeError("completion must not run this")
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell):
    script = call("completion", shell).stdout
    assert f"_D6TSTORE_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def complete(shell: str, *words: str) -> list[str]:
    env = shell_env(COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1), _D6TSTORE_COMPLETE=f"{shell}_complete")
    script = "from d6tstore.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    "words, found",
    [
        (["d6tstore", "pre"], ["preview"]),
        (["d6tstore", "run", "fl"], ["flow:Get", "flow:Train"]),
        (["d6tstore", "run", "flow:T"], ["flow:Train"]),
        (["d6tstore", "run", "flow", ":"], ["Get", "Train"]),  # bash ends a word at a colon
        (["d6tstore", "run", "flow", ":", "T"], ["Train"]),
        (["d6tstore", "run", "nothing"], []),
        (["d6tstore", "load", "--he"], ["--head", "--help"]),
    ],
)
def test_what_is_completed(project, words, found):
    (project / "flow.py").write_text(FLOW)
    (project / "broken.py").write_text("class Fl(")
    assert complete("bash", *words) == found


def test_in_a_real_bash(project, tmp_path):
    """What a person gets who presses Tab."""
    (project / "flow.py").write_text(FLOW)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "d6tstore"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m d6tstore.cli "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(d6tstore completion bash)"\nCOMP_WORDS=(d6tstore preview flow)\nCOMP_CWORD=2\n'
        '_d6tstore_completion d6tstore\necho "${COMPREPLY[@]}"\n'
    )
    env = shell_env(PATH=f"{tmp_path / 'bin'}:{Path('/usr/bin')}:/bin")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env)
    assert done.stdout == "flow:Get flow:Train\n", done.stderr


def test_completion_of_another_shell():
    assert "Invalid value" in call("completion", "cmd", code=2).stderr


# ---------------------------------------------------------------------- others


def test_the_command_starts_quickly():
    """250 ms on an idle machine, of which the processor is busy for about 170; the limit leaves room for others."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*D6TSTORE, "--help"], stdout=subprocess.DEVNULL, check=True, env=shell_env())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5


def test_plugins_in_a_terminal_and_piped():
    with terminal("plugins") as (process, read):
        assert "DISTRIBUTION" in read() and process.wait(60) == 0
    piped = subprocess.run([*D6TSTORE, "plugins"], capture_output=True, text=True, env=shell_env(), check=True)
    assert piped.stdout.splitlines()[0].split() == ["GROUP", "NAME", "CLASS", "DISTRIBUTION", "STATUS"]
