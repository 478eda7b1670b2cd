"""`d6tstore demo`: the example, changed step by step. What is printed comes from reports, and is checked."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from d6tstore import config, context, tasks
from d6tstore.commands.shell import FAILED, Failure
from d6tstore.display import grouped
from d6tstore.errors import UsageError
from d6tstore.report import Report
from d6tstore.task import Task

_COLOURS = {"ran": "yellow", "restored": "cyan", "reused": "green", "failed": "red", "blocked": "red"}
Counts = dict[tuple[str, str], int]  # (action, family) -> number of tasks

_LINE = (
    "return (features - features.mean()) / features.std()",
    "return (features - features.min()) / (features.max() - features.min())",
)
_COMMENT = (
    "# Each feature gets mean 0 and standard deviation 1.",
    "# All features get the same range, so that none outweighs the others.",
)


def run(folder: str | None = None) -> None:
    """Run the demo, and print it.

    Args:
        folder: a new or empty folder, which is kept; None is a temporary one.

    Raises:
        UsageError: scikit-learn is not installed, or the folder is not empty.
        Failure: a step did not do what its headline says.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError("the demo needs scikit-learn: pip install 'd6tstore[demo]'")
    with contextlib.ExitStack() as stack:
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="d6tstore-demo-")
            place = Path(stack.enter_context(temporary)).resolve()
        else:
            place = _fresh(Path(folder).expanduser())
        click.echo("GetData -> Preprocess -> Train, over a grid of models, on scikit-learn's breast-cancer set")
        kept = "kept" if folder else "removed at the end; --dir PATH keeps it"
        click.echo(click.style(f"in {place} ({kept})", dim=True))
        started = time.perf_counter()
        for file in _example().iterdir():
            if file.suffix in (".py", ".md"):
                shutil.copy(file, place)
        stack.enter_context(contextlib.chdir(place))
        stack.enter_context(_importable())
        stack.enter_context(context.using(config.open("./data")))
        demo = Demo(place)
        demo.play()
        click.echo(f"\n{demo.number} steps, each as it says, in {time.perf_counter() - started:.1f} s.")
    if folder is not None:
        click.echo(f"Go on there: cd {place}; edit flow.py; d6tstore preview flow:Train --model svm")


def _example() -> Path:
    """The example: in the wheel, or in the checkout that is installed as editable."""
    here = Path(__file__).parent
    for place in (here / "_examples", here.parent / "examples"):
        if (place / "model_comparison" / "flow.py").is_file():
            return place / "model_comparison"
    raise UsageError("the example of the demo is not installed. Install d6tstore again.")


