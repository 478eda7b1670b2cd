"""What S3 answers, in our words: the one place that maps it."""

from __future__ import annotations

import re

from d6tstore.errors import BackendError, Denied, NotFound

_CURES: dict[str, tuple[type[BackendError], str]] = {
    "NoSuchKey": (NotFound, "Run its task again."),
    "404": (NotFound, "Run its task again."),
    "NoSuchBucket": (BackendError, "Make the bucket, or correct its name in the URL."),
    "AccessDenied": (Denied, "Ask for the rights, or use other credentials."),
    "403": (Denied, "Ask for the rights, or use other credentials."),
    "AllAccessDisabled": (Denied, "Ask whoever owns the bucket."),
    "InvalidAccessKeyId": (Denied, "The service does not know this access key: correct the credentials."),
    "SignatureDoesNotMatch": (Denied, "The secret key is another one: correct the credentials."),
    "ExpiredToken": (Denied, "Sign in again (`aws sso login`), or store the new session_token."),
    "InvalidToken": (Denied, "Sign in again (`aws sso login`), or store the new session_token."),
    "RequestTimeTooSkewed": (BackendError, "The clock of this machine is wrong: set it."),
    "AuthorizationHeaderMalformed": (BackendError, "Say the region of the bucket: ?region=..."),
    "PermanentRedirect": (BackendError, "Say the region of the bucket: ?region=..."),
    "IllegalLocationConstraintException": (BackendError, "Say the region of the bucket: ?region=..."),
    "SlowDown": (BackendError, "The service is busy, and was after several tries: run again later."),
    "ServiceUnavailable": (BackendError, "The service is busy, and was after several tries: run again later."),
    "BadDigest": (BackendError, "Bytes were changed on the way: run again."),
    "EntityTooLarge": (BackendError, "The service takes no object of this size."),
}
_SIGNS = {  # in what clients say without a code
    "incorrectly configured region": "PermanentRedirect",
    "403 Forbidden": "AccessDenied",
    "401 Unauthorized": "AccessDenied",
    "503 Service Unavailable": "SlowDown",
}


def code_of(said: str) -> str:
    """The code of S3 in what a client says; empty if there is none."""
    if found := re.search(r"<Code>(\w+)</Code>", said) or re.search(r"\(code: (\w+)\)", said):
        return found[1]
    return next((code for sign, code in _SIGNS.items() if sign in said), "")


def mapped(code: str, said: str, place: str, key: str = "") -> BackendError:
    """Our error for an answer of S3.

    Args:
        code: of S3, such as `NoSuchKey`, or the number of the HTTP status; empty if there was no answer.
        said: what the client says.
        place: how messages name the bucket.
        key: of the object, if it is about one.
    """
    kind, cure = _CURES.get(code, (BackendError, "Is the endpoint right, and the service up?"))
    if kind is NotFound:
        return NotFound(f"no object under {key!r} in {place}. {cure}")
    message = re.search(r"<Message>([^<]*)</Message>", said)
    told = message[1] if message else said.partition("Debug source")[0].strip()
    about = f" ({key})" if key else ""
    return kind(f"{place}{about}: {code and code + ': '}{told.rstrip('. ')[:500]}. {cure}")
