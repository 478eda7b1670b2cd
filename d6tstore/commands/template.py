"""A new project from the template that ships with d6tstore."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

from d6tstore.errors import UsageError

_NAME = "my-project"  # stands in the template for the name of the project
_FILES = {
    "tasks.py": "tasks.py",
    "run.py": "run.py",
    "visualize.py": "visualize.py",
    "d6tstore.toml": "d6tstore.toml",
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore.txt": ".gitignore",
    "raw/sales.csv": "raw/sales.csv",
    "tests/test_tasks.py": "tests/test_tasks.py",
}


def create(folder: Path) -> list[Path]:
    """Make a project that works at once.

    Args:
        folder: new or empty.

    Returns:
        Its files, relative to the folder.

    Raises:
        UsageError: the folder is not empty, or cannot be written.
    """
    source = _source()
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty. Give a new folder, so that nothing of yours is overwritten.")
        name = project_name(folder.resolve().name)
        try:
            for here, there in _FILES.items():
                text = (source / here).read_text(encoding="utf-8").replace(_NAME, name)
                (folder / there).parent.mkdir(exist_ok=True)
                (folder / there).write_text(text, encoding="utf-8")
        except BaseException:  # it was empty: all that is there is ours
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if made:
                folder.rmdir()
            raise
    except OSError as exc:
        raise UsageError(f"{folder} cannot be written: {exc.strerror}. Give a new folder.") from None
    return [Path(path) for path in _FILES.values()]


def project_name(folder: str) -> str:
    """A name that packages may have, from that of a folder.

    Example:
        >>> project_name("Übung 'eins'"), project_name("日本")
        ('ubung-eins', 'my-project')
    """
    plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or _NAME


def _source() -> Path:
    """The template: in the wheel, or in the checkout that is installed as editable."""
    here = Path(__file__).parents[1]
    for place in (here / "_examples", here.parent / "examples"):
        if (place / "template" / "tasks.py").is_file():
            return place / "template"
    raise UsageError("the template of projects is not installed. Install d6tstore again.")
