"""Property tests of frames, for the tests of all formats of pandas frames."""

import itertools

from frames.pandas_cases import same_frame
from frames.strategies import ALL, cuts
from frames.strategies import frames as any_frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import d6tstore
from d6tstore import content
from d6tstore.errors import FormatError
from d6tstore.testing.formats import _dumped, _loaded, _table, _task


def check_any_frame(format, kinds=ALL, examples=60, also=lambda frame, target: None):
    """A generated frame comes back equal or is refused: as bytes, from a store, and when it was saved in parts.

    `also` is called with each frame that was saved, and its target.
    """

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(any_frames(kinds), st.data())
    def check(frame, data):
        task = _task(format)
        try:
            dumped = _dumped(format, frame, None)
        except FormatError as exc:
            assert any(word in str(exc) for word in ("column", "the index", "the names")), exc
            return
        same_frame(frame, _loaded(format, dumped, None))
        task.save(frame)
        same_frame(frame, task.output().load(verify=True))
        also(frame, task.output())
        task.invalidate()
        places = [0, *data.draw(cuts(len(frame))), len(frame)]
        try:
            task.save(frame.iloc[a:b] for a, b in itertools.pairwise(places))
        except FormatError as exc:
            assert "part" in str(exc), exc
            return
        same_frame(frame, task.output().load(verify=True))
        assert store.history(task)[0].outputs["data"].content == content.of_table(_table(format, frame))

    with d6tstore.use(d6tstore.open("memory://")) as store:
        check()
