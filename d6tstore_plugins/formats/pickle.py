"""Format `pickle`."""

from __future__ import annotations

import functools
import pickle
from typing import Any, BinaryIO

from d6tstore.errors import FormatError
from d6tstore.format import Format


class PickleFormat(Format):
    """Any Python object that pickles; classes and functions of `__main__` travel by value (cloudpickle)."""

    suffix = ".pkl"
    runs_code = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write an object, protocol 5."""
        try:
            _pickler()(file, protocol=5).dump(value)
        except OSError:
            raise  # the disk's trouble, not the value's
        except Exception as exc:
            raise FormatError(
                f"a {type(value).__name__} cannot be pickled: {exc}. Save the parts that can be, or "
                "keep it in memory only with TaskCache."
            ) from exc

    def load(self, file: BinaryIO) -> Any:
        """Read an object. This runs code that the bytes name: never load what you do not trust."""
        try:
            return pickle.load(file)
        except (ImportError, AttributeError) as exc:
            raise FormatError(
                f"the pickle needs what is not here: {exc}. Install or import it, or run the task again."
            ) from exc
        except OSError:
            raise
        except Exception as exc:  # damaged bytes, or code of the value's class: it may be anything
            raise FormatError(
                f"these bytes are no pickle that can be loaded: {type(exc).__name__}: {exc}. Run the task again."
            ) from exc


@functools.cache
def _pickler() -> Any:
    """The class that pickles by value what `__main__` defines, all else as usual."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if getattr(obj, "__module__", None) in ("__main__", "builtins"):
                return super().reducer_override(obj)
            return NotImplemented

    return Pickler
