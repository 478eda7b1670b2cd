"""SIGKILL at every step of a save, a run, a reset, an accept, a gc: old or new, never a mixture.

What can go wrong: an object that is cut short counts as complete; a record that names an object which is not
there; a record of two halves; one output of the old run and one of the new; a claim of a dead process that
blocks the next; a dismissed version that is restored; a version that is lost while restored; debris for ever.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

KILLING = Path(__file__).parent / "killing.py"

# Scenario and the fewest steps that it has: were the hook ineffective, there would be none.
SCENARIOS = {
    "first": 60,
    "replace": 60,
    "threads": 60,
    "force": 60,
    "durable": 90,
    "restore": 30,
    "invalidate": 30,
    "invalidateall": 30,
    "accept": 4,
    "collect": 40,
}

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_each_step(children, tmp_path, scenario):
    deaths = children.finish(children.start_file(KILLING, scenario, tmp_path, "light"))
    assert int(deaths) >= SCENARIOS[scenario]


def test_killed_at_each_step_with_frames(children, tmp_path):
    deaths = children.finish(children.start_file(KILLING, "replace", tmp_path, "heavy"))
    assert int(deaths) >= 80


def test_killed_from_outside_at_random_times(children, tmp_path):
    deaths = children.finish(children.start_file(KILLING, "replace", tmp_path, "random"))
    assert int(deaths) >= 10


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (  # written in place: a write that is cut in half shows
            "d6tstore_plugins/local.py",
            "source = str(data) if isinstance(data, Path) else self._temporary()",
            "source = target",
        ),
        (  # the record goes first when a result is replaced
            "d6tstore/backend.py",
            "self.write(previous.history_key, records_.encode(previous))",
            "self.delete(previous.key); self.write(previous.history_key, records_.encode(previous))",
        ),
    ],
    ids=["in-place", "record-first"],
)
def test_the_judge_sees_a_broken_write_order(children, project, tmp_path, module, old, new):
    import d6tstore

    source = Path(d6tstore.__file__).parent.parent
    for package in ("d6tstore", "d6tstore_plugins"):
        shutil.copytree(source / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (project / module).read_text()
    assert text.count(old) == 1, "the line that this test breaks has changed: adapt it"
    (project / module).write_text(text.replace(old, new))
    process = children.start_file(KILLING, "replace", tmp_path, "light")
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0 and ("step" in err), err
