import pytest
from postgres import Database, server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """The server of this worker."""
    return server(tmp_path_factory.mktemp("postgres"))


@pytest.fixture
def database(postgres):
    return Database(postgres)
