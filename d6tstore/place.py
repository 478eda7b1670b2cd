"""A URL without its secrets: what we keep, show and hand on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl, quote, unquote, unquote_plus

from d6tstore.credentials import PASSWORD, Credentials, check_name
from d6tstore.credentials.secret import MASK, Secret, veiled
from d6tstore.credentials.words import field_of, is_secret, is_value, tells
from d6tstore.errors import CredentialsError

# Also `simplecache::s3://...` and `jdbc:postgresql://...`
_URL = re.compile(
    r"(?P<scheme>([A-Za-z0-9.+-]+::?)*[A-Za-z][A-Za-z0-9.+-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.S
)
_CHAINED = re.compile(r"::(?=[A-Za-z][A-Za-z0-9.+-]*://)")  # zip://a.csv::https://...
_HOST = r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d*)?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*")
_LOGIN_WITHIN = re.compile(r"//[^/\\\s@:]*:[^/\\\s@]+@")
_AND = re.compile(r"(&amp;|[&;])")
_ELSEWHERE = ("host", "hostaddr", "server", "odbc_connect", "endpoint", "endpoint_url")  # what overrules the host
_LOGIN = re.compile(r"\s*([A-Za-z][\w+.-]*:(?=/))?/{0,2}[^/\\\s:@]*:[^/\\@]*@")  # `user:x@` where no URL begins


class Place(NamedTuple):
    """A URL that may be shown, who we are there, and the secrets that stood in it by field."""

    url: str
    user: str | None
    host: str
    given: dict[str, Secret]

    @property
    def name(self) -> str | None:
        """`user@host`: the name of the credentials, unless a profile names others.

        Characters that a name cannot have are written as `+XX`, their UTF-8 bytes in hex; the brackets of an IPv6
        address are left out. None if there is no user or no host.
        """
        return _named(f"{self.user}@{self.host}") if self.user and self.host else None

    def credentials(
        self, name: str | None = None, write: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Credentials:
        """What opens the place.

        Args:
            name: of the credentials; None is `user@host`.
            write: of those for writing.
            options: of the backend, which may say another host.

        Raises:
            CredentialsError: the name says another host. Who writes a profile of a project must not get what was
                kept for `etl@db.example.com` sent to a host of his own.
        """
        name = name or self.name
        for other in (name, write):
            if other and "@" in check_name(other):
                for host in self._hosts(options or {}):
                    if _hostname(other.rpartition("@")[2]) != _hostname(host):
                        raise CredentialsError(
                            f"the credentials {other!r} are those of another host than {host!r}, and are not sent "
                            "there. Correct the URL or the name; for a tunnel or an alias keep them under a name "
                            "without @, and write credentials='NAME'."
                        )
        if self.given and name is None:
            name = _named(self.host) or "place"
        return Credentials(name, write, self.user, self.given)

    def _hosts(self, options: Mapping[str, Any]) -> Iterator[str]:
        """Where the driver may connect to."""
        if self.host:
            yield self.host
        query = parse_qsl(self.url.partition("#")[0].partition("?")[2])
        for key, value in [*query, *options.items()]:
            if key.lower() in _ELSEWHERE and isinstance(value, str) and value and not value.startswith("/"):
                yield value

    def advice(self, name: str | None = None) -> str:
        """What to do with the secrets of the URL."""
        found = name or self.credentials().name
        commands = "; ".join(f"d6tstore credentials set {found} {field}" for field in self.given)
        named = "" if name or found == self.name else f" with credentials={found!r}"
        return f"Store it with: {commands}. Then write {self.url!r}{named}."


def _hostname(host: str) -> str:
    """A host as it stands in a name of credentials, without its port."""
    named = _named(host) or ""
    return named.partition(":")[0].lower() if named.count(":") == 1 else named.lower()


def _named(text: str) -> str | None:
    plain = (
        quote(text.replace("[", "").replace("]", ""), safe="@:+", errors="surrogateescape")
        .replace("~", "%7E")
        .replace("%", "+")
    )
    if plain and not plain[0].isalnum():
        plain = f"0{plain}"
    return plain if 0 < len(plain) <= 200 else None


@veiled
def split(url: str) -> Place:
    """A URL, parted from its secrets: the password, and parameters such as `?token=`.

    Raises:
        CredentialsError: a secret with characters that must be percent-encoded, or in a form that is no URL. It
            is not shown.

    Example:
        >>> split("postgresql://etl:hunter2@db:5432/prices?schema=x").url
        'postgresql://etl@db:5432/prices?schema=x'
    """
    parts = _CHAINED.split(url)
    if len(parts) > 1 and all(map(_URL.fullmatch, parts)):
        return _joined([split(part) for part in parts])
    match = _URL.fullmatch(url)
    if match is None:
        if _LOGIN.match(url) or _LOGIN_WITHIN.search(url) or tells(url):
            _no_url()
        return Place(url, None, "", {})
    scheme, authority, rest = match["scheme"], match["authority"], match["rest"]
    login, at, host = authority.rpartition("@")
    user, _, password = login.partition(":")
    if scheme == "github":  # github://org:repo@branch, as fsspec has it
        return Place(url, None, "", {})
    if _LOGIN_WITHIN.search(rest) or (not authority and _LOGIN.match(rest)):
        _no_url()
    unquoted = ":" in authority and not at and not authority.startswith("[")  # or there is a port
    if "@" in rest and (password or unquoted):
        _unquoted_password(scheme, user or authority.partition(":")[0], url.rpartition("@")[2])
    if ":" in unquote(user) or ("," in password and "@" in password) or (at and not _HOSTS.fullmatch(host)):
        _no_url()
    given: dict[str, Secret] = {}
    if password:
        given[PASSWORD] = Secret(_decoded(password))
    rest, hash_mark, fragment = rest.partition("#")
    path, mark, query = rest.partition("?")
    tail = _without_secrets(mark, query, given) + _without_secrets(hash_mark, fragment, given)
    shown = f"{scheme}://{user}{at if user else ''}{host}{path}{tail}"
    if tells(shown):
        _no_url()
    return Place(shown, unquote(user) or None, host, given)


def _joined(chain: list[Place]) -> Place:
    """One place of a chain of URLs; who we are is said by the last one that says so."""
    login = next((at for at in reversed(chain) if at.user), chain[-1])
    given = {field: secret for at in chain for field, secret in at.given.items()}
    return Place("::".join(at.url for at in chain), login.user, login.host, given)


def _no_url() -> NoReturn:
    raise CredentialsError(
        "the place given seems to hold a secret, but not as a URL does; it is not shown. Write scheme://user@host/..., "
        f"and store the secret: d6tstore credentials set user@host {PASSWORD}. In a user, password or path, write : / "
        "@ , as %3A %2F %40 %2C."
    )


def _unquoted_password(scheme: str, user: str, end: str) -> NoReturn:
    """The rest of the password may be anywhere before the last @: show what is behind that only."""
    behind = split(f"{scheme}://{user}@{end}")
    raise CredentialsError(
        f"the password in {scheme}://{user}:{MASK}@{behind.host}... has characters that a URL cannot hold as they are "
        f"(/ ? # @). Leave it out, {behind.url}, and store it: d6tstore credentials set {behind.name or 'NAME'} "
        f"{PASSWORD}. If it is no password: write an @ in a path as %40."
    )


def _without_secrets(mark: str, query: str, given: dict[str, Secret]) -> str:
    """Parameters of a URL behind a mark, without those that are secret, which go to `given`."""
    kept: list[str] = []
    for before, part in zip(*[iter(["", *_AND.split(query)])] * 2, strict=True):
        key, _, value = part.partition("=")
        key = unquote_plus(key)
        if value and ((is_secret(key) and is_value(key, value)) or holds_secret(unquote_plus(value))):
            given[field_of(key)] = Secret(_decoded(value.replace("+", " ")))
        else:
            kept += [before if kept else "", part]
    return mark + "".join(kept) if kept else ""


def _decoded(text: str) -> str:
    """Percent-escapes decoded; what is no escape stays. CredentialsError: they are no UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass  # that error holds the secret
    raise CredentialsError(
        "the secret in the URL has percent-escapes that are not UTF-8; it is not shown. Leave it out of the URL, and "
        "store it: d6tstore credentials set NAME FIELD."
    )