def _fresh(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as exc:
        raise UsageError(f"{folder} cannot be used: {exc.strerror}. Give a new folder.") from None
    if not empty:
        raise UsageError(f"{folder} is not empty. Give a new folder, so that nothing of yours is overwritten.")
    return folder.resolve()


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Leave the modules of this process as they were: the example is loaded as `flow`."""
    before = sys.modules.pop("flow", None)
    try:
        yield
    finally:
        sys.modules.pop("flow", None)
        if before is not None:
            sys.modules["flow"] = before


@dataclass
class Demo:
    """The steps, and what they share.

    Attributes:
        place: the folder of the workflow.
        preprocess: values of `do_preprocess` in the grid.
    """

    place: Path
    preprocess: list[bool] = field(default_factory=lambda: [True])
    number: int = 0

    def play(self) -> None:
        """All steps."""
        n, source = len(self.grid(self.load())), self.place / "flow.py"
        original = source.read_text(encoding="utf-8")
        self.load().make_source()
        ran = {("ran", "GetData"): 1, ("ran", "Preprocess"): 1, ("ran", "Train"): n}
        self.step("First run: everything is computed.", lambda: None, ran)
        nothing = {("reused", "GetData"): 1, ("reused", "Preprocess"): 1, ("reused", "Train"): n}
        self.step("Run again: there is nothing to do.", lambda: None, nothing)
        self.step(
            "Change a parameter: only the tasks with the new value run.",
            self.widen,
            nothing | {("ran", "Preprocess"): 1, ("ran", "Train"): n},
        )
        half = {
            ("ran", "Preprocess"): 2,
            ("ran", "Train"): n,
            ("reused", "Train"): n,
            ("reused", "GetData"): 1,
        }
        self.step(
            "Change a line of code: what calls it runs, and what depends on a changed result.",
            lambda: self.edit(*_LINE),
            half,
        )
        nothing = {("reused", "GetData"): 1, ("reused", "Preprocess"): 2, ("reused", "Train"): 2 * n}
        self.step("Edit a comment: nothing runs.", lambda: self.edit(*_COMMENT), nothing)
        self.step(
            "Go back to the old code: the earlier results are restored, nothing runs.",
            lambda: self.revert(original),
            {("restored" if action == "ran" else action, family): m for (action, family), m in half.items()},
        )
        self.step(
            "Change the data, in a column that Preprocess drops: Train is cut off.",
            lambda: self.change("patient", "9001"),
            {("ran", "GetData"): 1, ("ran", "Preprocess"): 2, ("reused", "Train"): 2 * n},
        )
        self.step(
            "Change the data, in a column that counts: all that depends on it runs.",
            lambda: self.change("mean radius", "20.99"),
            {("ran", "GetData"): 1, ("ran", "Preprocess"): 2, ("ran", "Train"): 2 * n},
        )
        self.compare()

    def load(self) -> ModuleType:
        """The workflow as it is on disk now, as a new process would load it."""
        path = self.place / "flow.py"
        module = sys.modules["flow"] = ModuleType("flow")
        module.__file__ = str(path)
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - our example; import would trust a .pyc of the same second
        return module

    def grid(self, flow: ModuleType) -> list[Task]:
        """The tasks to compare."""
        values: dict[str, Any] = {"model": ["logistic", "svm"], "C": [0.1, 1.0, 10.0]}
        return tasks.grid(flow.Train, do_preprocess=self.preprocess, **values)

    # ------------------------------------------------------------------- steps

    def step(self, headline: str, change: Callable[[], None], expected: Counts) -> None:
        """Change something, run, print what ran and why; fail if the report is not as expected."""
        self.number += 1
        click.echo(f"\n{click.style(str(self.number), bold=True)}  {click.style(headline, bold=True)}")
        change()
        report = context.current().run(self.grid(self.load()))
        show(report)
        found = Counter((outcome.action, outcome.task.family) for outcome in report)
        if found != expected:
            raise Failure(
                f"step {self.number} did not do what it says: not {_text(expected)}, but {_text(found)}.",
                FAILED,
            )

    def widen(self) -> None:
        """Add a parameter value to the grid."""
        self.preprocess = [True, False]
        _show_change("", "do_preprocess=[True]", "do_preprocess=[True, False]")

    def edit(self, old: str, new: str) -> None:
        """Replace a line of flow.py."""
        path = self.place / "flow.py"
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise Failure(f"{path} has no line {old!r} to edit.", FAILED)
        path.write_text(text.replace(old, new), encoding="utf-8")
        _show_change("flow.py", old, new)

    def revert(self, original: str) -> None:
        """Bring back the first flow.py."""
        (self.place / "flow.py").write_text(original, encoding="utf-8")
        _show_change("flow.py", _LINE[1], _LINE[0])

    def change(self, column: str, value: str) -> None:
        """Give the first row of the raw file another value in one column."""
        path = self.place / "breast_cancer.csv"
        header, first, *rest = path.read_text(encoding="utf-8").splitlines()
        cells, at = first.split(","), header.split(",").index(column)
        old, cells[at] = cells[at], value
        path.write_text("\n".join([header, ",".join(cells), *rest, ""]), encoding="utf-8")
        _show_change(path.name, f"{column} = {old}", f"{column} = {value}")

    def compare(self) -> None:
        """The comparison, best first."""
        table = context.current().compare(self.grid(self.load()))
        shown = table.sort_values("roc_auc", ascending=False)
        shown = shown[["model", "C", "do_preprocess", "roc_auc", "accuracy", "seconds"]]
        formats: Any = {"C": "{:g}".format}
        head, *lines = shown.to_string(index=False, float_format="{:.3f}".format, formatters=formats).splitlines()
        click.echo(f"\n{click.style('Compare: d6tstore.compare(tasks), best first', bold=True)}")
        click.echo(click.style(f"   {head}", dim=True))
        for i, line in enumerate(lines):
            click.echo(click.style(f"   {line}", fg="green" if i == 0 else None))


def show(report: Report) -> None:
    """Print a report in a few lines."""
    for action, what, reason in grouped(report):
        line = f"   {click.style(action.ljust(8), fg=_COLOURS[action])}  {what}"
        click.echo(line + (click.style(f"  ({reason})", dim=True) if reason else ""))
    click.echo(f"   {len(report.ran)} of {len(report)} ran, {report.seconds:.2f} s")


def _show_change(where: str, old: str, new: str) -> None:
    for sign, text, colour in (("-", old, "red"), ("+", new, "green")):
        click.echo(f"   {where:{len(where)}}{' ' if where else ''}" + click.style(f"{sign} {text}", fg=colour))


def _text(counts: Counts) -> str:
    return ", ".join(f"{n} {family} {action}" for (action, family), n in sorted(counts.items())) or "nothing"
