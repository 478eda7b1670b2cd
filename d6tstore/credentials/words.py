"""How a name or a text gives away that a secret is in it."""

from __future__ import annotations

import base64
import re

_SECRET = re.compile(
    r"(pass(word|wd|phrase|code)?|(^|[_-])pw|pwd|secret|(^|[_-])pin|token|credential|connection[_-]?string"
    r"|(api|access|account|private|secret|sas|shared|signing|encryption|master|session|auth)[_-]?key"
    r"|(^|[_-])(sig|signature|key|jwt|pat|bearer|authorization))s?([_-]?(value|text|\d+))?$",
    re.I,
)
_NO_SECRET = re.compile(
    r"(partition|primary|foreign|sort|public|ssl|host|dist|sharding|order|cache|row)[_-]?keys?$"
    r"|(max|page|next|continuation)[_-]?tokens?$|(^|[_-])(bypass|compass)$",
    re.I,
)
_SWITCH = re.compile(r"(true|false|yes|no|on|off)", re.I)
# Ways to log in that gcsfs knows by name, and files that hold a key.
_WAY = re.compile(r"anon|google_default|cloud|browser|cache|.*[/\\].*\.json", re.S)
# A user or an identifier is no secret, but may be kept beside one, as another field.
_BESIDE = re.compile(r"(.*_)?(key_id|certificate|string|user|username)")
# In `host=db password=x`, `Server=h;PWD=x` and `Authorization: x`; not in the folder `token=5` of a path.
_KEYWORD = re.compile(
    r"(?:^|[\s;&?])([\w-]+)=([^\s;&#]+)"
    r"|(?:^|[\s;])(password|passwd|pwd)\s*=\s*(\S+)"
    r"|^\s*([\w-]+)\s*:\s*(?!//)(?=(\S+))"
)
_BASIC = re.compile(r"basic\s+([\w+/=-]{8,})", re.I)
_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|^\s*bearer\s+[\w.~+/=-]{8,}\s*$"
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


def is_value(key: str, value: object) -> bool:
    """Is the value of such a key a secret, or only a switch, or the name of a way to log in?

    Example:
        >>> is_value("token", "anon"), is_value("use_token", "true"), is_value("token", "hunter2")
        (False, False, True)
    """
    if not value or isinstance(value, bool):
        return False
    if isinstance(value, str) and "token" in key.lower() and _WAY.fullmatch(value):
        return False
    plain = re.search(r"(pass(word|wd|phrase|code)?|pwd|pw|pin)$", key, re.I)
    return plain is not None or not (isinstance(value, str) and _SWITCH.fullmatch(value))


def tells(text: str) -> bool:
    """Does a text that is no URL hold a secret?

    Example:
        >>> tells("host=db password=hunter2"), tells("Bearer 0123456789"), tells("token bucket"), tells("/data/token=5")
        (True, True, False, False)
    """
    if _TEXT.search(text) or any(_decodes(match[1]) for match in _BASIC.finditer(text)):
        return True
    pairs = (list(filter(None, match.groups())) for match in _KEYWORD.finditer(text))
    return any(is_secret(key) and is_value(key, value) for key, value in pairs)


def _decodes(text: str) -> bool:
    """Is it `user:password` in base64?"""
    try:
        return b":" in base64.b64decode(text, validate=True)
    except ValueError:
        return False
