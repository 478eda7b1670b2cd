"""Formats of polars frames: those of Arrow data, told that the frames are polars'."""

from __future__ import annotations

import polars as _  # noqa: F401 -- if it is missing, that is told when the format is chosen

from d6tstore_plugins.formats.csv import CsvFormat, CsvGzFormat
from d6tstore_plugins.formats.feather import FeatherFormat
from d6tstore_plugins.formats.parquet import ParquetFormat


class ParquetPolarsFormat(ParquetFormat):
    """polars frames as parquet."""

    frame = "polars"


class CsvPolarsFormat(CsvFormat):
    """polars frames as CSV."""

    frame = "polars"


class CsvGzPolarsFormat(CsvGzFormat):
    """polars frames as gzipped CSV."""

    frame = "polars"


class FeatherPolarsFormat(FeatherFormat):
    """polars frames as feather."""

    frame = "polars"
