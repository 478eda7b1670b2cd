"""A network between a client and a server that fails on command: a real HTTP proxy in threads.

It hands on method, path and headers as they came, Host too, so that signatures hold; bodies stream. To measure, run
`python s3proxy.py URL SECONDS`: it delays each request, from a process of its own, until its standard input ends.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import http.client
import re
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple
from urllib.parse import urlsplit

CHUNK = 1 << 18
FRAMING = {"content-length", "transfer-encoding"}
HOP = {"connection", "keep-alive", "expect", *FRAMING}  # headers of one connection
LISTING = re.compile(r"/[^/?]+/?(\?(?!.*\bupload).*)?$")  # a bucket and no key


class Answer(NamedTuple):
    """An error, as S3 says it."""

    status: int
    code: str
    region: str = ""


SLOW_DOWN = Answer(503, "SlowDown")
ACCESS_DENIED = Answer(403, "AccessDenied")
EXPIRED_TOKEN = Answer(400, "ExpiredToken")
SKEWED = Answer(403, "RequestTimeTooSkewed")
NOT_IMPLEMENTED = Answer(501, "NotImplemented")
MOVED = Answer(301, "PermanentRedirect", "eu-central-1")
WRONG_REGION = Answer(400, "AuthorizationHeaderMalformed", "eu-central-1")


@dataclass
class Rule:
    """What happens to requests of `method` (None: any) whose path and query match the regular expression `path`."""

    method: str | None = None
    path: str = ""
    times: float = float("inf")  # how often, at most
    latency: float = 0  # seconds before the request is handed on
    rate: float = float("inf")  # bytes per second of either body
    answer: Answer | None = None  # said instead of asking the server
    cut_request: int | None = None  # bytes of the body after which both connections end
    cut_response: int | None = None  # likewise; -1: the server has done it, and the client does not hear of it
    flip_request: int | None = None  # the byte of the body that is turned round
    flip_response: int | None = None
    truncate: int | None = None  # bytes that remain of the response, which says that it is no longer
    drop: tuple[str, ...] = ()  # headers, lower case, that the server does not see; they are signed: `Moto.trusting`
    lag: bool = False  # a listing is what the server last said to the same request
    hits: list[tuple[str, str]] = field(default_factory=list)  # the requests that it met

    def meets(self, method, path):
        return self.method in (None, method) and re.search(self.path, path) is not None and len(self.hits) < self.times


class Cut(Exception):
    """Both connections end here."""


class Proxy:
    """Listens at `url` until `close`.

    `requests` has (method, path with query) of each, as they came; `sent` the bytes of all bodies that went to clients.
    """

    def __init__(self, server):
        self.target = urlsplit(getattr(server, "url", server)).netloc
        self.requests, self.listings, self._rules, self._lock = [], {}, [], threading.Lock()
        self.sent = 0
        self._listen(0)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def when(self, method=None, path="", **behaviour):
        """Within it, requests meet this `Rule`. Of several that match, the newest holds."""
        rule = Rule(method, path, **behaviour)
        self._rules.insert(0, rule)
        try:
            yield rule
        finally:
            self._rules.remove(rule)

    @contextlib.contextmanager
    def down(self):
        """Within it nobody listens."""
        self.close()
        yield
        self._listen(self.port)

    def close(self):
        """Stop listening, end all connections."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def met(self, method, path):
        """Note a request; the rule for it."""
        with self._lock:
            self.requests.append((method, path))
            rule = next((rule for rule in self._rules if rule.meets(method, path)), Rule())
            rule.hits.append((method, path))
        return rule

    def _listen(self, port):
        self._server = Listener(("127.0.0.1", port), Handler)
        self._server.proxy, self._server.connections = self, set()
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    """One connection of a client, and one to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self):
        self.upstream = http.client.HTTPConnection(self.server.proxy.target)
        self.server.connections.add(self.connection)
        with contextlib.suppress(Cut, OSError, http.client.HTTPException), contextlib.closing(self.upstream):
            super().handle()
        self.server.connections.discard(self.connection)

    def relay(self):
        proxy, rule = self.server.proxy, self.server.proxy.met(self.command, self.path)
        body = shaped(self._body(), rule.rate, rule.cut_request, rule.flip_request)
        time.sleep(rule.latency)
        if rule.answer:
            collections.deque(body, 0)
            self._say(rule, *spelled(rule.answer))
        elif rule.lag and self.path in proxy.listings:
            self._say(rule, *proxy.listings[self.path])
        else:
            self._send(body, rule.drop)
            self._say(rule, *self._answer(rule))

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = relay  # noqa: N815

    def log_message(self, *_):
        pass

    def _body(self):
        """The body of the request. A chunked one loses its frames."""
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        left = 0 if chunked else int(self.headers.get("Content-Length", 0))
        while chunked or left:
            if chunked and not (left := int(self.rfile.readline().partition(b";")[0], 16)):
                while self.rfile.readline().strip():
                    pass
                return
            while left:
                if not (chunk := self.rfile.read1(min(left, CHUNK))):
                    raise Cut
                left -= len(chunk)
                yield chunk
            if chunked:
                self.rfile.readline()

    def _send(self, body, drop):
        self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() in FRAMING or name.lower() not in HOP.union(drop):
                self.upstream.putheader(name, value)
        self.upstream.endheaders()
        framed = "Transfer-Encoding" in self.headers
        for chunk in body:
            self.upstream.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if framed else chunk)
        if framed:
            self.upstream.send(b"0\r\n\r\n")

    def _answer(self, rule):
        """Status, headers, length of the body and its chunks."""
        answer = self.upstream.getresponse()
        if rule.cut_response == -1:
            raise Cut
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
        length, chunks = answer.getheader("Content-Length"), iter(functools.partial(answer.read, CHUNK), b"")
        listing = self.command == "GET" and LISTING.match(self.path)
        if self.command != "HEAD" and (length is None or listing or rule.truncate is not None):
            chunks = [answer.read(rule.truncate)]
            length = len(chunks[0])
        if rule.truncate is not None:
            self.upstream.close()  # with the rest
        if listing:
            self.server.proxy.listings[self.path] = answer.status, headers, length, chunks
        return answer.status, headers, length, chunks

    def _say(self, rule, status, headers, length, chunks):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if length is not None and status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        sent = 0
        for chunk in shaped(chunks, rule.rate, rule.cut_response, rule.flip_response):
            if self.command != "HEAD":
                self.wfile.write(chunk)
            sent += len(chunk)
        self.server.proxy.sent += sent
        if self.command != "HEAD" and sent < int(length or 0):
            raise Cut  # as the server did


def shaped(chunks, rate, cut, flip):
    """The chunks of a body as they get through."""
    begin = 0
    for chunk in chunks:
        if flip is not None and begin <= flip < begin + len(chunk):
            chunk = bytearray(chunk)
            chunk[flip - begin] ^= 0xFF
        if cut is not None and begin + len(chunk) > cut:
            yield chunk[: cut - begin]
            raise Cut
        begin += len(chunk)
        time.sleep(len(chunk) / rate)
        yield chunk


def spelled(answer):
    """Status, headers, length and body."""
    region = f"<Region>{answer.region}</Region>" if answer.region else ""
    text = f"<Code>{answer.code}</Code><Message>As the test wants.</Message>{region}<RequestId>1</RequestId>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'.encode()
    headers = [("x-amz-bucket-region", answer.region)] if answer.region else []
    return answer.status, [("Content-Type", "application/xml"), *headers], len(body), [body]


if __name__ == "__main__":
    delaying = Proxy(sys.argv[1])
    with delaying.when(latency=float(sys.argv[2])):
        print(delaying.url, flush=True)
        sys.stdin.read()
