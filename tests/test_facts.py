"""Facts about the user's project: its root and its git commit, in every form that git keeps it."""

from __future__ import annotations

import subprocess

import pytest

from d6tstore import project as facts


@pytest.fixture
def git(project):
    def call(*args, cwd=project):
        name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", *name, *args]
        return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()

    call("init", "-q", "-b", "main")
    return call


def test_commit(git, project, tmp_path):
    assert facts.commit(project) is None and facts.commit(tmp_path) is None
    git("commit", "-q", "--allow-empty", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert facts.commit(project) == head
    git("pack-refs", "--all")
    assert facts.commit(project) == head
    git("checkout", "-q", "--detach")
    assert facts.commit(project) == head
    git("worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))
    git("commit", "-q", "--allow-empty", "-m", "two", cwd=tmp_path / "tree")
    assert facts.commit(tmp_path / "tree") == git("rev-parse", "side") != head


def test_root(project, monkeypatch, tmp_path):
    (project / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(project / "a" / "b")
    assert facts.root() == project


def test_versions_and_names():
    assert {"python", "d6tstore"} <= facts.versions().keys()
    assert facts.author() and facts.host()