def holds_secret(text: str) -> bool:
    """Is a text a URL or a connection string with a secret in it?"""
    try:
        return bool(split(text).given)
    except CredentialsError:
        return True


def displayed(text: str) -> str:
    """A text of the user's for a message: without a secret, or not at all."""
    try:
        return repr(split(text).url)
    except CredentialsError:
        return "(not shown, for it seems to hold a secret)"


def secrets_in(value: Any, key: str = "", at: str = "") -> Iterator[tuple[str, str]]:
    """Where secrets stand in nested options, and the field that each would have.

    Args:
        value: dicts, lists and scalars.
        key: under which the value stands.
        at: path of the value, for people.

    Example:
        >>> list(secrets_in({"client": {"api_key": "x"}, "proxies": ["http://u:p@h"]}))
        [('client.api_key', 'api_key'), ('proxies[0]', 'password')]
    """
    if isinstance(value, bytes | bytearray):
        value = value.decode(errors="replace")
    if is_secret(key) and is_value(key, value):
        yield at, field_of(key)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from secrets_in(str(name), "", f"a key of {at}" if at else "a key")
            yield from secrets_in(item, str(name), f"{at}.{name}" if at else str(name))
    elif key.lower() == "auth" and _is_login(value):
        yield at, PASSWORD
    elif isinstance(value, list | tuple | set | frozenset):
        for i, item in enumerate(value):
            if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str):  # a key and its value
                yield from secrets_in(item[1], item[0], f"{at}[{i}]")
            else:
                yield from secrets_in(item, "", f"{at}[{i}]")
    elif isinstance(value, str) and holds_secret(value):
        yield at, _field_within(value)


def _is_login(value: Any) -> bool:
    """Is it a user and a password, as `auth=` of HTTP clients takes them?"""
    parts = value.split(":", 1) if isinstance(value, str) else value
    return isinstance(parts, list | tuple) and len(parts) == 2 and all(isinstance(part, str) and part for part in parts)


def _field_within(url: str) -> str:
    try:
        return next(iter(split(url).given), PASSWORD)
    except CredentialsError:
        return PASSWORD


@veiled
def refuse_secrets(options: Mapping[str, object], name: str | None) -> None:
    """Refuse options that hold a secret. CredentialsError: it is not shown."""
    for at, field in secrets_in(options):
        raise CredentialsError(
            f"option {at!r} holds a secret, which belongs in the keyring. Store it: "
            f"d6tstore credentials set {shown_name(name)} {field}; then remove the option."
        )


def shown_name(name: Any) -> str:
    """A name for commands in messages: `NAME` if it is none."""
    try:
        return check_name(name)
    except CredentialsError:
        return "NAME"
