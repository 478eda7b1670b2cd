"""A real notebook in a real browser: what a person sees of tasks, plans, runs and pictures, on light and dark pages."""

import base64
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="there is no Chromium here, and only root may install it (scripts/browser does)"
)

CELLS = [
    """
import d6tstore
import pandas as pd

class Get(d6tstore.tasks.TaskPqPandas):
    name: str = "<b>bold</b> & 'quoted'"
    def run(self):
        self.save(pd.DataFrame({"x": range(5)}))

@d6tstore.requires(Get)
class Sum(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(int(self.input().load().x.sum()), metrics={"sum": 10})

class Theirs(d6tstore.tasks.TaskJson):
    external = True
""",
    "store = d6tstore.init('./data'); store",
    "store.plan([Sum(), Theirs()])",
    "d6tstore.run(Sum())",
    "Get()",
    "Sum().output()",
    "store.history(Sum())[0]",
    "store.graph([Sum(), Theirs()])",
    "pipe = d6tstore.pipes.init('team', url='shared'); pipe",
    "pipe.push_preview()",
]


def browse(*options: str) -> str:
    """What a headless browser says."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


class Page(HTMLParser):
    """The text of each output, and the classes that it has."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.said, self.classes, self.tags, self._skip = "", set(), [], False
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))
        self.classes.update((dict(attributes).get("class") or "").split())
        self._skip = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.said += data


@pytest.fixture
def pages(project: Path) -> dict[str, Path]:
    """The notebook, executed and written as a light and as a dark page."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    found = {}
    for theme in ("light", "dark"):
        html, _ = HTMLExporter(template_name="lab", theme=theme).from_notebook_node(notebook)
        # The template asks for MathJax and require.js from elsewhere, and nothing from elsewhere is needed.
        html = re.sub(r'<script[^>]* src="https?:[^>]*></script>', "", html)
        found[theme] = project / f"{theme}.html"
        found[theme].write_text(html, encoding="utf-8")
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_what_a_person_sees(pages: dict[str, Path], tmp_path: Path) -> None:
    profile = f"--user-data-dir={tmp_path / 'chromium'}"
    dom = browse(profile, "--dump-dom", pages["light"].as_uri())
    seen = Page(dom)
    assert seen.said.count("<b>bold</b> &") >= 4  # as text, wherever the parameter is shown
    for words in (
        "2 ran in", "2 of 2 tasks", "PENDING", "EXTERNAL, absent", "metric sum",
        "push to team would be: 2 new", "Store", "Pipe",
    ):  # fmt: skip
        assert words in seen.said, words
    assert {"d6t", "mark", "pending", "absent", "bar"} <= seen.classes
    bars = [attributes for tag, attributes in seen.tags if attributes.get("role") == "progressbar"]
    assert [bar["aria-valuenow"] for bar in bars] == ["100"]  # one bar, drawn anew while it ran
    (picture,) = [data for _, data in seen.tags if (data.get("src") or "").startswith("data:image/svg+xml;base64,")]
    drawn = base64.b64decode(picture["src"].partition(",")[2]).decode()
    assert (
        "✓ COMPLETE" in drawn and "✗ EXTERNAL, absent" in drawn and "http" not in drawn.replace("http://www.w3.org", "")
    )
    folder = Path(os.environ.get("D6TSTORE_SCREENSHOTS") or tmp_path)
    for theme, page in pages.items():
        shot = folder / f"notebook-{theme}.png"
        browse(profile, f"--screenshot={shot}", "--window-size=1000,1700", "--hide-scrollbars", page.as_uri())
        assert shot.stat().st_size > 20_000
