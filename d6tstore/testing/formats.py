"""`FormatTests`: what every format promises."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from d6tstore import content, context, frames, registry
from d6tstore.errors import FormatError
from d6tstore.format import Format, PathFormat, TableFormat
from d6tstore.frames import stream
from d6tstore.repository import Repository
from d6tstore.selection import Selection
from d6tstore.store import Store
from d6tstore.storing import decode_schema, encode_schema
from d6tstore.task import Task
from d6tstore.testing.suite import Suite

FOREIGN = {
    "nothing": b"",
    "zeros": bytes(64),
    "text": b"this is something else\n\nquite, different",
    "open": b'{"a": [1, ',
    "binary": bytes(range(256)) * 8,
    "magic": b"PAR1\x00\x00\x00\x00PAR1",
}
"""Bytes of nobody's."""


class Refused(NamedTuple):
    """A value that must be refused, and a regular expression that the message must match."""

    value: Any
    match: str = ""


class FormatTests(Suite):
    r"""Subclass it in a test file, define the fixture `format` and the values that it is tried with.

    ::

        class TestText(FormatTests):
            values = ["", "plain", "ünï\n"]
            refused = {"bytes": Refused(b"1", "use TaskPickle"), "surrogate": "\ud800"}

            @pytest.fixture
            def format(self):
                return TextFormat()
    """

    values: ClassVar[Sequence[Any] | Mapping[str, Any]] = ()
    """Values that come back equal; a mapping gives them names."""
    refused: ClassVar[Sequence[Any] | Mapping[str, Any]] = ()
    """Values (or `Refused`) for which `FormatError` is raised; a mapping gives them names."""

    @pytest.fixture
    def format(self) -> Format:
        """The format."""
        raise NotImplementedError("define a fixture `format` that returns a Format")

    def equal(self, saved: Any, loaded: Any) -> bool:
        """Is what was loaded equal to what was saved? Override it where `==` does not tell; it may raise.

        Frames are compared by content and Arrow schema.
        """
        kind = type(saved).__module__.partition(".")[0].replace("pyarrow", "arrow")
        if kind not in frames.KINDS:
            return bool(saved == loaded)
        old, new = (frames.to_arrow(value, kind) for value in (saved, loaded))
        return type(saved) is type(loaded) and content.of_table(old) == content.of_table(new)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each value."""
        for argument, values in (("value", self.values), ("refusal", self.refused)):
            if argument in metafunc.fixturenames:
                named = dict(_named(values))
                metafunc.parametrize(argument, list(named.values()), ids=list(named))

    @pytest.fixture
    def store(self) -> Store:
        """A store in memory."""
        backend = registry.open_backend("memory://")
        return Store(Repository(backend, {"memory": backend}))

    # ---------------------------------------------------------------- the class

    def test_suffix_is_one_of_a_file(self, format: Format) -> None:
        assert re.fullmatch(r"(\.[A-Za-z0-9_]+)*", format.suffix)

    def test_format_pickles(self, format: Format) -> None:
        assert type(pickle.loads(pickle.dumps(format))) is type(format)

    # ------------------------------------------------------------------- values

    def test_value_comes_back_equal(self, format: Format, value: Any, tmp_path: Path) -> None:
        if format.live:
            pytest.skip("a live object has no bytes")
        assert self.equal(value, _loaded(format, _dumped(format, value, tmp_path), tmp_path))

    def test_value_comes_back_from_a_store(self, format: Format, value: Any, store: Store) -> None:
        task = _task(format)
        with context.using(store):
            task.save(value)
            (found,) = store.history(task)
            output = found.outputs["data"]
            assert (output.rows is not None) == (output.schema is not None) == isinstance(format, TableFormat)
            assert bool(output.checksum) != format.live
            assert self.equal(value, task.output().load(verify=True))
            task.save(task.output().load())  # what was loaded can be saved, and is equal again
            assert self.equal(value, task.output().load())

    def test_equal_frames_have_one_content(self, format: Format, value: Any) -> None:
        if not isinstance(format, TableFormat):
            pytest.skip("the content of other formats is that of their bytes")
        table = _table(format, value)
        back = format.from_arrow(table)
        assert content.of_table(table) == content.of_table(_table(format, value))
        assert content.of_table(table) == content.of_table(format.to_arrow(back))

    def test_content_is_the_same_in_another_process(self, format: Format) -> None:
        if not isinstance(format, TableFormat):
            pytest.skip("the content of other formats is that of their bytes")
        values = [value for _, value in _named(self.values)]
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(_contents, format, values).result() == _contents(format, values)

    # ------------------------------------------------------------- frames in parts

    def test_a_frame_in_parts_is_the_same(self, format: Format, value: Any) -> None:
        if not isinstance(format, TableFormat):
            pytest.skip("other values do not come in parts")
        import pyarrow as pa

        table = _table(format, value)
        file = io.BytesIO()
        batches = (part for i in range(0, max(table.num_rows, 1), 2) for part in stream.reader(table.slice(i, 2)))
        format.dump_table(pa.RecordBatchReader.from_batches(table.schema, batches), file)
        file.seek(0)
        loaded = format.load_table(file, decode_schema(encode_schema(table.schema)))
        assert content.of_table(loaded) == content.of_table(table)
        assert self.equal(value, format.from_arrow(loaded))

    def test_all_batches_of_a_frame_are_stored(self, format: Format) -> None:
        if not isinstance(format, TableFormat):
            pytest.skip("other values do not come in batches")
        import pyarrow as pa

        table, file = pa.table({"n": range(10), "s": [str(i) for i in range(10)]}), io.BytesIO()
        format.dump_table(table.to_reader(3), file)
        file.seek(0)
        assert format.load_table(file, table.schema).equals(table)

    def test_a_part_of_a_frame_is_what_was_asked_for(self, format: Format, value: Any) -> None:
        if not isinstance(format, TableFormat):
            pytest.skip("other values have no parts")
        table, file = _table(format, value), io.BytesIO()
        format.dump_table(stream.reader(table), file)
        schema = decode_schema(encode_schema(table.schema))
        names = table.column_names
        if not names:
            pytest.skip("there are no columns to choose from")
        for selection in (
            Selection(limit=1),
            Selection(limit=0),
            Selection(columns=names[::-2]),
            Selection(columns=names[:1], where=[(name, "!=", None) for name in names[-1:]] or None),
            Selection(where=[(name, "==", None) for name in names[-1:]] or None, limit=1),
        ):
            file.seek(0)
            part = format.scan(file, schema, selection)
            assert part.schema.equals(selection.schema(schema), check_metadata=True), selection
            found, expected = part.read_all(), selection.apply(table).read_all()
            assert found.num_rows == expected.num_rows and not file.closed
            assert content.of_table(found) == content.of_table(expected), selection
            if selection.limit == 0:
                assert content.of_table(found) == content.of_table(table.slice(0, 0)), "lost what there is without rows"

    # ------------------------------------------------------------------ refusals

    def test_value_is_refused_with_rule_and_cure(self, format: Format, refusal: Any, tmp_path: Path) -> None:
        value, match = refusal if isinstance(refusal, Refused) else (refusal, "")
        with pytest.raises(FormatError, match=match or None) as caught:
            _dumped(format, value, tmp_path)
        assert len(str(caught.value).split(". ")) > 1, f"no cure after the rule: {caught.value}"

    def test_refused_value_leaves_nothing(self, format: Format, refusal: Any, store: Store) -> None:
        value = refusal.value if isinstance(refusal, Refused) else refusal
        task = _task(format)
        with context.using(store):
            with pytest.raises(FormatError, match=re.escape(repr(task))):
                task.save(value)
            assert list(store.repository.default.list()) == []
            assert not task.output().exists()

    # ------------------------------------------------------------------ bad bytes

    @pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
    def test_foreign_bytes_are_an_error_of_ours_or_a_value(self, format: Format, data: bytes, tmp_path: Path) -> None:
        _try(format, data, tmp_path)

    def test_damaged_bytes_are_an_error_of_ours_or_a_value(self, format: Format, value: Any, tmp_path: Path) -> None:
        if format.live:
            pytest.skip("a live object has no bytes")
        data = _dumped(format, value, tmp_path)[0]
        middle = len(data) // 2
        for cut in {0, 1, middle, max(len(data) - 9, 0), max(len(data) - 1, 0)}:
            _try(format, data[:cut], tmp_path)
        if not format.runs_code:  # nobody knows what altered code would do
            _try(format, data[:middle] + b"\xff\x00\xfe" + data[middle + 3 :], tmp_path)


def _named(values: Sequence[Any] | Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if isinstance(values, Mapping):
        return values.items()
    return ((str(i), value) for i, value in enumerate(values))


def _task(format: Format) -> Any:
    kept = format

    class Kept(Task):
        format = kept

        def run(self) -> None:
            raise NotImplementedError

    return Kept()


def _dumped(format: Format, value: Any, folder: Path) -> tuple[bytes, Any]:
    """Bytes of a value, and the schema that its record would have."""
    if isinstance(format, PathFormat):
        path = folder / f"dumped{format.suffix}"
        format.dump_path(value, path)
        return path.read_bytes(), None
    if format.live:
        return b"", format.check(value)
    file, schema = io.BytesIO(), None
    if isinstance(format, TableFormat):
        table = _table(format, value)
        format.dump_table(stream.reader(table), file)
        schema = decode_schema(encode_schema(table.schema))
    else:
        format.dump(value, file)
    return file.getvalue(), schema


def _table(format: TableFormat, value: Any) -> Any:
    data = format.to_arrow(value)
    return data.read_all() if hasattr(data, "read_all") else data


def _loaded(format: Format, dumped: tuple[bytes, Any], folder: Path) -> Any:
    data, schema = dumped
    if isinstance(format, PathFormat):
        path = folder / f"loaded{format.suffix}"
        path.write_bytes(data)
        return format.load_path(path)
    if isinstance(format, TableFormat):
        return format.from_arrow(format.load_table(io.BytesIO(data), schema))
    return format.load(io.BytesIO(data))


def _try(format: Format, data: bytes, folder: Path) -> None:
    try:
        _loaded(format, (data, None), folder)
    except FormatError as exc:
        assert len(str(exc)) > 20


def _contents(format: TableFormat, values: list[Any]) -> list[str]:
    return [content.of_table(_table(format, value)) for value in values]
