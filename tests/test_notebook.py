"""A real notebook: cells run again, edited, and a new kernel."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

DEFINE = """
import d6tstore
def scale(x):
    return 2 * x
class Get(d6tstore.tasks.TaskJson):
    n: int = 1
    def run(self):
        self.save(self.n)
@d6tstore.requires(Get)
class Double(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(scale(self.input().load()))
"""
RUN = "d6tstore.init('./data'); print([t.family for t in d6tstore.run(Double()).ran])"
AGAIN = "print([t.family for t in d6tstore.run(Double()).ran], Double().output().load())"


def execute(*cells: str) -> list[str]:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [
        "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout").strip()
        for cell in notebook.cells
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_preview_is_seen_once(project):
    cells = [
        DEFINE, "d6tstore.init('./data'); d6tstore.preview(Double())", "plan = d6tstore.preview(Double())", "plan",
        "for n in (1, 2): d6tstore.preview(Double(n=n))",
    ]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [["text/html" in output.get("data", {}) for output in cell.outputs] for cell in notebook.cells]
    assert shown == [[], [True], [True], [True], [True, True]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_cells_that_are_run_again(project):
    helper = "def scale(x):\n    return 3 * x"
    upstream = """
class Get(d6tstore.tasks.TaskJson):
    n: int = 1
    extra: int = 5
    def run(self):
        self.save(self.n + self.extra)
"""
    out = execute(
        DEFINE, RUN, AGAIN,
        DEFINE, AGAIN,  # the same cell again: nothing is new
        "# a comment\n" + DEFINE, AGAIN,
        helper, AGAIN,  # only the helper
        upstream, AGAIN,  # only the upstream class, with a new parameter: Double follows the newest definition
        "print(Double(extra=7).requires())",
        "import pickle, cloudpickle; print(pickle.loads(pickle.dumps(Double())) == Double())",
    )  # fmt: skip
    assert out[1] == "['Get', 'Double']"
    assert out[2] == out[4] == out[6] == "[] 2"
    assert out[8] == "['Double'] 3"
    assert out[10] == "['Get', 'Double'] 18"
    assert out[11] == "Get(n=1, extra=7)" and out[12] == "True"
    assert execute(DEFINE, RUN)[1] == "[]"  # a new kernel; the old code and parameters: all restored
