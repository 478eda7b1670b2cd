"""Pipes between folders: who is killed, full, read-only, at work at the same time, wrong about the clock, or lies."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from pipe_people import Person, race

KILLING = Path(__file__).parent / "killing_pipes.py"

# Scenario and the fewest steps that it has: were the hook ineffective, there would be none.
SCENARIOS = {
    "pushfirst": 90, "pushnewer": 90, "pushours": 90, "pushremoval": 60, "pullfirst": 80, "pullnewer": 80,
    "pulltheirs": 80, "loadlater": 50,
}  # fmt: skip


@pytest.fixture
def people(tmp_path):
    def made(name, **options):
        return Person(tmp_path / name, tmp_path / "shared", options)

    return made


@pytest.fixture
def ann(people):
    return people("ann")


@pytest.fixture
def bob(people):
    return people("bob")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_steps_of_an_exchange(children, tmp_path, scenario):
    steps = children.finish(children.start_file(KILLING, scenario, tmp_path, 4))
    assert int(steps) >= SCENARIOS[scenario]


@pytest.mark.parametrize("round", range(3))
def test_two_push_at_once(ann, bob, tmp_path, round):
    race(ann, bob, tmp_path)
