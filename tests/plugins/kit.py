"""Runs a published suite against broken plug-ins."""

import os
import re
import subprocess
import sys
import textwrap

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def check(folder, head, broken):
    """Each broken plug-in fails the tests that are to find it.

    `broken` maps what is wrong to a source that defines `Broken`, and the names of those tests; none: it passes
    the whole suite. `head` defines the class `Suite`, which tests its attribute `cls`.
    """
    asked = []
    for i, (source, tests) in enumerate(broken.values()):
        last = "\nclass TestBroken(Suite):\n    cls = Broken\n"
        (folder / f"test_broken_{i}.py").write_text(head + textwrap.dedent(source) + last)
        asked += [f"test_broken_{i}.py::TestBroken::{test}" for test in tests] or [f"test_broken_{i}.py"]
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [*PYTEST, "-rfE", "--tb=line", "-p", "no:xdist", *asked], capture_output=True, text=True, timeout=1_200,
        cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    failed = set(re.findall(r"^FAILED (test_broken_\d+\.py::TestBroken::\w+)", done.stdout, re.MULTILINE))
    names = dict(enumerate(broken))
    found = {(names[int(re.search(r"\d+", test)[0])], test.rpartition("::")[2]) for test in failed}
    assert found == {(name, test) for name, (_, tests) in broken.items() for test in tests}, done.stdout
