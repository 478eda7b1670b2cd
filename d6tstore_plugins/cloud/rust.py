"""S3 by obstore, whose requests cost a quarter of the CPU of Python's clients. Not in a forked process: see `boto`."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError, PreconditionError
from obstore.store import S3Store

from d6tstore.backend import Entry, length
from d6tstore.errors import BackendError, NotFound
from d6tstore_plugins.cloud.address import Address
from d6tstore_plugins.cloud.aside import Aside
from d6tstore_plugins.cloud.errors import code_of, mapped
from d6tstore_plugins.cloud.parts import part_of
from d6tstore_plugins.cloud.session import Session

_RANGE = 16 << 20  # bytes; what is longer is fetched in such ranges, at once
_DEADLINE = timedelta(minutes=5)


class RustClient:
    """Objects below the prefix of an address.

    Args:
        address: of the objects.
        session: who we are.
        place: how messages name it.
    """

    def __init__(self, address: Address, session: Session, place: str) -> None:
        self._address, self._session, self._place = address, session, place
        self._aside = Aside("d6tstore-s3")
        self._refusal: BaseException | None = None  # why there were no keys
        service = session.service()
        scheme, _, host = service.endpoint.partition("://")
        config: Any = {
            "region": service.region,
            "virtual_hosted_style_request": not service.path_style,
            # Always said: else the client has variables of its own. It takes it for that of the bucket.
            "endpoint": service.endpoint if service.path_style else f"{scheme}://{address.bucket}.{host}",
            "checksum_algorithm": "sha256",  # the service refuses what was changed on the way
            "skip_signature": address.anonymous,
        }
        if address.requester_pays:
            config["request_payer"] = True
        if address.encryption:
            config["server_side_encryption"] = "sse-kms" if address.encryption == "aws:kms" else address.encryption
        if address.kms_key:
            config["sse_kms_key_id"] = address.kms_key
        options: Any = {"allow_http": True, "connect_timeout": "10s", "read_timeout": "60s", "timeout": "3600s"}
        if service.ca:
            options["root_certificate"] = Path(service.ca).read_bytes()
        retry: Any = {"max_retries": 8, "retry_timeout": _DEADLINE}
        self._store = S3Store(
            address.bucket,
            prefix=address.prefix or None,
            config=config,
            client_options=options,
            retry_config=retry,
            credential_provider=None if address.anonymous else _weak(self._keys),
        )

    def _keys(self) -> Any:
        self._refusal = None
        try:
            return self._session.keys()
        except BaseException as exc:
            self._refusal = exc  # of which the client would make another error
            raise

    @contextlib.contextmanager
    def mapping(self, key: str = "") -> Iterator[None]:
        """Within it errors of the client become ours."""
        try:
            yield
        except FileNotFoundError as exc:
            raise mapped(code_of(str(exc)) or "404", str(exc), self._place, key) from exc
        except (BaseError, ValueError) as exc:
            refusal, self._refusal = self._refusal, None
            if refusal is not None:
                raise refusal from None
            raise mapped(code_of(str(exc)), str(exc), self._place, key) from exc

    def get(self, key: str) -> bytes:
        """The bytes of an object. Raises NotFound."""
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """The bytes of an object and its tag. Raises NotFound."""
        return self._aside.run(self._got(key))

    def get_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, str]]:
        """The bytes and tags of those that exist, many at once."""

        async def one(key: str) -> tuple[str, tuple[bytes, str] | None]:
            with contextlib.suppress(NotFound):
                return key, await self._got(key)
            return key, None

        return {key: found for key, found in self._aside.run_all(one, keys) if found is not None}

    async def _got(self, key: str) -> tuple[bytes, str]:
        with self.mapping(key):
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async()), str(found.meta["e_tag"])

    def fill(self, key: str, tag: str, start: int, view: memoryview) -> None:
        """Fill memory with the bytes of an object from a position on, as long as it has the tag."""

        async def one(at: int) -> None:
            part = view[at : at + _RANGE]
            options: Any = {"range": (start + at, start + at + len(part)), "if_match": tag}
            with self.mapping(key):
                part[:] = await (await obstore.get_async(self._store, key, options=options)).bytes_async()

        self._aside.run_all(one, range(0, len(view), _RANGE))

    def put(self, key: str, data: bytes | Path, tell: Callable[[int], None] | None = None) -> str:
        """Store an object: all of it or nothing; `tell` hears of bytes that are on their way. Returns its tag."""
        return self._aside.run(self._put(key, data, tell))

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """Store small objects, many at once."""
        self._aside.run_all(lambda item: self._put(*item), list(items.items()))

    async def _put(self, key: str, data: bytes | Path, tell: Callable[[int], None] | None = None) -> str:
        with self.mapping(key):
            part = part_of(length(data))  # what is no longer goes as one
            given: Any = data if tell is None or isinstance(data, bytes) else _told(data, part, tell)
            done = await obstore.put_async(self._store, key, given, chunk_size=part)
            if tell is not None:
                tell(0)  # now all of it is there
            return done["e_tag"] or ""

    def put_if(self, key: str, data: bytes, expected: str | None) -> str | None:
        """Store an object only if what is there has the tag `expected` (None: nothing is there).

        Returns:
            Its new tag; None if something else is there.
        """
        return self._aside.run(self._put_if(key, data, expected))

    async def _put_if(self, key: str, data: bytes, expected: str | None) -> str | None:
        mode: Any = "create" if expected is None else {"e_tag": expected}
        with self.mapping(key):
            try:
                return (await obstore.put_async(self._store, key, data, mode=mode))["e_tag"] or ""
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError as exc:
                if expected is None or code_of(str(exc)) == "NoSuchBucket":
                    raise
                return None  # it was to be replaced, and is gone

    def put_new(self, items: Mapping[str, bytes]) -> dict[str, str]:
        """Store small objects, many at once, where there is nothing. Returns the tags of those that were stored."""

        async def one(item: tuple[str, bytes]) -> tuple[str, str | None]:
            return item[0], await self._put_if(*item, None)

        return {key: tag for key, tag in self._aside.run_all(one, list(items.items())) if tag is not None}

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; a missing one is no error."""

        async def removed() -> None:
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, list(keys))

        with self.mapping(keys[0] if len(keys) == 1 else ""):
            self._aside.run(removed())

    def head(self, key: str) -> Entry | None:
        """What is known of an object; None if it is not there."""
        return self.head_many([key]).get(key)

    def head_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """What is known of those objects that are there, many at once."""

        async def one(key: str) -> Entry | None:
            with self.mapping(key):
                try:
                    return _entry(await obstore.head_async(self._store, key))
                except FileNotFoundError as exc:
                    if code_of(str(exc)) == "NoSuchBucket":
                        raise
                    return None

        return {found.key: found for found in self._aside.run_all(one, keys) if found is not None}

    def list(self, folder: str) -> Iterator[Entry]:
        """All below a folder (without a slash at its end); below the prefix if it is empty."""
        given: set[str] = set()
        try:
            with self.mapping():
                stream: Any = obstore.list(self._store, folder or None, chunk_size=1000)
                while batch := self._aside.run(_next(stream)):
                    found = [_entry(each) for each in batch]
                    given.update(entry.key for entry in found)
                    yield from found
        except BackendError as exc:
            if not isinstance(exc.__cause__, InvalidPathError):
                raise
            from d6tstore_plugins.cloud.boto import BotoClient  # somebody made keys such as a//b, which boto3 lists

            others = BotoClient(self._address, self._session, self._place).list(folder)
            yield from (entry for entry in others if entry.key not in given)

    def close(self) -> None:
        """Stop its thread."""
        self._aside.close()


def _weak(method: Callable[[], Any]) -> Callable[[], Any]:
    """The method, which keeps its object no longer than others do: what Rust holds no collector sees."""
    held = weakref.WeakMethod(method)

    def call() -> Any:
        found = held()
        assert found is not None  # who asks for an object holds its client
        return found()

    return call


def _entry(found: Any) -> Entry:
    return Entry(found["path"], found["size"], str(found["e_tag"]), found["last_modified"].timestamp())


async def _told(file: Path, part: int, tell: Callable[[int], None]) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(part):
            yield chunk
            tell(len(chunk))  # up to twelve parts are on their way


async def _next(stream: Any) -> Any:
    return await anext(stream, None)
