"""A stored value for people and for other programs: as text, or as a file of a common kind."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from d6tstore import frames
from d6tstore.errors import FormatError, SelectionError, UsageError
from d6tstore.format import Format, TableFormat
from d6tstore.loading import Stored
from d6tstore.record import Output
from d6tstore.registry import format_of, kept_format
from d6tstore.storing import decode_schema
from d6tstore.tables import json_value
from d6tstore.transfers import Transfers
from d6tstore.whole import replacing

if TYPE_CHECKING:
    import pandas as pd

    from d6tstore.target import Target

ENDINGS = (".parquet", ".csv", ".json", ".txt", ".xlsx", ".feather")
_CONDITION = re.compile(r"\s*(.+?)\s*(==|!=|<=|>=|<|>|=|\bnot in\b|\bin\b)\s*(.*?)\s*", re.S)
_FORMATS = {".parquet": "parquet", ".xlsx": "excel", ".feather": "feather"}
_NOTHING = ("none", "null")


class Wanted(NamedTuple):
    """The part of a frame that is asked for, in words of a command line; `version` is the write id of a kept one."""

    columns: str | None = None
    where: Sequence[str] = ()
    limit: int | None = None
    version: str | None = None

    @property
    def is_part(self) -> bool:
        """False if all of the value is wanted."""
        return self.columns is not None or bool(self.where) or self.limit is not None

    def options(self, output: Output) -> dict[str, Any]:
        """As `Target.load` takes it. Raises SelectionError."""
        if not self.is_part:
            return {"version": self.version}
        columns = [name.strip() for name in self.columns.split(",")] if self.columns is not None else None
        where = conditions(self.where, output) or None
        return {"columns": columns, "where": where, "limit": self.limit, "version": self.version}

    def output_of(self, target: Target) -> Output:
        """What the record says of an output. Raises as `Target.load`."""
        for found in target.repository.history(target.task) if self.version is not None else ():
            if found.write_id == self.version and target.name in found.outputs:
                return found.outputs[target.name]
        current = target.record()
        if self.version not in (None, current.write_id):
            target.load(version=self.version)  # which says what versions there are
        return current.outputs[target.name]


def conditions(texts: Sequence[str], output: Output) -> list[tuple[str, str, Any]]:
    """Conditions such as `price > 5`, `city in Rome,Oslo`, `day >= 2024-01-31`, `name == None`.

    Args:
        texts: one condition each. Quotes around a value are optional.
        output: the frame, whose columns say what is a number and what is text.

    Raises:
        SelectionError: a text is no condition.
    """
    schema, found = decode_schema(output.schema), []
    for text in texts:
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise SelectionError(
                f"{text!r} is no condition. Write it as 'price > 5', 'city in Rome,Oslo' or 'x == None'."
            )
        column, operator, value = match.groups()
        names = dict(frames.fields(schema)[0]) if schema is not None else {}
        kind = schema.field(names[column]).type if schema is not None and column in names else None
        is_text = kind is not None and "string" in str(kind)
        if operator.endswith("in"):
            parts = value.removeprefix("[").removesuffix("]").split(",")
            found.append((column, operator, [_value(part.strip(), is_text) for part in parts]))
        else:
            found.append((column, "==" if operator == "=" else operator, _value(value, is_text)))
    return found


def _value(text: str, is_text: bool) -> Any:
    """A value of a condition; of a column of text it is text, though it may look like a number."""
    if text.lower() in _NOTHING:
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if is_text:
        return text
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text  # a time, say


def format_kept(target: Target, output: Output) -> Format:
    """The format in which an output is stored. Raises PluginError."""
    return kept_format(output.format, target.task.formats().get(target.name))


def csv_of(frame: pd.DataFrame) -> str:
    """A frame as CSV; an index that is no mere numbering comes first."""
    return str(frame.to_csv(index=_has_index(frame)))


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, for `json_value`: missing values are None.

    Raises:
        UsageError: two columns, or the index and a column, have one name.
    """
    flat = _flat(frame)
    if not flat.columns.is_unique:
        twice = ", ".join(sorted({str(name) for name in flat.columns[flat.columns.duplicated()]}))
        raise UsageError(f"several columns are named {twice}, and an object of JSON has each name once. Write .csv.")
    names = [str(name) for name in flat.columns]
    columns = [_or_none(flat[name]) for name in flat.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _or_none(column: pd.Series[Any]) -> list[Any]:
    missing = column.isna().tolist()
    return [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index, if it is no mere numbering, as columns. Raises UsageError."""
    if not _has_index(frame):
        return frame
    try:
        return frame.reset_index()
    except ValueError as exc:
        raise UsageError(f"the index is named as a column is ({exc}). Write .csv or .parquet.") from exc


def _has_index(frame: pd.DataFrame) -> bool:
    import pandas as pd

    return not isinstance(frame.index, pd.RangeIndex)


def write(target: Target, wanted: Wanted, file: Path, replace: bool) -> None:
    """Write an output, or a part of it, to a file, as its ending says: all of it, or nothing.

    Args:
        target: the output.
        wanted: the part of a frame.
        file: with one of `ENDINGS`; or with that of the stored object, whose bytes then stay as they are.
        replace: also where there is a file.

    Raises:
        UsageError: there is a file already, the ending is none of these, the value does not go into it, or it cannot
            be written there.
        FormatError: it cannot be stored so.
        ResultError, Denied: as `Target.load`.
    """
    if file.exists() and not (replace and file.is_file()):
        raise UsageError(f"{file} is there already. Choose another name, or pass --replace.")
    output = wanted.output_of(target)
    ending = next((e for e in (output.suffix, *ENDINGS) if e and file.name.endswith(e)), None)
    if ending is None:
        known = ", ".join(dict.fromkeys(filter(None, (*ENDINGS, output.suffix))))
        raise UsageError(f"{file.name!r}: the ending says what is written. Give one of {known}.")
    if ending == output.suffix and not output.table and not wanted.is_part:
        fill: Callable[[BinaryIO], None] = functools.partial(_copy, target, output)
    else:
        fill = _writer(target, output, wanted, ending)
    with replacing(file) as staged, staged.open("wb") as to:
        fill(to)


def _copy(target: Target, output: Output, to: BinaryIO) -> None:
    stored = Stored(repr(target.task), target.backend, output, Transfers.of(target.repository))
    with stored.open(verify=True) as source:
        shutil.copyfileobj(source, to)


def _writer(target: Target, output: Output, wanted: Wanted, ending: str) -> Callable[[BinaryIO], None]:
    """Loads the value, and returns what writes it."""
    if isinstance(format_kept(target, output), TableFormat):
        frame = target.load(as_="pandas", **wanted.options(output))
        if ending in _FORMATS:
            format = format_of(_FORMATS[ending])
            table = _flat(frame) if ending == ".xlsx" else frame
            return lambda to: format.dump(table, to)
        if ending == ".json":
            return _text(json.dumps(json_value(records_of(frame)), ensure_ascii=False))
        return _text(csv_of(frame) if ending == ".csv" else f"{frame.to_string()}\n")
    value = target.load(**wanted.options(output))
    if ending == ".json" or (ending == ".txt" and isinstance(value, dict | list)):
        try:
            return _text(f"{json.dumps(value, indent=2, ensure_ascii=False)}\n")
        except (TypeError, ValueError) as exc:
            raise FormatError(f"JSON cannot hold it: {exc}. Its own ending is {output.suffix}.") from exc
    if ending == ".txt" and isinstance(value, str):
        return _text(value)
    raise UsageError(f"{target!r} is no frame but a {type(value).__name__}: it does not go into {ending}. "
                     f"Its own ending is {output.suffix}.")  # fmt: skip


def _text(text: str) -> Callable[[BinaryIO], None]:
    def fill(to: BinaryIO) -> None:
        to.write(text.encode())

    return fill
