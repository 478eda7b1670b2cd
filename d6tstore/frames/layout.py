"""What the metadata of an Arrow schema says of a pandas frame: its columns, labels and index."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from d6tstore.errors import FormatError
from d6tstore.frames import labels

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"d6tstore"
"""Of our own notes, beside what pyarrow notes for pandas."""


class Layout(NamedTuple):
    """What the metadata of a schema says of a pandas frame, as far as its columns are there."""

    described: dict[str, Any]
    notes: dict[str, Any]
    levels: list[str]
    fields: list[str]

    @classmethod
    def of(cls, schema: pa.Schema) -> Layout:
        """Read it. ValueError, TypeError or KeyError: it was altered."""
        metadata = schema.metadata or {}
        described = json.loads(metadata.get(b"pandas", b"{}"))
        present = set(schema.names)
        levels = [name for name in described.get("index_columns", []) if isinstance(name, str) and name in present]
        known = set(levels)
        fields = [name for name in schema.names if name not in known]
        return cls(described, json.loads(metadata.get(KEY, b"{}")), levels, fields)

    def entries(self) -> dict[str, Any]:
        """What pandas notes of each column, by its Arrow name."""
        return {entry["field_name"]: entry for entry in self.described.get("columns", [])}

    def ranged(self) -> dict[str, Any] | None:
        """What pandas notes of a RangeIndex; None if the index is none."""
        return next((each for each in self.described.get("index_columns", []) if isinstance(each, dict)), None)

    def plain(self) -> bool:
        """Are the labels the Arrow names of the columns?"""
        heads = self.described["column_indexes"]
        return len(heads) == 1 and heads[0]["pandas_type"] in ("unicode", "string")

    def labels(self) -> Any:
        """Labels of the columns that are there; None if they are what pyarrow makes them."""
        if (note := self.notes.get("labels")) is None:
            return None
        places = {name: i for i, name in enumerate(self.entries())}
        return labels.decode(note, [places[field] for field in self.fields])

    def headed(self) -> Any:
        """Notes on the labels, to be compared."""
        return self.notes.get("labels", [each["name"] for each in self.described["column_indexes"]])

    def indexed(self) -> Any:
        """What is said of the index, to be compared; the numbers of a RangeIndex are those of its rows."""
        ranged = self.ranged()
        return self.notes.get("names") or (["RangeIndex", ranged["name"]] if ranged else self.names())

    def names(self) -> list[Any]:
        """Names of the levels that are there."""
        entries = self.entries()
        noted = self.notes.get("names")
        stored = self.described.get("index_columns", [])
        return [labels.name_of(noted[stored.index(n)]) if noted else entries[n]["name"] for n in self.levels]


def check_part(part: pa.Schema, first: pa.Schema, number: int, rows: int) -> None:
    """Refuse a part of a frame whose notes the first part's cannot stand for.

    Args:
        part: schema of the part.
        first: schema of the first part.
        number: of the part, from 1.
        rows: in the parts before.

    Raises:
        FormatError: part, column, rule, cure.
    """
    new, old = Layout.of(part), Layout.of(first)
    if not new.described or not old.described:
        return
    here = f"in part {number} of the frame"
    if not old.described["columns"]:
        raise FormatError("a frame without columns cannot come in parts: its rows would be lost. Save it whole.")

    def same(what: str, a: Any, b: Any, cure: str) -> None:
        if a != b:
            raise FormatError(f"the {what} {here}: {labels.shown(a)}, in the first: {labels.shown(b)}. {cure}.")

    cure = "Give all parts the same kind of index (reset_index(), rename_axis())"
    same("index is another", new.indexed(), old.indexed(), cure)
    if (range_ := new.ranged()) and (begun := old.ranged()):
        anew = (range_["start"], range_["step"]) == (begun["start"], begun["step"]) == (0, 1)
        counted = anew or (range_["start"], range_["step"]) == (begun["start"] + rows * begun["step"], begun["step"])
        if not counted and range_["start"] != range_["stop"]:  # labels of rows that were chosen, not their numbers
            raise FormatError(
                f"the index {here} is a RangeIndex that neither goes on from the part before nor begins at 0 as "
                "all do. Number the rows (reset_index(drop=True)), or keep the labels as a column (reset_index())."
            )
    cure = "Set the same attrs for all parts (df.attrs = {})"
    same("attrs are others", new.described.get("attributes"), old.described.get("attributes"), cure)
    if part.names != first.names:
        return  # which is refused for frames of all kinds
    same("labels of the columns are others", new.headed(), old.headed(), "Give all parts the same columns")
    said, known = new.entries(), old.entries()
    for field in first.names:
        noted, note = ({**each.notes.get("columns", {}).get(field, {})} for each in (new, old))
        mark, usual = noted.pop("null", ""), note.pop("null", "None")
        column = f"column {labels.shown(field)}"
        if mark and mark != usual:
            raise FormatError(
                f"{column} marks missing values by {mark} {here}, and by {usual} in the first. Use one mark in all of "
                "them: x.where(x.notna(), None), or give the column a dtype (astype)."
            )
        a, b = (each[field]["numpy_type"] for each in (said, known))
        numbers = all(re.fullmatch(r"u?int\d+|float\d+", kind) for kind in (a, b))  # their Arrow types are compared
        if "floats" in note:  # of which this part has no NaN
            noted = noted or note
        nothing = str(part.field(field).type) == "null" and "object" in note and "object" in noted
        if (noted != note or (a != b and not numbers)) and not nothing:
            raise FormatError(
                f"{column} is {_kind(noted, a)} {here}, and {_kind(note, b)} in the first. Give every part the same "
                "dtypes: df.astype(...), or read_csv(dtype=...)."
            )


def _kind(note: dict[str, Any], name: str) -> str:
    if "categories" in note:
        return f"of the categories {labels.shown(note['categories'].get('json', '...'))}"
    return f"{name} ({note['object']})" if "object" in note else name
