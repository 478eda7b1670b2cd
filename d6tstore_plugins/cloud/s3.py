"""Backend `s3`: objects in a bucket of AWS, or of any service that speaks like it."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from d6tstore.backend import Backend, Entry, check_key
from d6tstore.credentials import Credentials
from d6tstore.errors import Changed, Denied, InvalidKey, NotFound, Unsupported, UsageError
from d6tstore.record import RECORDS, records_prefix
from d6tstore_plugins.cloud.address import Address
from d6tstore_plugins.cloud.index import FEW, INDEX, Index, grouped, listed, top
from d6tstore_plugins.cloud.lease import CLAIMS, Leases
from d6tstore_plugins.cloud.ranged import ranged
from d6tstore_plugins.cloud.rust import RustClient
from d6tstore_plugins.cloud.session import Session

_rust: set[int] = set()  # processes, this one or its ancestors, that used the Rust client: its threads are not forked
_SMALL = 1 << 20  # bytes; larger objects are written one by one, in parts that go at once
_ABSENT = 1_000  # objects that a listing does not have and that are asked for one by one


class S3Backend(Backend):
    """A prefix of a bucket.

    Args:
        url: such as `s3://bucket/prefix?region=eu-west-1`.
        credentials: of the place; without a name, boto3's own ways are taken (variables, profiles, SSO, roles).
        driver: `obstore`, or `boto3`, which takes more CPU and works in forked processes; None chooses.
        **options: see `Address`; they go before what the URL says.
    """

    remote = True
    exact = True

    def __init__(
        self, url: str, credentials: Credentials | None = None, driver: str | None = None, **options: Any
    ) -> None:
        if driver not in (None, "obstore", "boto3"):
            raise UsageError(f"driver={driver!r} is unknown. Use 'obstore', 'boto3', or none.")
        self._address = Address.parse(url, **options)
        self._credentials = credentials or Credentials()
        self.url = self._address.url
        self._driver = driver
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._made: Any = None
        self._leases: Leases | None = None
        self._known: Index | None = None
        self._pid = os.getpid()  # last: another thread of a new process begins as well, or finds all done

    @classmethod
    def open(  # type: ignore[override]  # its options by name, so that others are refused
        cls, url: str, credentials: Credentials | None = None, endpoint: str | None = None, region: str | None = None,
        profile: str | None = None, path_style: bool | None = None, requester_pays: bool | None = None,
        encryption: str | None = None, kms_key: str | None = None, ca: str | None = None,
        anonymous: bool | None = None, lease: float | None = None, driver: str | None = None,
    ) -> S3Backend:  # fmt: skip
        """See `Backend.open`; options as in `Address`."""
        options = {
            "endpoint": endpoint, "region": region, "profile": profile, "path_style": path_style,
            "requester_pays": requester_pays, "encryption": encryption, "kms_key": kms_key, "ca": ca,
            "anonymous": anonymous, "lease": lease,
        }  # fmt: skip
        backend = cls(url, credentials, driver, **options)
        with contextlib.suppress(Denied):  # who may not list may yet read
            next(backend._client.list("d6tstore-is-there-such-a-bucket"), None)
        return backend

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self._credentials, self._driver)

    @property
    def _client(self) -> Any:
        """The client of this process."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            if self._made is None:
                self._made = self._connected("boto3" if _rust - {os.getpid()} else self._driver)
        return self._made

    def _connected(self, driver: str | None) -> Any:
        """A new client."""
        with self._credentials.guard():
            session = Session(self._address, self._credentials, repr(self))
            if driver == "boto3":
                from d6tstore_plugins.cloud.boto import BotoClient  # which takes a while

                return BotoClient(self._address, session, repr(self))
            _rust.add(os.getpid())
            return RustClient(self._address, session, repr(self))

    @property
    def _index(self) -> Index:
        client = self._client
        if self._known is None:
            self._known = Index(client)
        return self._known

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        return bytes(self._client.get(check_key(key)))

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those that exist, many at once."""
        records = [check_key(key) for key in keys if key.startswith(RECORDS)]
        others = [check_key(key) for key in keys if not key.startswith(RECORDS)]
        found = {key: data for key, (data, _) in self._client.get_many(others).items()}
        return found | self._index.read(records)

    def records(self, family: str) -> Iterator[tuple[str, bytes]]:
        """All records of a family, by way of their index."""
        yield from self._index.family(records_prefix(family).removesuffix("/")).items()

    def settle(self, written: Mapping[str, int]) -> None:
        """Bring indexes up to date."""
        for family, number in written.items():
            if number > FEW:
                self._index.settle(records_prefix(family).removesuffix("/"))

    def open_read(self, key: str) -> BinaryIO:
        """A file that fetches the ranges that are read."""
        entry = self._client.head(check_key(key))
        if entry is None:
            return io.BytesIO(self.read(key))  # which says what is wrong
        return ranged(lambda start, view: self._client.fill(key, entry.version, start, view), entry.size)

    def write(self, key: str, data: bytes | Path) -> None:
        """Store an object; readers see the old one until it is whole."""
        self.upload(key, data, None)

    def upload(self, key: str, data: bytes | Path, tell: Callable[[int], None] | None) -> None:
        """See `Backend.upload`."""
        tag = self._client.put(check_key(key), data, tell)
        if tell is not None and isinstance(data, bytes):
            tell(len(data))
        if isinstance(data, Path):
            data.unlink()
        elif key.startswith(RECORDS):
            self._index.note(key, data, tag)

    def write_many(self, items: Mapping[str, bytes | Path]) -> None:
        """Store several objects, small ones at once."""
        small = {check_key(k): v for k, v in items.items() if isinstance(v, bytes) and len(v) <= _SMALL}
        for key, data in items.items():
            if key not in small:
                self.write(key, data)
        self._client.put_many(small)

    def compare_and_swap(self, key: str, expected: str | None, data: bytes) -> str:
        """Write on the condition that the tag is still that one; see `Backend.compare_and_swap`."""
        if not self._claims.works():
            raise Unsupported(f"{self!r} has no conditional writes. Write without a condition.")
        tag = self._client.put_if(check_key(key), data, expected)
        tag = self._ours(key, data) if tag is None else tag
        if tag is None:
            raise Changed(f"{key!r} in {self!r} was written by somebody else meanwhile.")
        if key.startswith(RECORDS):
            self._index.note(key, data, str(tag))
        return str(tag)

    def create_many(self, items: Mapping[str, bytes]) -> dict[str, str]:
        """Write those that are not there, many at once; see `Backend.create_many`."""
        if not self._claims.works():
            raise Unsupported(f"{self!r} has no conditional writes. Write without a condition.")
        made: dict[str, str] = self._client.put_new({check_key(key): data for key, data in items.items()})
        for key in made:
            if key.startswith(RECORDS):
                self._index.note(key, items[key], made[key])
        others = {key: self._ours(key, items[key]) for key in items.keys() - made.keys()}
        return made | {key: tag for key, tag in others.items() if tag is not None}

    def _ours(self, key: str, data: bytes) -> str | None:
        """The tag of what somebody wrote, if it was ourselves: the client tries a write again whose answer was lost."""
        with contextlib.suppress(NotFound):
            found, tag = self._client.get_tagged(key)
            if found == data:
                return str(tag)
        return None

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._client.delete([check_key(key)])
        if key.startswith(RECORDS):
            self._index.forget(key)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Objects by the beginning of their key."""
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        found = self._client.list(folder)
        return (entry for entry in found if entry.key.startswith(prefix) and _is_ours(entry.key))

    def stat(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries of those that exist: one by one, or all below their first folder where they are many."""
        found: dict[str, Entry] = {}
        single: list[str] = []
        for folder, group in grouped({check_key(key) for key in keys}, top).items():
            there = listed(self._client, folder, group) if folder else None
            if there is None:
                single += group
            else:
                found.update((key, there[key]) for key in group if key in there)
                absent = [key for key in group if key not in there]
                single += absent if len(absent) <= _ABSENT else []  # the listing may lag
        found.update(self._client.head_many(single))
        return found

    def uri(self, key: str) -> str:
        """As `aws s3 cp` takes it."""
        return f"s3://{self._address.bucket}/{self._address.prefix}{key}"

    def claim(self, key: str, info: Mapping[str, str]) -> AbstractContextManager[None]:
        """A lease by conditional writes; see `Leases`."""
        return self._claims.held(key, info)

    @property
    def _claims(self) -> Leases:
        """Those of this process."""
        client = self._client
        with self._lock:
            if self._leases is None:
                self._leases = Leases(client, repr(self), self._address.lease)
        return self._leases

    def clean(self, before: float) -> Sequence[str]:
        """Remove the parts of uploads that never ended, and claims that are over."""
        removed: list[str] = []
        with contextlib.closing(self._connected("boto3")) as client, contextlib.suppress(Denied):
            removed += client.abort_uploads(before)  # who may not list them leaves them to others
        old = [entry.key for entry in self._client.list(CLAIMS.rstrip("/")) if entry.modified < before]
        if old:
            self._client.delete(old)
        return removed + old

    def close(self) -> None:
        """Give up claims and forget the client; the next use makes a new one."""
        if self._pid == os.getpid():
            if self._leases is not None:
                self._leases.close()
            if self._made is not None:
                self._made.close()
            self._begin()


def _is_ours(key: str) -> bool:
    """Could it be an object of a store? Others may have made keys that no store has."""
    try:
        return not check_key(key).startswith((CLAIMS, INDEX))
    except InvalidKey:
        return False
