"""Format `excel`: frames as a workbook that a person opens."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import openpyxl

from d6tstore.errors import FormatError
from d6tstore.format import TableFormat
from d6tstore_plugins.formats.excel_cells import array, bad_text, cell, check_type, plain_values, text_cell

if TYPE_CHECKING:
    import pyarrow as pa

    from d6tstore.selection import Selection

_ROWS, _COLUMNS = 1_048_575, 16_384  # what a sheet holds below its header
_BATCH = 1 << 14  # rows that are read at once


class ExcelFormat(TableFormat):
    """pandas frames as an Excel workbook: one sheet, a header, cells that Excel calculates with.

    The types do not lie in the file but in the record. Excel holds numbers of 53 bits and times to the millisecond;
    what it would change is refused. For tables that people read: a million rows take minutes.
    """

    suffix = ".xlsx"

    def dump_table(self, batches: pa.RecordBatchReader, file: BinaryIO) -> None:
        """Write a workbook, and read it again to see that nothing was changed."""
        table = self._checked(batches)
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("data")
        sheet.append([text_cell(sheet, name) for name in table.column_names])
        for batch in table.to_batches(_BATCH):
            cells = [
                [value if value is None else cell(sheet, value) for value in plain_values(field, column, self._other)]
                for field, column in zip(batch.schema, batch.columns, strict=True)
            ]
            for row in zip(*cells, strict=True):
                sheet.append(row)
        with tempfile.TemporaryFile() as copy:
            book.save(copy)
            copy.seek(0)
            back = self.load_table(copy, table.schema)
            for name, old, new in zip(table.column_names, table.columns, back.columns, strict=True):
                if not old.equals(new):
                    raise FormatError(
                        f"column {name!r} would come back from Excel as something else. Use {self._other}."
                    )
            copy.seek(0)
            shutil.copyfileobj(copy, file)

    def load_table(self, file: BinaryIO, schema: pa.Schema | None = None) -> pa.Table:
        """Read the first sheet into the types of `schema`; as pandas reads it when there is none."""
        import pandas as pd
        import pyarrow as pa

        with _reading():
            if schema is None:
                return pa.Table.from_pandas(pd.read_excel(file, engine="openpyxl"), preserve_index=False)
            return pa.Table.from_batches(_batches(file, schema, schema.names), schema)

    def scan(self, file: BinaryIO, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
        """Read the sheet row by row, as far as is needed."""
        import pyarrow as pa

        names = selection.needed(schema)
        needed = pa.schema([schema.field(name) for name in names], schema.metadata)
        return selection.apply(pa.RecordBatchReader.from_batches(needed, _batches(file, schema, names)))

    @property
    def _other(self) -> str:
        return {"pandas": "TaskPqPandas", "polars": "TaskPqPolars", "arrow": "TaskPqArrow"}[self.frame]

    def _checked(self, batches: pa.RecordBatchReader) -> pa.Table:
        """All rows. FormatError: Excel does not hold them; nothing was written yet."""
        import pyarrow as pa

        names, found, rows = batches.schema.names, [], 0
        if len(names) > _COLUMNS:
            raise FormatError(f"the frame has {len(names):,} columns, Excel holds {_COLUMNS:,}. Use {self._other}.")
        for field in batches.schema:
            if problem := bad_text(field.name):
                raise FormatError(f"the name of column {field.name!r} {problem}. Rename it, or use {self._other}.")
            check_type(field, self._other)
        for batch in batches:
            found.append(batch)
            rows += batch.num_rows
            if rows > _ROWS:
                raise FormatError(f"the frame has more than the {_ROWS:,} rows that Excel holds. Use {self._other}.")
            for field, column in zip(batch.schema, batch.columns, strict=True):
                plain_values(field, column, self._other)
        return pa.Table.from_batches(found, batches.schema)


class ExcelArrowFormat(ExcelFormat):
    """Arrow tables as an Excel workbook."""

    frame = "arrow"


def _batches(file: BinaryIO, schema: pa.Schema, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows of a sheet of ours, some of its columns, as they are read."""
    import pyarrow as pa

    fields = [schema.field(name) for name in names]
    places = [schema.get_field_index(name) for name in names]
    result = pa.schema(fields, schema.metadata)
    if not len(schema):
        return
    with _reading():
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        with contextlib.closing(book):
            book.worksheets[0].reset_dimensions()  # what another program wrote there may be wrong
            rows = book.worksheets[0].iter_rows(values_only=True, max_col=len(schema))
            header = ["" if name is None else name for name in next(rows, ())]
            if header + [""] * (len(schema) - len(header)) != schema.names:
                raise ValueError(f"the header is {header}, the record says {schema.names}")
            while part := _first(rows, _BATCH):
                columns = [[row[i] if i < len(row) else None for row in part] for i in places]
                arrays = [array(field, values) for field, values in zip(fields, columns, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=result)


def _first(rows: Iterator[Any], count: int) -> list[Any]:
    return [row for _, row in zip(range(count), rows, strict=False)]


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Tell the user that the bytes are wrong; errors of the storage are its own."""
    try:
        yield
    except FormatError:
        raise
    except Exception as exc:  # damaged bytes make openpyxl raise anything
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        raise FormatError(
            f"these bytes are not the workbook that was saved: {type(exc).__name__}: {exc}. Run the task again."
        ) from exc
