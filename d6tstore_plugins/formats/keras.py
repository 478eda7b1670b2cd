"""Format `keras`."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from d6tstore.errors import FormatError
from d6tstore.format import PathFormat

_TIME = (1980, 1, 1, 0, 0, 0)  # of every member: equal models have equal bytes
_SHARED = re.compile(r'("shared_object_id": )(\d+)')
_CURE = "Write it as a class or function under @keras.saving.register_keras_serializable(), or save the weights."


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
    """Copy what Keras wrote, without the time and the addresses in memory that it puts in."""
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w") as new:
        for name in sorted(old.namelist()):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16
            info.file_size = old.getinfo(name).file_size
            with old.open(name) as source, new.open(info, "w") as target:
                if name == "metadata.json":
                    target.write(json.dumps({**json.load(source), "date_saved": ""}).encode())
                elif name == "config.json":
                    target.write(_config(source.read().decode()).encode())
                else:
                    shutil.copyfileobj(source, target, 1 << 20)


def _config(text: str) -> str:
    """The configuration, its shared objects numbered in order. Refuses what would not load."""
    for part in _parts(json.loads(text)):
        if part.get("class_name") == "__lambda__":
            raise FormatError(f"the model holds a lambda, which Keras does not load. {_CURE}")
        if unknown := _unknown(part):
            raise FormatError(f"the model holds {unknown!r}, which is not registered and would not load. {_CURE}")
    numbers: dict[str, str] = {}
    return _SHARED.sub(lambda found: found[1] + numbers.setdefault(found[2], str(len(numbers))), text)


def _unknown(part: dict[str, Any]) -> str | None:
    """Name of a class or function that Keras would not find again."""
    if part.get("class_name") == "function":
        try:
            keras.saving.deserialize_keras_object(part)
        except (TypeError, ValueError):
            return str(part.get("config"))
        return None
    name, module = part.get("registered_name"), part.get("module") or ""
    known = not isinstance(name, str) or module.partition(".")[0] in ("keras", "builtins")
    return None if known or keras.saving.get_registered_object(name) is not None else str(name)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """All dicts of a configuration."""
    if isinstance(config, dict):
        yield config
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _parts(part)
