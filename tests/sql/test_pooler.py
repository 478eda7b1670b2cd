"""A real PgBouncer before the server: refused where it shares connections by the transaction, else used."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import threading

import pytest
from postgres import connect, free_port

from d6tstore.errors import BackendError, Held
from d6tstore_plugins.sql.backend import PostgresBackend

PGBOUNCER = shutil.which("pgbouncer", path=os.defpath + os.pathsep + "/usr/sbin")
pytestmark = pytest.mark.skipif(not PGBOUNCER, reason="PgBouncer is not installed (apt install pgbouncer)")


@pytest.fixture
def pooled(postgres, database, tmp_path):
    """The URL of the database through a pooler in some mode."""
    with contextlib.ExitStack() as stack:

        def start(mode):
            port = free_port()
            users = tmp_path / "users.txt"
            users.write_text('"ann" ""\n')
            file = tmp_path / f"{mode}.ini"
            file.write_text(
                f"[databases]\npostgres = host={postgres.sockets} port={postgres.port}\n"
                f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = trust\nauth_file = {users}\n"
                f"pool_mode = {mode}\nunix_socket_dir =\nignore_startup_parameters = extra_float_digits\n"
            )
            for path in (tmp_path, *tmp_path.parents[:2]):
                path.chmod(0o755)
            owner = pwd.getpwuid(os.stat(postgres.sockets).st_uid).pw_name  # who may use the socket; root may not be
            as_other = ["-u", owner] if os.getuid() == 0 else []
            process = subprocess.Popen([PGBOUNCER, "-q", *as_other, str(file)], stderr=subprocess.PIPE)
            stack.callback(process.stderr.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                threading.Event().wait(0.05)
                assert process.poll() is None, process.stderr.read()
            return f"postgresql://ann@127.0.0.1:{port}/postgres?schema={database.schema}"

        yield start


def test_transaction_mode_is_refused(pooled):
    with pytest.raises(BackendError, match="a pooler in transaction mode.*pool_mode = session"):
        PostgresBackend.open(pooled("transaction"))


def test_session_mode_works(pooled, database):
    import pyarrow as pa

    backend, direct = PostgresBackend.open(pooled("session")), PostgresBackend.open(database.url)
    try:
        table = pa.table({"x": range(1000)})
        backend.write_table("t", table.to_reader())
        assert direct.read_table("t").read_all() == backend.read_table("t").read_all() == table
        with backend.claim("k", {}):
            with pytest.raises(Held), direct.claim("k", {}):
                pass
    finally:
        backend.close()
        direct.close()
    with connect(database.admin) as cursor:
        cursor.execute("SELECT 1")
