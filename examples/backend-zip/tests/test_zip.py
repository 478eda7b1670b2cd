from pathlib import Path

import pytest
from d6tstore_zip import ZipBackend

from d6tstore.errors import BackendError
from d6tstore.testing import BackendTests, forbidden


class TestZip(BackendTests):
    @pytest.fixture
    def backend(self, tmp_path):
        return ZipBackend(f"zip://{tmp_path}/results.zip")

    def denying(self, backend):
        return forbidden(Path(backend.file).parent)


def test_what_is_no_archive_is_an_error(tmp_path):
    (tmp_path / "results.zip").write_bytes(b"no archive")
    with pytest.raises(BackendError, match="not a zip file"):
        ZipBackend(f"zip://{tmp_path}/results.zip").read("a")
