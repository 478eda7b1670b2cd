"""Formats `numpy` and `npz`: arrays. Nothing is ever pickled."""

from __future__ import annotations

import math
import zipfile
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.lib import format as npy

from d6tstore.errors import FormatError
from d6tstore.format import Format

Array: TypeAlias = np.ndarray[Any, Any]

_HEADER = 1 << 20  # bytes: numpy's own default has no room for a thousand columns
_NAME = 65_500  # bytes that zip has for a name
_TIME = (1980, 1, 1, 0, 0, 0)  # of every member: equal arrays have equal bytes


class NumpyFormat(Format):
    """A numpy array of any dtype but objects, in the file format of numpy."""

    suffix = ".npy"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write an array, piece by piece."""
        _write(_checked(value, ""), file)

    def load(self, file: BinaryIO) -> Array:
        """Read an array."""
        return _read(file, "these bytes are")


class NpzFormat(Format):
    """A dict of numpy arrays by name: a zip of `.npy` files, not compressed."""

    suffix = ".npz"

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write a dict of text to arrays, piece by piece."""
        if type(value) is not dict:
            raise FormatError(
                f"npz stores a dict of names to arrays, got a {type(value).__name__}. Save {{'name': array}}, or use "
                "TaskNumpy for one array."
            )
        arrays = {_name(name): _checked(array, f"[{name!r}]") for name, array in value.items()}
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                info = zipfile.ZipInfo(f"{name}.npy", _TIME)
                info.create_system, info.external_attr = 3, 0o644 << 16
                with archive.open(info, "w", force_zip64=True) as member:
                    _write(array, member)

    def load(self, file: BinaryIO) -> dict[str, Array]:
        """Read the dict."""
        found: dict[str, Array] = {}
        try:
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    name = info.filename.removesuffix(".npy")
                    if name == info.filename or name in found:
                        why = "twice in it" if name in found else "no array"
                        raise FormatError(f"these bytes are no npz: {info.filename!r} is {why}. Run the task again.")
                    with archive.open(info) as member:
                        found[name] = _read(member, f"array {name!r} is")
        except (OSError, FormatError):
            raise
        except Exception as exc:  # zipfile has no list of its errors
            raise FormatError(f"these bytes are no npz: {type(exc).__name__}: {exc}. Run the task again.") from exc
        return found


def _name(name: Any) -> str:
    """A name that is the same on every system once it was in a zip."""
    if not isinstance(name, str):
        raise FormatError(f"npz stores arrays under text, {name!r} is a {type(name).__name__}. Use str keys.")
    try:
        fits = len(name.encode()) <= _NAME
    except UnicodeEncodeError:
        fits = False
    if not fits or "\0" in name or "\\" in name:
        raise FormatError(
            f"npz cannot store an array under {name[:60]!r}: no backslash, NUL or half characters, at most "
            f"{_NAME:,} bytes. Give it another name."
        )
    return name


def _checked(value: Any, where: str) -> Array:
    """The array as every equal array is stored. Raises FormatError."""
    kind = type(value)
    if kind is np.memmap:
        value = np.asarray(value)  # only the place of its numbers is another
    elif kind is not np.ndarray:
        cure = "Save np.asarray(x); for frames use TaskPqPandas, for numbers TaskJson, for all else TaskPickle."
        if isinstance(value, np.ma.MaskedArray):
            cure = "Save x.filled(...), or {'data': x.data, 'mask': x.mask} with TaskNpz."
        raise FormatError(
            f"value{where} is a {kind.__module__}.{kind.__qualname__}, no plain array: it would come back as another. "
            f"{cure}"
        )
    if not _storable(value.dtype):
        raise FormatError(
            f"value{where} has dtype {str(value.dtype)[:200]}, which numpy's files do not hold (objects, StringDType, "
            "metadata, overlapping fields, dtypes of other packages). Convert it, such as x.astype(float) or "
            "x.astype('U'), or use TaskPickle."
        )
    return value if _size(value.dtype) == value.dtype.itemsize else _without_gaps(value)


def _storable(dtype: np.dtype[Any]) -> bool:
    """True if the dtype comes back."""
    if dtype.hasobject or npy.drop_metadata(dtype) is not dtype:
        return False
    try:
        described = npy.dtype_to_descr(dtype)
        return npy.descr_to_dtype(described) == dtype and len(repr(described)) < _HEADER // 2
    except (ValueError, TypeError):  # it has no description
        return False


def _size(dtype: np.dtype[Any]) -> int:
    """Bytes of an item without the gaps between its fields."""
    if dtype.subdtype:
        return _size(dtype.subdtype[0]) * math.prod(dtype.subdtype[1])
    if dtype.names is None:
        return dtype.itemsize
    return sum(_size(dtype[name]) for name in dtype.names)


def _without_gaps(value: Array) -> Array:
    """A copy with zeros between the fields, where now is what was in memory by chance."""
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    clean: Array = np.zeros(value.shape, value.dtype, order="F" if fortran else "C")  # zeros_like leaves gaps as is
    _fill(clean, value)
    return clean


def _fill(clean: Array, value: Array) -> None:
    for name in value.dtype.names or ():
        if value[name].dtype.names:
            _fill(clean[name], value[name])
        else:
            clean[name][...] = value[name]


def _write(array: Array, file: Any) -> None:
    try:
        npy.write_array(file, array, (1, 0), allow_pickle=False)
    except ValueError:  # its header is too long, or not in Latin-1; nothing is written yet
        npy.write_array(file, array, (3, 0), allow_pickle=False)


def _read(file: Any, what: str) -> Array:
    try:
        found: Array = npy.read_array(file, allow_pickle=False, max_header_size=_HEADER)
        if file.read(1):  # the end of a zip member: its checksum is compared
            raise ValueError("there are more bytes than its shape says")
    except OSError:
        raise
    except Exception as exc:  # its header is Python, and may be anything
        raise FormatError(f"{what} no array of numpy: {type(exc).__name__}: {exc}. Run the task again.") from exc
    return found
