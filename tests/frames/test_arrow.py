"""Arrow tables in every format: equal, or refused."""

import io

import pyarrow as pa
import pytest
from frames.arrow_cases import FEATHER, FINE, PLAIN, REFUSED, TYPED, column, runs, same_table, tables
from hypothesis import given, settings

from d6tstore import registry
from d6tstore.errors import FormatError
from d6tstore.testing import FormatTests, Refused
from d6tstore.testing.formats import _dumped, _loaded


def not_in_text(values):
    return {name: Refused(table, "column '(a|s|us)'.*TaskPqArrow") for name, table in values.items()}


class ArrowTests(FormatTests):
    def equal(self, saved, loaded):
        return same_table(saved, loaded)


class TestParquet(ArrowTests):
    values = PLAIN | FINE | TYPED
    refused = REFUSED | {
        "intervals": Refused(FEATHER["intervals"], "interval"),
        "runs": Refused(runs(pa.array(["x", None]), [1, 3]), "run_end_encoded"),
        "empty struct": Refused(FEATHER["empty struct"], "no child field"),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("parquet-arrow")


class TestFeather(ArrowTests):
    values = PLAIN | FINE | TYPED | FEATHER | {"runs": runs(pa.array(["x", None]), [1, 3])}
    refused = REFUSED

    @pytest.fixture
    def format(self):
        return registry.format_of("feather-arrow")


class TestCsv(ArrowTests):
    values = PLAIN | FINE
    refused = REFUSED | not_in_text(TYPED | FEATHER | {"runs": runs(pa.array(["x"]), [1])}) | {
        "an extension that nobody knows": Refused([1]),
        "no dates": Refused(column([4 * 10**6], pa.date32()), "column 'a' holds times outside of the years"),
    }  # fmt: skip

    @pytest.fixture
    def format(self):
        return registry.format_of("csv-arrow")


class TestExcel(ArrowTests):
    values = PLAIN
    refused = not_in_text(FINE | TYPED) | {
        "NUL in a name": Refused(FINE["NUL in a name"], "name of column.*Rename"),
        "an extension that nobody knows": Refused([1]),
    }

    @pytest.fixture
    def format(self):
        return registry.format_of("excel-arrow")


@pytest.mark.parametrize("name", ["parquet-arrow", "feather-arrow", "csv-arrow", "csv-gz-arrow"])
def test_any_table_comes_back_equal(name):
    format = registry.format_of(name)

    @settings(max_examples=60, deadline=None, database=None)
    @given(tables())
    def check(table):
        try:
            dumped = _dumped(format, table, None)
        except FormatError as exc:
            text = str(exc)
            assert name.startswith("csv") and ("does not fit" in text or "categorical" in text)
            return
        same_table(table.unify_dictionaries(), _loaded(format, dumped, None))

    check()


@pytest.mark.parametrize("name", ["parquet", "feather", "csv"])
def test_any_library_hands_over_its_stream(name):
    class Exporter:
        def __arrow_c_stream__(self, requested_schema=None):
            return PLAIN["chunks"].__arrow_c_stream__(requested_schema)

    format, file = registry.format_of(f"{name}-arrow"), io.BytesIO()
    format.dump(Exporter(), file)
    file.seek(0)
    assert format.load_table(file, PLAIN["chunks"].schema).equals(PLAIN["chunks"])
