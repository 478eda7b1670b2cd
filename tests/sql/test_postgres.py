"""Postgres passes the published suite."""

import pytest

from d6tstore.testing import TableBackendTests
from d6tstore_plugins.sql.backend import PostgresBackend


class _Suite(TableBackendTests):
    lease = 10.0  # until the server has noticed that a process died
    driver = "adbc"

    @pytest.fixture
    def backend(self, database):
        self.database = database
        backend = PostgresBackend.open(database.url, driver=self.driver)
        yield backend
        backend.close()

    def denying(self, backend):
        return self.database.denying()


class TestPostgres(_Suite):
    pass


class TestPostgresByPsycopg2Alone(_Suite):
    driver = "psycopg2"
