"""A real Postgres server for the tests of one process, and a schema of its own for each test."""

from __future__ import annotations

import contextlib
import functools
import socket
import uuid

import psycopg2

from d6tstore.errors import BackendError
from d6tstore_plugins.sql.server import Server

ROLE = "ann"  # whom tests are: no superuser, who would be denied nothing
GUARDED = "bob"  # who must give a password
PASSWORD = "s3cret/of b@b-%41"
HBA = """
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


class Running:
    """A server that takes Unix sockets without, and TCP with a password."""

    def __init__(self, folder):
        (folder / "pg_hba.conf").write_text(HBA)
        for tries in range(5):
            settings = {"hba_file": str(folder / "pg_hba.conf"), "listen_addresses": "127.0.0.1", "fsync": "off"}
            settings["max_connections"] = "400"  # of many stores at once, in one test after the other
            self.port = settings["port"] = str(free_port())
            self.server = Server(folder / "server", settings)
            try:
                self.sockets = self.server.start()
            except BackendError:  # somebody took the port meanwhile
                if tries == 4:
                    raise
            else:
                break

    def get_uri(self):
        """As superuser, on the socket."""
        return f"postgresql://postgres:@/postgres?host={self.sockets}&port={self.port}"

    def tcp(self, user=GUARDED, password="", database="postgres", port=None):
        """With a password, on TCP. It begins an URL: no parameters."""
        return f"postgresql://{user}{password and ':'}{password}@127.0.0.1:{port or self.port}/{database}"


def free_port():
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@functools.cache
def server(folder):
    """Start the server of this process; it stops with it, however it ends."""
    started = Running(folder)
    with connect(started.get_uri()) as cursor:
        cursor.execute(f"CREATE ROLE {ROLE} LOGIN")
        cursor.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD %s", [PASSWORD])
        cursor.execute(f"GRANT CREATE ON DATABASE postgres TO {ROLE}, {GUARDED}")
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
