"""S3 by obstore, whose requests cost a quarter of the CPU of Python's clients. Not in a forked process: see `boto`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from d6tstore.backend import Entry
from d6tstore.errors import NotFound
from d6tstore_plugins.cloud.address import Address
from d6tstore_plugins.cloud.errors import code_of, mapped
from d6tstore_plugins.cloud.session import PART, Session

_AT_ONCE = 48  # requests
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
        service = session.service()
        config: Any = {
            "region": service.region,
            "virtual_hosted_style_request": not service.path_style,
            "checksum_algorithm": "sha256",  # the service refuses what was changed on the way
            "skip_signature": address.anonymous,
        }
        if service.endpoint:
            config["endpoint"] = service.endpoint
            if not service.path_style:  # where the client takes the endpoint for that of the bucket
                scheme, _, host = service.endpoint.partition("://")
                config["endpoint"] = f"{scheme}://{address.bucket}.{host}"
        if address.requester_pays:
            config["request_payer"] = True
        if address.encryption:
            config["server_side_encryption"] = "sse-kms" if address.encryption == "aws:kms" else address.encryption
        if address.kms_key:
            config["sse_kms_key_id"] = address.kms_key
        options: Any = {"allow_http": True, "connect_timeout": "10s", "read_timeout": "60s", "timeout": "3600s"}
        if address.ca:
            options["root_certificate"] = Path(address.ca).read_bytes()
        retry: Any = {"max_retries": 8, "retry_timeout": _DEADLINE}
        self._store = S3Store(
            address.bucket,
            prefix=address.prefix or None,
            config=config,
            client_options=options,
            retry_config=retry,
            credential_provider=None if address.anonymous else self._keys,
        )

    def _keys(self) -> Any:
        return self._session.keys()

    @contextlib.contextmanager
    def mapping(self, key: str = "") -> Iterator[None]:
        """Within it errors of the client become ours."""
        try:
            yield
        except FileNotFoundError as exc:
            raise mapped(code_of(str(exc)) or "404", str(exc), self._place, key) from exc
        except (BaseError, ValueError) as exc:
            raise mapped(code_of(str(exc)), str(exc), self._place, key) from exc

    def get(self, key: str) -> bytes:
        """The bytes of an object. Raises NotFound."""
        return self.get_tagged(key)[0]

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Some bytes of an object."""
        with self.mapping(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those that exist, many at once."""

        async def one(key: str) -> tuple[str, bytes | None]:
            try:
                with self.mapping(key):
                    return key, bytes(await (await obstore.get_async(self._store, key)).bytes_async())
            except NotFound:
                return key, None

        return {key: data for key, data in _at_once(map(one, keys)) if data is not None}

    def put(self, key: str, data: bytes | Path) -> None:
        """Store an object: all of it or nothing."""
        with self.mapping(key):
            if isinstance(data, bytes) and len(data) <= PART:
                obstore.put(self._store, key, data, use_multipart=False)
            else:
                obstore.put(self._store, key, data, chunk_size=PART)

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """Store small objects, many at once."""

        async def one(key: str, data: bytes) -> None:
            with self.mapping(key):
                await obstore.put_async(self._store, key, data, use_multipart=False)

        _at_once(one(key, data) for key, data in items.items())

    def put_if(self, key: str, data: bytes, expected: str | None) -> str | None:
        """Store an object only if what is there has the tag `expected` (None: nothing is there).

        Returns:
            Its new tag; None if something else is there.
        """
        mode: Any = "create" if expected is None else {"e_tag": expected}
        with self.mapping(key):
            try:
                return obstore.put(self._store, key, data, mode=mode)["e_tag"] or ""
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError as exc:
                if expected is None or code_of(str(exc)) == "NoSuchBucket":
                    raise
                return None  # it was to be replaced, and is gone

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """The bytes of an object and its tag. Raises NotFound."""
        with self.mapping(key):
            found = obstore.get(self._store, key)
            return bytes(found.bytes()), str(found.meta["e_tag"])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; a missing one is no error."""
        with self.mapping(keys[0] if len(keys) == 1 else ""), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, list(keys))

    def head(self, key: str) -> Entry | None:
        """What is known of an object; None if it is not there."""
        with self.mapping(key):
            try:
                return _entry(obstore.head(self._store, key))
            except FileNotFoundError as exc:
                if code_of(str(exc)) == "NoSuchBucket":
                    raise
                return None

    def list(self, folder: str) -> Iterator[Entry]:
        """All below a folder (without a slash at its end); below the prefix if it is empty."""
        with self.mapping():
            for batch in obstore.list(self._store, folder or None, chunk_size=1000):
                yield from map(_entry, batch)


def _entry(found: Any) -> Entry:
    return Entry(found["path"], found["size"], str(found["e_tag"]), found["last_modified"].timestamp())


def _at_once(waiting: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results of coroutines that run at the same time, so many of them; in a thread: this one may have a loop."""
    done: list[Any] = []
    failed: list[BaseException] = []

    async def all_of_them() -> list[Any]:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def limited(one: Coroutine[Any, Any, Any]) -> Any:
            async with limit:
                return await one

        return await asyncio.gather(*map(limited, waiting))

    def run() -> None:
        try:
            done.extend(asyncio.run(all_of_them()))
        except BaseException as exc:  # noqa: BLE001 - raised below, in the thread that asked
            failed.append(exc)

    thread = threading.Thread(target=run, name="d6tstore-s3")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done
