"""Formats `sql`, `sql-polars`, `sql-arrow`: frames that are tables of a database, and nothing else."""

from __future__ import annotations

from d6tstore_plugins.formats.parquet import ParquetFormat


class SqlFormat(ParquetFormat):
    """pandas frames as tables. Only a copy that leaves the database is parquet."""

    only_tables = True


class SqlPolarsFormat(SqlFormat):
    """polars frames as tables."""

    frame = "polars"


class SqlArrowFormat(SqlFormat):
    """Arrow tables as tables."""

    frame = "arrow"
