"""Draw the picture of the README: the example `model_comparison`, to whose grid a model was added.

`python docs/images/flow.py` writes docs/images/flow.svg. It needs `pip install 'd6tstore[demo,graph]'`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import d6tstore

if TYPE_CHECKING:
    from d6tstore.picture import Picture

HERE = Path(__file__).parent


def picture() -> Picture:
    """Two models of the example are there, two more are wanted."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        file = Path(shutil.copy(HERE.parents[1] / "examples/model_comparison/flow.py", folder))
        spec = importlib.util.spec_from_file_location("flow", file)
        assert spec and spec.loader
        flow = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(flow)
        flow.make_source()
        (file.parent / "d6tstore.toml").touch()
        with d6tstore.use(d6tstore.open("./data")) as store:
            store.run(d6tstore.grid(flow.Train, do_preprocess=[True, False], model=["logistic"]), progress=False)
            return store.graph(d6tstore.grid(flow.Train, do_preprocess=[True, False], model=["logistic", "svm"]))


if __name__ == "__main__":
    picture().save(HERE / "flow.svg")
