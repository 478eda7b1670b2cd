"""Format `keras`."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from d6tstore.errors import FormatError
from d6tstore.format import PathFormat

_TIME = (1980, 1, 1, 0, 0, 0)  # of every member: equal models have equal bytes
_CURE = "Write it as a class of yours under @keras.saving.register_keras_serializable(), or save its weights."


class KerasFormat(PathFormat):
    """A Keras model: architecture, weights, optimizer, how it was compiled.

    Loading keeps the safe mode of Keras. It still imports the classes that the file names, and ways around that
    mode were found before, so the format counts as one that runs code.
    """

    suffix = ".keras"
    runs_code = True

    def dump_path(self, value: Any, path: Path) -> None:
        """Write a model."""
        if not isinstance(value, keras.Model):
            raise FormatError(
                f"a {type(value).__name__} is no keras.Model. Save the model; for weights alone "
                "(model.get_weights()) use TaskNpz or TaskPickle."
            )
        made = path.with_name(f"{path.name}{self.suffix}")  # Keras wants that ending
        try:
            value.save(made)
            _rewrite(made, path)
        except (OSError, FormatError):
            raise
        except Exception as exc:
            raise FormatError(f"Keras cannot store the model: {type(exc).__name__}: {exc}. {_CURE}") from exc
        finally:
            made.unlink(missing_ok=True)

    def load_path(self, path: Path) -> Any:
        """Read a model."""
        if path.suffix == self.suffix:
            return _load(path)
        with tempfile.TemporaryDirectory(prefix="d6tstore-") as folder:
            named = Path(folder) / f"model{self.suffix}"
            try:
                os.symlink(path.absolute(), named)
            except OSError:  # this system has no links, or not for everybody
                shutil.copyfile(path, named)
            return _load(named)


def _load(path: Path) -> Any:
    try:
        return keras.saving.load_model(path)
    except OSError as exc:
        if exc.errno is not None:  # the storage, not the bytes
            raise
        raise FormatError(f"these bytes are no Keras model: {exc}. Run the task again.") from exc
    except Exception as exc:
        raise FormatError(
            f"these bytes are no model that Keras loads here: {type(exc).__name__}: {exc}. Import what defines its "
            "classes, or run the task again."
        ) from exc


def _rewrite(made: Path, path: Path) -> None:
    """Copy what Keras wrote, without the time. Refuses what safe mode would not load."""
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w") as new:
        for name in sorted(old.namelist()):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16
            info.file_size = old.getinfo(name).file_size
            with old.open(name) as source, new.open(info, "w") as target:
                if name == "metadata.json":
                    target.write(json.dumps({**json.load(source), "date_saved": ""}).encode())
                    continue
                if name == "config.json":
                    config = source.read()
                    if b'"__lambda__"' in config:
                        raise FormatError(f"the model has a lambda, which Keras does not load. {_CURE}")
                    target.write(config)
                    continue
                shutil.copyfileobj(source, target, 1 << 20)
