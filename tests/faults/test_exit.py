"""The end of a process.

What can go wrong: threads of pyarrow's readers outlive their call and abort the interpreter's exit, so that a script
whose last act is a load ends with "Aborted" (apache/arrow#33975: read_table of a Python file, about every second time).
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

import d6tstore
from d6tstore import tasks

LAST_ACT = textwrap.dedent("""\
    import sys
    import d6tstore
    from d6tstore import tasks
    kind, rows, folder, part = sys.argv[1:]
    class Saved(getattr(tasks, kind)):
        rows: int
        external = True
    d6tstore.init(folder)
    value = Saved(rows=int(rows)).output().load(**eval(part))
""")


ALL = "{}"
PARTS = ["{'columns': ['b']}", "{'where': [('b', '<', 3)]}", "{'as_': 'batches'}"]


@pytest.mark.parametrize("rows", [300, 100_000], ids=["small", "large"])  # read into memory, read as a file
@pytest.mark.parametrize(
    "kind, part",
    [("TaskPqPandas", ALL), ("TaskCSVPandas", ALL), ("TaskFeatherPandas", ALL)] + [("TaskPqPandas", p) for p in PARTS],
)
def test_a_script_whose_last_act_is_a_load_ends_well(kind, part, rows, tmp_path):
    class Saved(getattr(tasks, kind)):
        rows: int

        def run(self):
            self.save(pd.DataFrame({name: range(self.rows) for name in "abcdefg"}))

    d6tstore.init(tmp_path)
    d6tstore.run(Saved(rows=rows))
    argv = [sys.executable, "-c", LAST_ACT, kind, str(rows), str(tmp_path), part]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: subprocess.run(argv, capture_output=True, text=True), range(3)))
    assert [(e.returncode, e.stderr) for e in ended] == [(0, "")] * 3
