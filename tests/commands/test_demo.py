"""The demo, whole; and that it fails when a step does not do what it says."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import d6tstore
from d6tstore import demo as demo_module
from d6tstore.cli import cli

pytest.importorskip("sklearn")
D6TSTORE = [sys.executable, "-m", "d6tstore.cli"]
STEPS = {
    1: ("8 of 8 ran", ["ran       6 Train  (never run)"]),
    2: ("0 of 8 ran", ["reused    6 Train"]),
    3: (
        "7 of 15 ran",
        ["ran       Preprocess(do_preprocess=False)  (never run)", "ran       6 Train  (never run)"],
    ),
    4: (
        "8 of 15 ran",
        [
            "ran       2 Preprocess  (code of scale changed)",
            "ran       6 Train  (input Preprocess changed)",
            "reused    6 Train  (cut off: its inputs came out the same)",
        ],
    ),
    5: ("0 of 15 ran", ["reused    2 Preprocess", "reused    12 Train"]),
    6: (
        "0 of 15 ran",
        ["restored  6 Train  (input Preprocess changed; a kept version fits)", "reused    6 Train"],
    ),
    7: ("3 of 15 ran", ["reused    12 Train  (cut off: its inputs came out the same)"]),
    8: ("15 of 15 ran", ["ran       GetData()  (file breast_cancer.csv changed)", "ran       12 Train"]),
}


def test_whole_in_a_pipe(tmp_path):
    """Runs once, as a user runs it; the folder that it leaves is a project to go on with."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*D6TSTORE, "demo", "--dir", "kept"], capture_output=True, text=True, cwd=tmp_path)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert used.ru_utime - before.ru_utime < 20  # of this machine's time, not of what else runs on it
    assert "\x1b" not in done.stdout
    parts = re.split(r"^(\d)  ", done.stdout, flags=re.MULTILINE)
    found = {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert found.keys() == STEPS.keys()
    for number, (count, lines) in STEPS.items():
        assert re.search(rf"^   {count}, ", found[number], re.MULTILINE), found[number]
        for line in lines:
            assert f"   {line}" in found[number]
    table = found[8].partition("Compare:")[2].splitlines()[2:14]
    scores = [float(line.split()[3]) for line in table]
    assert len(scores) == 12 and scores == sorted(scores, reverse=True) and 0.9 < scores[0] <= 1
    assert "8 steps, each as it says" in done.stdout

    again = [*D6TSTORE, "preview", "flow:Train", "--model", "svm"]
    shown = subprocess.run(again, capture_output=True, text=True, cwd=tmp_path / "kept")
    assert shown.stdout.endswith("3 COMPLETE\n")
    assert {p.name for p in (tmp_path / "kept").iterdir()} >= {
        "flow.py",
        "README.md",
        "breast_cancer.csv",
        "data",
    }


@pytest.fixture
def example(project, monkeypatch):
    """A copy of the example that a test may break, and the demo run on it."""
    folder = project / "example"
    folder.mkdir()
    text = (demo_module._example() / "flow.py").read_text()
    monkeypatch.setattr(demo_module, "_example", lambda: folder)
    monkeypatch.setattr("tempfile.tempdir", str(project))

    def run(change):
        (folder / "flow.py").write_text(change(text))
        return CliRunner().invoke(cli, ["demo"], prog_name="d6tstore")

    return run


def test_a_step_that_does_not_do_what_it_says(example):
    """With `version` set, an edit of the code does not run anything: step 4 has to fail."""
    result = example(
        lambda text: text.replace(
            "    do_preprocess: bool = True\n", "    do_preprocess: bool = True\n    version = 1\n"
        )
    )
    assert result.exit_code == 1
    assert re.match(
        r"Error: step 4 did not do what it says: not .*2 Preprocess ran.*, but .*2 Preprocess reused",
        result.stderr,
    )
    assert "steps, each as it says" not in result.stdout


def test_it_leaves_this_process_and_the_disk_as_they_were(example, project):
    before = Path.cwd(), sys.modules.get("flow")
    result = example(lambda text: text.replace("(features - features.mean())", "(features - 0)"))
    assert result.exit_code == 1 and "to edit" in result.stderr
    assert (Path.cwd(), sys.modules.get("flow")) == before
    assert not list(project.glob("d6tstore-demo-*"))
    with pytest.raises(d6tstore.errors.NotInitialised):
        d6tstore.context.current()


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("full", "is not empty"),
        ("full/file", "cannot be used: File exists"),
        ("full/file/x", "Not a directory"),
    ],
)
def test_a_folder_that_is_not_free(folder, message):
    Path("full").mkdir()
    Path("full/file").write_text("mine")
    result = CliRunner().invoke(cli, ["demo", "--dir", folder])
    assert result.exit_code == 2 and message in result.stderr and result.stderr.startswith("Error: ")
    assert os.listdir("full") == ["file"] and Path("full/file").read_text() == "mine"


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(cli, ["demo"])
    assert result.exit_code == 2
    assert result.stderr == "Error: the demo needs scikit-learn: pip install 'd6tstore[demo]'\n"
