"""Where objects lie in S3, and how it is reached."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from d6tstore.backend import check_key
from d6tstore.errors import InvalidKey, UsageError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Address:
    """A prefix of a bucket, and the settings of its service. None is what boto3's own settings say.

    Attributes:
        bucket: its name.
        prefix: of all keys; empty, or ends in `/`.
        endpoint: URL of a service that is not AWS.
        region: of the bucket.
        profile: of `~/.aws/config`.
        path_style: the bucket stands in the path of URLs, not in the name of the host; None: as the endpoint needs it.
        requester_pays: we pay for requests.
        encryption: `AES256` (SSE-S3) or `aws:kms` (SSE-KMS); None is the default of the bucket.
        kms_key: of SSE-KMS.
        ca: file with the certificates that sign that of the service.
        anonymous: a public bucket: requests are not signed.
        lease: seconds after which a claim that nobody renewed is over.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None
    requester_pays: bool = False
    encryption: str | None = None
    kms_key: str | None = None
    ca: str | None = None
    anonymous: bool = False
    lease: float = 60.0

    @classmethod
    def parse(cls, url: str, **options: Any) -> Address:
        """The address of a URL such as `s3://bucket/prefix?region=eu-west-1`.

        Args:
            url: without a secret.
            **options: go before what the URL says; None says nothing.

        Raises:
            UsageError: it is no such URL, or says something unknown.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise UsageError(f"{url!r} is no URL. Write s3://bucket/prefix?region=eu-west-1.") from None
        bucket = parts.netloc.rpartition("@")[2]
        url = parts._replace(netloc=bucket).geturl()  # what stands before the @ may be a secret
        if not _BUCKET.fullmatch(bucket) or parts.fragment:
            raise UsageError(f"{url!r} names no bucket, or has a #. Write s3://bucket/prefix?region=eu-west-1.")
        prefix = unquote(parts.path).strip("/")
        try:
            check_key(prefix or "x")
        except InvalidKey as exc:
            raise UsageError(f"{url!r}: {exc}") from None
        found = cls(bucket, f"{prefix}/" if prefix else "")
        known = [field.name for field in fields(cls)][2:]
        given = [
            *parse_qsl(parts.query, keep_blank_values=True),
            *((k, v) for k, v in options.items() if v is not None),
        ]
        for name, value in given:
            if name not in known:
                raise UsageError(f"{url!r}: {name!r} is unknown. Options are {', '.join(known)}.")
            parse: Callable[[str, Any], Any] = _PARSED.get(name, _text)
            found = replace(found, **{name: parse(name, value)})
        return found

    @property
    def url(self) -> str:
        """All of it as a URL."""
        said = {f.name: getattr(self, f.name) for f in fields(self)[2:] if getattr(self, f.name) != f.default}
        query = (
            f"?{urlencode({k: str(v).lower() if isinstance(v, bool) else v for k, v in said.items()})}" if said else ""
        )
        return f"s3://{self.bucket}/{quote(self.prefix.removesuffix('/'))}{query}"


def _flag(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in _YES + _NO:
        raise UsageError(f"{name}={value!r} is neither yes nor no. Write {name}=true or {name}=false.")
    return text in _YES


def _seconds(name: str, value: Any) -> float:
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 1 <= found <= 3600:
        raise UsageError(f"{name}={value!r} is no number of seconds from 1 to 3600.")
    return found


def _endpoint(name: str, value: Any) -> str:
    try:
        parts = urlsplit(str(value))
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) and not parts.username
    except ValueError:
        fine = False
    if not fine:
        raise UsageError(f"what {name} was given is no URL of a service. Write http://host:9000, without a user.")
    return str(value).rstrip("/")


def _region(name: str, value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", str(value)):
        raise UsageError(f"{name}={value!r} is none. Write it as in region=eu-west-1.")
    return str(value)


def _encryption(name: str, value: Any) -> str:
    if value not in ("AES256", "aws:kms"):
        raise UsageError(f"{name}={value!r} is unknown. Write AES256 or aws:kms.")
    return str(value)


def _certificates(name: str, value: Any) -> str:
    if not os.path.isfile(value):
        raise UsageError(f"{name}={value!r} is no file. Give that with the certificates.")
    return str(value)


def _text(name: str, value: Any) -> str:
    return str(value)


_PARSED: dict[str, Callable[[str, Any], Any]] = {
    "endpoint": _endpoint, "region": _region, "encryption": _encryption, "ca": _certificates,
    "path_style": _flag, "requester_pays": _flag, "anonymous": _flag, "lease": _seconds,
}  # fmt: skip
