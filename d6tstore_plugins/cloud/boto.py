"""S3 by boto3: for processes that were forked, where the Rust client would wait for threads that are not there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import boto3.exceptions
import botocore.exceptions
from boto3.s3.transfer import TransferConfig

from d6tstore.backend import Entry
from d6tstore.errors import NotFound
from d6tstore_plugins.cloud.address import Address
from d6tstore_plugins.cloud.errors import mapped
from d6tstore_plugins.cloud.parts import PART
from d6tstore_plugins.cloud.session import Session, nobody, not_signed_in

T = TypeVar("T")
_AT_ONCE = 16
_TRIES = 4
_ERRORS = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, boto3.exceptions.Boto3Error)
_NOT_SIGNED_IN = (
    botocore.exceptions.SSOError, botocore.exceptions.TokenRetrievalError, botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.RefreshWithMFAUnsupportedError,
)  # fmt: skip
_TRANSFER = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=_AT_ONCE)
_TAKEN = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


class BotoClient:
    """Objects below the prefix of an address. Methods as of `RustClient`."""

    def __init__(self, address: Address, session: Session, place: str) -> None:
        self._address, self._place = address, place
        self._client = session.boto(max_pool_connections=_AT_ONCE)
        self._given: dict[str, Any] = {"RequestPayer": "requester"} if address.requester_pays else {}
        self._written: dict[str, Any] = dict(self._given)
        if address.encryption:
            self._written["ServerSideEncryption"] = address.encryption
        if address.kms_key:
            self._written["SSEKMSKeyId"] = address.kms_key

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._address.bucket, "Key": self._address.prefix + key}

    @contextlib.contextmanager
    def mapping(self, key: str = "") -> Iterator[None]:
        """Within it errors of the client become ours."""
        try:
            yield
        except botocore.exceptions.NoCredentialsError:
            raise nobody(self._place) from None
        except _NOT_SIGNED_IN as exc:
            raise not_signed_in(self._place, exc) from None
        except _ERRORS as exc:
            raise mapped(_code(exc), str(exc), self._place, key) from exc

    def get(self, key: str) -> bytes:
        """See `RustClient.get`."""
        return self.get_tagged(key)[0]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """See `RustClient.get_tagged`."""
        return self._got(key)

    def fill(self, key: str, tag: str, start: int, view: memoryview) -> None:
        """See `RustClient.fill`."""
        data = self._got(key, Range=f"bytes={start}-{start + len(view) - 1}", IfMatch=tag)[0]
        if len(data) != len(view):
            raise mapped("", f"{len(data)} bytes came of {len(view)}", self._place, key)
        view[:] = data

    def _got(self, key: str, **options: Any) -> tuple[bytes, str]:
        with self.mapping(key):
            for left in range(_TRIES - 1, -1, -1):
                found = self._client.get_object(**self._at(key), **self._given, **options)
                try:
                    return found["Body"].read(), found["ETag"]
                except botocore.exceptions.HTTPClientError:  # while it came: boto3 does not ask again for that
                    if not left:
                        raise
        raise AssertionError

    def get_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, str]]:
        """See `RustClient.get_many`."""

        def one(key: str) -> tuple[str, tuple[bytes, str] | None]:
            with contextlib.suppress(NotFound):
                return key, self.get_tagged(key)
            return key, None

        return {key: found for key, found in _at_once(one, keys) if found is not None}

    def put(self, key: str, data: bytes | Path, tell: Callable[[int], None] | None = None) -> str:
        """See `RustClient.put`; of a file no tag is known."""
        at, extra = self._at(key), {**self._written, "ChecksumAlgorithm": "SHA256"}
        with self.mapping(key):
            if isinstance(data, bytes):
                return str(self._client.put_object(**at, Body=data, **extra)["ETag"])
            self._client.upload_file(
                str(data), at["Bucket"], at["Key"], ExtraArgs=extra, Config=_TRANSFER, Callback=tell
            )
            return ""

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """See `RustClient.put_many`."""
        _at_once(lambda item: self.put(*item), items.items())

    def put_if(self, key: str, data: bytes, expected: str | None) -> str | None:
        """See `RustClient.put_if`."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        with self.mapping(key):
            try:
                return str(self._client.put_object(**self._at(key), Body=data, **condition, **self._written)["ETag"])
            except _ERRORS as exc:
                if _code(exc) in (*_TAKEN, *(("NoSuchKey", "404") if expected else ())):
                    return None
                raise

    def put_new(self, items: Mapping[str, bytes]) -> dict[str, str]:
        """See `RustClient.put_new`."""
        made = _at_once(lambda item: (item[0], self.put_if(item[0], item[1], None)), items.items())
        return {key: tag for key, tag in made if tag is not None}

    def delete(self, keys: Sequence[str]) -> None:
        """See `RustClient.delete`."""
        with self.mapping(keys[0] if len(keys) == 1 else ""):
            for key in keys:
                self._client.delete_object(**self._at(key), **self._given)

    def head(self, key: str) -> Entry | None:
        """See `RustClient.head`."""
        with self.mapping(key):
            try:
                found = self._client.head_object(**self._at(key), **self._given)
            except _ERRORS as exc:
                if _code(exc) in ("404", "NoSuchKey", "NotFound"):
                    return None
                raise
        return Entry(key, found["ContentLength"], found["ETag"], found["LastModified"].timestamp())

    def head_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `RustClient.head_many`."""
        return {found.key: found for found in _at_once(self.head, keys) if found is not None}

    def list(self, folder: str) -> Iterator[Entry]:
        """See `RustClient.list`."""
        prefix = self._address.prefix
        where = {"Bucket": self._address.bucket, "Prefix": f"{prefix}{folder}/" if folder else prefix, **self._given}
        with self.mapping():
            for page in self._client.get_paginator("list_objects_v2").paginate(**where):
                for found in page.get("Contents", ()):
                    if not found["Key"].endswith("/"):
                        key = found["Key"].removeprefix(prefix)
                        yield Entry(key, found["Size"], found["ETag"], found["LastModified"].timestamp())

    def abort_uploads(self, before: float) -> Sequence[str]:
        """Remove parts of uploads that began before a time and never ended. Returns their keys."""
        prefix, removed = self._address.prefix, []
        where = {"Bucket": self._address.bucket, "Prefix": prefix}
        with self.mapping():
            for page in self._client.get_paginator("list_multipart_uploads").paginate(**where):
                for found in page.get("Uploads", ()):
                    if found["Initiated"].timestamp() < before:
                        at = {"Bucket": self._address.bucket, "Key": found["Key"], "UploadId": found["UploadId"]}
                        self._client.abort_multipart_upload(**at)
                        removed.append(found["Key"].removeprefix(prefix))
        return removed

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _code(exc: BaseException) -> str:
    told = exc if hasattr(exc, "response") else exc.__cause__ or exc.__context__ or exc  # of a transfer
    return str((getattr(told, "response", None) or {}).get("Error", {}).get("Code", ""))


def _at_once(one: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, items))
