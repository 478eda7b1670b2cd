"""Buckets of real servers, behind a network that can fail."""

import itertools
from urllib.parse import quote

import pytest
import s3servers
from s3proxy import Proxy

from d6tstore.credentials import Credentials
from d6tstore_plugins.cloud.s3 import S3Backend

_numbers = itertools.count()


class Place:
    """A bucket of a server, behind a proxy, and somebody's keys for it.

    Attributes:
        url: of a prefix of the bucket.
        prefix: that prefix.
        credentials: of the user who may do everything.
    """

    def __init__(self, server, bucket, monkeypatch):
        self.server, self.bucket, self._monkeypatch = server, bucket, monkeypatch
        self.proxy = Proxy(server)
        # moto takes the plus sign, with which a client may write a space in a query, for no space when it checks.
        self.prefix = "place/ü" if isinstance(server, s3servers.Moto) else "some place/ü"
        self.url = f"s3://{bucket}/{quote(self.prefix)}?endpoint={self.proxy.url}&region=us-east-1"
        self.credentials = self.known(server.keys)

    def known(self, keys):
        """Credentials that give these keys, from variables."""
        name = f"s3-{next(_numbers)}"
        for field, value in (("ACCESS_KEY", keys.id), ("SECRET_KEY", keys.secret), ("SESSION_TOKEN", keys.token)):
            if value:
                self._monkeypatch.setenv(f"D6TSTORE_{name.upper().replace('-', '_')}_{field}", value)
        return Credentials(name)

    def open(self, keys=None, **options):
        """A backend there."""
        return S3Backend.open(self.url, self.known(keys) if keys else self.credentials, **options)


@pytest.fixture(params=["moto"])
def place(request, monkeypatch):
    server = getattr(s3servers, request.param)()
    with server.bucket() as bucket:
        place = Place(server, bucket, monkeypatch)
        yield place
        place.proxy.close()
