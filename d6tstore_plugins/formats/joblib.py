"""Format `joblib`."""

from __future__ import annotations

import pickle
import types
from typing import Any, BinaryIO

import cloudpickle
import joblib
from joblib.numpy_pickle import NumpyPickler

from d6tstore.errors import FormatError
from d6tstore.format import Format


class JoblibFormat(Format):
    """Objects with large arrays, such as models of scikit-learn: arrays go to the file piece by piece, uncopied.

    Classes and functions of `__main__` travel by value (cloudpickle), all else as joblib does it.
    """

    suffix = ".joblib"
    runs_code = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write an object, not compressed."""
        try:
            _Pickler(file, protocol=5).dump(value)
        except OSError:
            raise  # the disk's trouble, not the value's
        except Exception as exc:
            raise FormatError(
                f"joblib cannot store a {type(value).__name__}: {exc}. Save the parts that it can, or keep it in "
                "memory only with TaskCache."
            ) from exc

    def load(self, file: BinaryIO) -> Any:
        """Read an object. This runs code that the bytes name: never load what you do not trust."""
        try:
            return joblib.load(file)
        except (ImportError, AttributeError) as exc:
            raise FormatError(
                f"the object needs what is not here: {exc}. Install or import it, or run the task again."
            ) from exc
        except OSError:
            raise
        except Exception as exc:  # damaged bytes, or code of the value's class: it may be anything
            raise FormatError(
                f"these bytes are nothing that joblib can load: {type(exc).__name__}: {exc}. Run the task again."
            ) from exc


class _Pickler(NumpyPickler):  # type: ignore[misc]
    """What `joblib.dump` uses, but for what only this `__main__` knows."""

    def reducer_override(self, obj: Any) -> Any:
        if getattr(obj, "__module__", None) == "__main__" and isinstance(obj, type | types.FunctionType):
            return pickle.loads, (cloudpickle.dumps(obj),)
        return NotImplemented
