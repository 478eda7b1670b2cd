"""A place that asks who you are: a small HTTP server on loopback, and the backend `guarded://user@host:port` for it.

The backend is what a third party would write: it keeps `Credentials`, and asks them whenever it connects.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from d6tstore.backend import Backend, Entry, check_key
from d6tstore.credentials.secret import Secret
from d6tstore.errors import BackendError, Denied, InvalidKey, NotFound

log = logging.getLogger("guarded")


class GuardedBackend(Backend):
    """Objects on the server. It knows a user by a password, and by another one if the user may write."""

    def __init__(self, url, credentials):
        self.url, self.credentials = url.rstrip("/"), credentials

    @classmethod
    def open(cls, url, credentials=None):
        backend = cls(url, credentials)
        backend._ask("GET", "list", "nothing begins like this")  # so that a wrong password is told at once
        return backend

    def read(self, key):
        return self._ask("GET", "object", check_key(key))

    def write(self, key, data):
        check_key(key)
        self._ask("PUT", "object", key, data.read_bytes() if isinstance(data, Path) else data)
        if isinstance(data, Path):
            data.unlink()

    def delete(self, key):
        self._ask("DELETE", "object", check_key(key))

    def list(self, prefix=""):
        yield from (Entry(*entry) for entry in json.loads(self._ask("GET", "list", prefix)))

    def _ask(self, method, what, key, body=None):
        credentials = self.credentials if method == "GET" else self.credentials.for_writing()
        with credentials.guard():
            log.debug("%s %s %s as %r", method, what, key, credentials)
            status, data = self._send(method, f"/{what}/{quote(key, safe='')}", body, credentials.get())
            if status == 401:
                raise Denied(
                    f"{self.url} does not accept the password of {credentials.user}. Correct it: "
                    f"d6tstore credentials set {credentials.name}."
                )
            if status == 403:
                raise Denied(f"{credentials.user} may not {method} {key!r} at {self.url}. Ask for the right to.")
            if status == 400:
                raise InvalidKey(f"key {key!r} is refused by {self.url}. A record that holds it is damaged or forged.")
            if status == 404:
                raise NotFound(f"no object under {key!r} at {self.url}. It was removed, or never written.")
            if status != 200:
                raise BackendError(f"{self.url} failed: status {status}. See the log of the server.")
            return data

    def _send(self, method, path, body, password: Secret):
        host = urlsplit(self.url).netloc.rpartition("@")[2]
        login = f"{self.credentials.user}:{password.reveal()}".encode(errors="surrogateescape")
        headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
        try:
            with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as connection:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise BackendError(f"{self.url} cannot be reached: {exc}. Start it, or correct host and port.") from exc


class LeakyBackend(GuardedBackend):
    """What a backend must not do: for the test of the test. `way` says how."""

    def __init__(self, url, credentials, way="nothing"):
        super().__init__(url, credentials)
        self.way = way
        if way == "attribute":
            self.held = credentials.get().reveal()
        if way == "url":
            self.url = self.url.replace("@", f":{quote(credentials.get().reveal(), safe='')}@")

    @classmethod
    def open(cls, url, credentials=None, way="nothing"):
        return cls(url, credentials, way)

    def _send(self, method, path, body, password):
        text = password.reveal()
        if self.way == "log":
            log.debug("sending %r", text)
        if self.way == "print":
            print(json.dumps({"login": text}), flush=True)
        if self.way == "child":
            import subprocess
            import sys

            code = "import sys; sys.stdin.read()"
            started = subprocess.Popen([sys.executable, "-S", "-c", code, text], stdin=subprocess.PIPE)
            started.communicate()
        if self.way == "object" and method == "PUT":
            body = bytes(body) + text.encode()
        return super()._send(method, path, body, password)

    def _ask(self, method, what, key, body=None):
        if self.way == "error" and method == "PUT":
            raise ConnectionError(f"cannot log in with {self.credentials.get().reveal()}")
        if self.way == "frame" and method == "PUT":
            self._connect(self.credentials.get().reveal())
        return super()._ask(method, what, key, body)

    def _connect(self, password):
        raise ConnectionError("cannot log in")

    def read(self, key):
        data = super().read(key)
        text = self.credentials.get().reveal().encode()
        return data.removesuffix(text) if self.way == "object" else data


class Server:
    """The server, in a thread of this process. Objects lie in a folder.

    Args:
        folder: where.
        users: name -> (password to read, password to read and write).
    """

    def __init__(self, folder, users):
        from d6tstore_plugins.local import LocalBackend

        self.objects, self.users, self.refusing = LocalBackend(f"file://{folder}"), dict(users), False
        self.logins = []  # what arrived: for tests of what was sent

        class Handler(_Handler):
            server_of = self

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def url(self, user, scheme="guarded", password=None):
        login = user if password is None else f"{user}:{quote(password, safe='')}"
        return f"{scheme}://{login}@{self.host}/"

    def right(self, header):
        """`write`, `read` or none of these."""
        kind, _, coded = (header or "").partition(" ")
        login = base64.b64decode(coded).decode(errors="surrogateescape") if kind == "Basic" else ""
        user, _, password = login.partition(":")
        self.logins.append((user, password))
        reads, writes = self.users.get(user, (None, None))
        return "write" if password == writes else "read" if password == reads else ""

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of: Server

    def do_GET(self):
        self._do("read")

    def do_PUT(self):
        self._do("write")

    do_DELETE = do_PUT

    def _do(self, needed):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        right = self.server_of.right(self.headers.get("Authorization"))
        if not right:
            return self._answer(401)
        if self.server_of.refusing or (needed == "write" and right != "write"):
            return self._answer(403)
        _, what, quoted = self.path.split("/")
        try:
            return self._answer(200, self._done(what, unquote(quoted), body))
        except NotFound:
            return self._answer(404)
        except BackendError:
            return self._answer(400)

    def _done(self, what, key, body):
        objects = self.server_of.objects
        if what == "list":
            return json.dumps(list(objects.list(key))).encode()
        if self.command == "GET":
            return objects.read(key)
        if self.command == "PUT":
            return objects.write(key, body)
        return objects.delete(key)

    def _answer(self, status, data=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_):
        pass


def install(site: Path) -> Path:
    """Write what `pip install` would: the entry points of the backends. Put the folder on the path."""
    info = site / "guarded-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guarded\nVersion: 1.0\n")
    points = "guarded = guarded:GuardedBackend\nleaky = guarded:LeakyBackend\n"
    (info / "entry_points.txt").write_text(f"[d6tstore.backends]\n{points}")
    return site
