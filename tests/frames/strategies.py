"""Strategies (hypothesis) of frames, for the tests of all formats of frames."""

import pandas as pd
from hypothesis import strategies as st


def frames():
    """Frames of the usual dtypes, with an index or without."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    stamps = st.datetimes(pd.Timestamp("1700-01-01"), pd.Timestamp("2200-01-01"))
    kinds = {
        "int64": st.integers(-(2**63), 2**63 - 1),
        "uint8": st.integers(0, 255),
        "float64": st.floats(),
        "float32": st.floats(width=32),
        "bool": st.booleans(),
        "str": st.none() | text,
        "string": st.none() | text,
        "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
        "boolean": st.none() | st.booleans(),
        "datetime64[ns]": st.none() | stamps,
        "datetime64[us, Europe/Berlin]": st.none() | stamps,
        "timedelta64[us]": st.none() | st.integers(-(2**50), 2**50),
        "object": st.none() | text,
    }

    @st.composite
    def draw_frame(draw):
        rows = draw(st.integers(0, 5))
        names = draw(st.lists(text, max_size=4, unique=True))
        made = {}
        for name in names:
            kind = draw(st.sampled_from(list(kinds)))
            values = draw(st.lists(kinds[kind], min_size=rows, max_size=rows))
            if "Berlin" in kind:
                made[name] = pd.Series(pd.to_datetime(values, utc=True)).astype(kind)
            else:
                made[name] = pd.Series(values, dtype=kind)
        frame = pd.DataFrame(made, index=range(rows), columns=pd.Index(names, dtype="str"))
        if names and draw(st.booleans()):
            frame = frame.set_index(names[: draw(st.integers(1, 2))])
        return frame

    return draw_frame()
