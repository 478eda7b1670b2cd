"""What is stored in S3 is read by other tools: here nothing is read by d6tstore."""

import os
import subprocess
import sys

import pandas as pd
import polars as pl
import pyarrow.fs
import pytest

import d6tstore
from d6tstore.repository import Repository
from d6tstore.store import Store

FRAME = pd.DataFrame(
    {"n": [0, 1, 2], "name": ["ü", None, "x"], "day": pd.date_range("2026-01-01", periods=3, tz="UTC")}
)


pytestmark = pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)


class Frame(d6tstore.tasks.TaskPqPandas):
    def run(self):
        self.save(FRAME)


@pytest.fixture
def stored(place):
    """Where the frame lies, as people name it, and the server."""
    store = Store(Repository(place.open()))
    with d6tstore.use(store):
        store.run(Frame())
        uri = Frame().output().uri
    store.close()
    return uri, place.server


def test_aws_s3_cp_and_pandas(stored, tmp_path):
    uri, server = stored
    keys = {"AWS_ACCESS_KEY_ID": server.keys.id, "AWS_SECRET_ACCESS_KEY": server.keys.secret}
    copy = tmp_path / "copy.parquet"
    where = ["--endpoint-url", server.url, "--region", "us-east-1"]
    command = [sys.executable, "-m", "awscli", *where, "s3", "cp", uri, str(copy)]
    done = subprocess.run(command, env={**os.environ, **keys}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(copy), FRAME)


def test_pandas_by_pyarrow(stored):
    uri, server = stored
    keys = {"access_key": server.keys.id, "secret_key": server.keys.secret}
    files = pyarrow.fs.S3FileSystem(endpoint_override=server.url, region="us-east-1", **keys)
    pd.testing.assert_frame_equal(pd.read_parquet(uri.removeprefix("s3://"), filesystem=files), FRAME)


def test_polars(stored):
    uri, server = stored
    options = {
        "aws_access_key_id": server.keys.id, "aws_secret_access_key": server.keys.secret, "aws_region": "us-east-1",
        "aws_endpoint_url": server.url, "aws_allow_http": "true",
    }  # fmt: skip
    assert pl.read_parquet(uri, storage_options=options)["n"].to_list() == [0, 1, 2]
