import shutil
import tempfile
from pathlib import Path

import pytest
from postgres import Database, server


@pytest.fixture(scope="session")
def roomy():
    """A folder for servers. Not pytest's: of root, a server is another user, whom each new session locks out of it."""
    folder = Path(tempfile.mkdtemp(prefix="d6tstore-servers-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(roomy):
    """The server of this worker."""
    (roomy / "postgres").mkdir()
    started = server(roomy / "postgres")
    yield started
    started.server.close()


@pytest.fixture
def database(postgres):
    return Database(postgres)
