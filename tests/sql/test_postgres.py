"""Postgres passes the published suite."""

import pytest

from d6tstore.testing import TableBackendTests
from d6tstore_plugins.sql.backend import PostgresBackend


class TestPostgres(TableBackendTests):
    lease = 10.0  # until the server has noticed that a process died
    @pytest.fixture
    def backend(self, database):
        self.database = database
        backend = PostgresBackend.open(database.url)
        yield backend
        backend.close()

    def denying(self, backend):
        return self.database.denying()
