"""A stored frame that is compared: its columns are read when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from d6tstore import conditions, frames
from d6tstore.frames.layout import Layout
from d6tstore.target import Target

if TYPE_CHECKING:
    from d6tstore.record import Output

_SMALL = 5_000_000  # values of a frame that is read at once


class Side:
    """A stored frame, whose columns are read when they are needed.

    Args:
        target: of one record, which does not change meanwhile.
        output: of that record.
        schema: of the frame.
    """

    def __init__(self, target: Target, output: Output, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = output.rows or 0
        self.named, self.levels = frames.fields(schema)
        self._range: tuple[str, pa.ChunkedArray] | None = None
        ranged = Layout.of(schema).ranged()
        if ranged and isinstance(name := ranged["name"], str) and name not in schema.names:  # it is not stored
            numbers = ranged["start"] + np.arange(self.rows, dtype=np.int64) * ranged["step"]
            self._range = name, pa.chunked_array([numbers])
            self.schema = schema.append(pa.field(name, pa.int64()))
            self.levels = [(name, name)]
        self._target = target
        self._label = {name: label for label, name in (*self.named, *self.levels)}
        self._whole: pa.Table | None = None

    def column(self, name: str) -> pa.ChunkedArray | None:
        """A column or level of the index by its Arrow name; None if there is none."""
        if self._range and name == self._range[0]:
            return self._range[1]
        if name not in self._label:
            return None
        if self._whole is None and self.rows * len(self._label) > _SMALL:
            return self._target.load(columns=[self._label[name]], as_="arrow").column(name)
        if self._whole is None:
            self._whole = self._target.load(as_="arrow")
        return self._whole.column(name)

    def find(self, label: Any) -> str:
        """Arrow name of a label. Raises SelectionError."""
        return conditions.find(label, self.named, self.levels)[0]

    def index(self) -> list[str]:
        """Arrow names of the levels of an index that has names."""
        return [name for _, name in self.levels] if all(label is not None for label, _ in self.levels) else []
