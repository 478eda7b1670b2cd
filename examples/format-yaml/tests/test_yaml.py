import datetime

import pytest
from d6tstore_yaml import YamlFormat

from d6tstore.testing import FormatTests, Refused


class TestYaml(FormatTests):
    values = {
        "nothing": None,
        "settings": {"model": "svm", "C": 0.1, "layers": [64, 64], "on": True, 1: {"empty": [{}, []]}},
        "text": ["", "ünï 😀", " two\nlines\n", "yes", "1e5", "2026-01-01", "# no comment", "\ud800"],
        "numbers": [0, -1, 10**30, 1e300, -0.0, float("inf")],
        "times": [datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC)],
        "bytes": bytes(range(256)),
    }
    refused = {
        "tuple": Refused((1, 2), "another value"),
        "NaN": Refused([float("nan")], "another value"),
        "line end": Refused("\x85", "another value"),
        "key": Refused({(1, 2): 3}, "unhashable"),
        "object": Refused({"a": object()}, "cannot represent"),
    }

    @pytest.fixture
    def format(self):
        return YamlFormat()
