import os
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def python():
    """Run a script as __main__ of another Python; returns what it prints."""

    def run(source, *args, path=()):
        paths = [*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(source), *args],
            capture_output=True, text=True, timeout=60, env=env,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
