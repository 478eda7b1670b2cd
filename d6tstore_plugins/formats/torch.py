"""Format `torch`."""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO

import cloudpickle
import torch

from d6tstore.errors import FormatError
from d6tstore.format import Format


class TorchFormat(Format):
    """What `torch.save` takes: tensors, state dicts, whole modules. They load on the CPU.

    Tensors and state dicts load without running code. A whole module is a pickle: it needs its class, and loading
    it runs code, so the format counts as one that does. Classes of `__main__` travel by value (cloudpickle).
    """

    suffix = ".pt"
    runs_code = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a value."""
        try:
            torch.save(value, file, pickle_module=cloudpickle)
        except OSError:
            raise  # the disk's trouble, not the value's
        except Exception as exc:
            raise FormatError(
                f"torch.save cannot store a {type(value).__name__}: {exc}. Save its state_dict()."
            ) from exc

    def load(self, file: BinaryIO) -> Any:
        """Read a value. This may run code that the bytes name: never load what you do not trust."""
        try:
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:  # it is more than tensors
                file.seek(0)
                return torch.load(file, map_location="cpu", weights_only=False)
        except (ImportError, AttributeError) as exc:
            raise FormatError(
                f"the value needs what is not here: {exc}. Install or import it, or run the task again."
            ) from exc
        except OSError:
            raise
        except Exception as exc:  # damaged bytes, or code of the value's class: it may be anything
            raise FormatError(
                f"these bytes are nothing that torch can load: {type(exc).__name__}: {exc}. Run the task again."
            ) from exc
