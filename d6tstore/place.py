"""A URL without its secrets: what we keep, show and hand on."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from d6tstore.credentials import PASSWORD, Credentials, check_name
from d6tstore.errors import CredentialsError
from d6tstore.secret import MASK, Secret

_SECRET = re.compile(
    r"(pass(word|wd|phrase)?|pwd|secret|token|(api|access|account|private|secret|sas)_?key|credential)s?$", re.I
)
_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9.+-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.S)


class Place(NamedTuple):
    """A URL that may be shown, who we are there, and the secrets that stood in it by field."""

    url: str
    user: str | None
    host: str
    given: dict[str, Secret]

    @property
    def name(self) -> str | None:
        """`user@host`: the name of the credentials, unless a profile names others."""
        return f"{self.user}@{self.host}" if self.user and self.host else None

    def credentials(self, name: str | None = None, write: str | None = None) -> Credentials:
        """What opens the place."""
        name = name or self.name
        if self.given and name is None:
            name = self.host or "place"
        return Credentials(name, write, self.user, self.given)

    def advice(self, name: str | None = None) -> str:
        """What to do with the secrets of the URL."""
        name = name or self.credentials().name
        commands = "; ".join(f"d6tstore credentials set {name} {field}" for field in self.given)
        return f"Store it with: {commands}. Then write {self.url!r}."


def split(url: str) -> Place:
    """A URL, parted from its secrets: the password, and parameters such as `?token=`.

    Raises:
        CredentialsError: a password with characters that must be percent-encoded. It is not shown.

    Example:
        >>> split("postgresql://etl:hunter2@db:5432/prices?schema=x").url
        'postgresql://etl@db:5432/prices?schema=x'
    """
    match = _AUTHORITY.fullmatch(url)
    if match is None:
        return Place(url, None, "", {})
    authority, rest = match["authority"], match["rest"]
    if ":" in authority and "@" not in authority and "@" in rest:
        _, _, end = url.rpartition("@")
        user = authority.partition(":")[0]
        raise CredentialsError(
            f"the password in {match['scheme']}://{user}:{MASK}@{end} has characters that a URL cannot hold "
            f"as they are (/ ? # @). Leave it out, {match['scheme']}://{user}@{end}, and store it: d6tstore credentials set "
            f"{user}@{end.partition('/')[0]} {PASSWORD}."
        )
    login, at, host = authority.rpartition("@")
    user, _, password = login.partition(":")
    given: dict[str, Secret] = {}
    if password:
        given[PASSWORD] = Secret(unquote(password))
    rest, fragment_mark, fragment = rest.partition("#")
    path, mark, query = rest.partition("?")
    kept = []
    for part in query.split("&") if mark else []:
        key, _, value = part.partition("=")
        if value and is_secret(unquote(key)):
            given[re.sub(r"[^a-z0-9]+", "_", unquote(key).lower()).strip("_")] = Secret(unquote(value))
        else:
            kept.append(part)
    shown = f"{match['scheme']}://{user}{at}{host}{path}" + (f"?{'&'.join(kept)}" if kept else "")
    return Place(shown + fragment_mark + fragment, unquote(user) or None, host, given)


def is_secret(key: str) -> bool:
    """Does the name of an option or a key say that its value is a secret?

    Example:
        >>> is_secret("password"), is_secret("secret_access_key"), is_secret("keepalives"), is_secret("sslkey_path")
        (True, True, False, False)
    """
    return _SECRET.search(key) is not None


def refuse_secrets(options: dict[str, object], name: str | None) -> None:
    """Refuse options that hold a secret. CredentialsError: it is not shown."""
    for key, value in options.items():
        if is_secret(key) and isinstance(value, str | bytes) and value:
            raise CredentialsError(
                f"option {key!r} holds a secret, which belongs in the keyring. Store it: "
                f"d6tstore credentials set {_shown(name)} {key}; then remove the option."
            )


def _shown(name: str | None) -> str:
    try:
        return check_name(name) if name else "NAME"
    except CredentialsError:
        return "NAME"
