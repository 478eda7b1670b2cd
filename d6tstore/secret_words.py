"""How a name or a text gives away that a secret is in it."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"(pass(word|wd|phrase|code)?|(^|[_-])pw|pwd|secret|(^|[_-])pin|token|credential|connection[_-]?string"
    r"|(api|access|account|private|secret|sas|shared|signing|encryption|master|session|auth)[_-]?key"
    r"|(^|[_-])(sig|signature|key|jwt|pat|bearer|authorization))s?([_-]?(value|text|\d+))?$",
    re.I,
)
_NO_SECRET = re.compile(r"(partition|primary|foreign|sort|public|ssl|host)[_-]?keys?$|(^|[_-])(bypass|compass)$", re.I)
# A user or an identifier is no secret, but may be kept beside one, as another field.
_BESIDE = re.compile(r"(.*_)?(key_id|certificate|string|user|username)")
_TEXT = re.compile(
    r"\b(password|passwd|pwd|secret|account_?key|shared_?access_?(key|signature)|api_?key|(auth_?|access_?)?token)"
    r"\s*=\s*[^\s;&]"  # in a `host=... password=...`
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(bearer|basic)\s+[\w.~+/=-]{8}"
    r"|\b(gh[pousr]_|github_pat_|glpat-|xox[abprs]-)\w{20}|\beyJ[\w-]{8,}\.eyJ",  # tokens that say what they are
    re.I,
)


def is_secret(key: str) -> bool:
    """Does the name of an option or a key say that its value is a secret?

    Example:
        >>> is_secret("password"), is_secret("aws_secret_access_key"), is_secret("keepalives"), is_secret("sslkey")
        (True, True, False, False)
    """
    return _SECRET.search(key) is not None and not _NO_SECRET.search(key)


def is_field(word: str) -> bool:
    """Does a word name a kind of secret, or what is kept beside one? Else it may be a secret, typed in the wrong place.

    Example:
        >>> is_field("aws_secret_access_key"), is_field("user"), is_field("hunter2")
        (True, True, False)
    """
    return is_secret(word) or _BESIDE.fullmatch(word) is not None


def field_of(key: str) -> str:
    """The field of credentials for a key: small letters, digits and `_`; always one that `is_field` knows.

    Example:
        >>> field_of("X-Api-Key"), field_of("proxy")
        ('x_api_key', 'proxy_secret')
    """
    field = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")[:57]
    field = field if field[:1].isalpha() else "secret"
    return field if is_field(field) else f"{field}_secret"


def tells(text: str) -> bool:
    """Does a text that is no URL hold a secret?

    Example:
        >>> tells("host=db password=hunter2"), tells("Bearer 0123456789"), tells("token bucket")
        (True, True, False)
    """
    return _TEXT.search(text) is not None
