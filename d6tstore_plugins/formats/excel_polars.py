"""Format `excel-polars`: apart from the others, for it needs two libraries."""

from __future__ import annotations

import polars as _  # noqa: F401 -- if it is missing, that is told when the format is chosen

from d6tstore_plugins.formats.excel import ExcelFormat


class ExcelPolarsFormat(ExcelFormat):
    """polars frames as an Excel workbook."""

    frame = "polars"
