"""Format `pickle`."""

from __future__ import annotations

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
            if _of_main(value):
                import cloudpickle

                cloudpickle.dump(value, file, protocol=5)
            else:
                pickle.dump(value, file, protocol=5)
        except Exception as exc:
            raise FormatError(
                f"a {type(value).__name__} cannot be pickled: {exc}. Save the parts that can be, or keep it in "
                "memory only with TaskCache."
            ) from exc

    def load(self, file: BinaryIO) -> Any:
        """Read an object. This runs code that the bytes name: never load what you do not trust."""
        try:
            return pickle.load(file)
        except (pickle.UnpicklingError, EOFError) as exc:
            raise FormatError(f"these bytes are no pickle: {exc}. Run the task again.") from exc
        except (ImportError, AttributeError) as exc:
            raise FormatError(
                f"the pickle needs what is not here: {exc}. Install or import it, or run the task again."
            ) from exc


def _of_main(value: Any) -> bool:
    kind = value if isinstance(value, type) or callable(value) else type(value)
    return getattr(kind, "__module__", None) == "__main__"
