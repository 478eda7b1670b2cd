"""Helpers of the fault tests: children that are real processes, and what lies in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 120  # seconds after which a child counts as hanging


class Children:
    """Python programs in processes of their own; none outlives the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(self, program: str, *args: object, **options: object) -> subprocess.Popen[str]:
        """Start a program (source text), with pipes for input, output and errors."""
        path = self.folder / f"program{len(self.started)}.py"
        path.write_text(program)
        return self.start_file(path, *args, **options)

    def start_file(self, path: Path, *args: object, **options: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        path_list = [str(self.folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path_list))}
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(path), *map(str, args)],
            stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=self.folder, **options,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], code: int = 0, last: str | None = None) -> str:
        """Wait for its end, check its exit code, return what it printed; `last` is its last input."""
        out, err = process.communicate(last, timeout=PATIENCE)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return out

    def run(self, program: str, *args: object, **options: object) -> str:
        return self.finish(self.start(program, *args, **options))


@pytest.fixture
def children(project):
    made = Children(project)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def files_below():
    """All files below a folder, as relative paths."""

    def below(root: Path) -> set[str]:
        return {p.relative_to(root).as_posix() for p in Path(root).rglob("*") if not p.is_dir()}

    return below
