"""Which credentials are known, where each resolves, which places use them, and whether those let us in."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

from d6tstore import place, profiles, registry
from d6tstore.access import Access, for_writing
from d6tstore.backend import Backend
from d6tstore.credentials import PASSWORD, Credentials, variable_of, vault
from d6tstore.credentials.words import is_field
from d6tstore.errors import CredentialsError, ProfileError
from d6tstore.record import ROOT

_PREFIX = "D6TSTORE_"
_SETTINGS = ("D6TSTORE_STORE", "D6TSTORE_PROFILE", "D6TSTORE_KEYRING_TIMEOUT", "D6TSTORE_CACHE")
_COMPOUND = re.compile(r"([A-Z0-9_]+?)_((?:[A-Z0-9]+_)?(?:KEY_ID|KEY|TOKEN|STRING)|[A-Z0-9]+)")


class Entry(NamedTuple):
    """A secret by name and field. `source` says where it comes from: a variable, the keyring, or `nowhere`."""

    name: str
    field: str
    source: str


class Use(NamedTuple):
    """A place of a profile, and what it is there, such as `profile prod, backend lake`; or `pipe team`."""

    what: str
    access: Access

    @property
    def names(self) -> list[str]:
        """The names of its credentials: those that open it, then those that write."""
        found = (self.access.credentials or place.split(self.access.url).name, self.access.write_credentials)
        return [name for name in found if name]


def uses() -> list[Use]:
    """The places of all profiles that are right, and the pipes beside them. Raises ProfileError."""
    found = []
    for each in profiles.load_all():
        with contextlib.suppress(ProfileError):  # a project without a name for its central folder
            for kind, access in each.profile.places().items() if not each.problem else ():
                what = f"profile {each.name}" + ("" if kind == "default" else f", {kind}")
                found.append(Use(what, access))
    with contextlib.suppress(ProfileError):  # `d6tstore pipe list` says what is wrong
        found += [Use(f"pipe {name}", access) for name, access in profiles.pipes().items()]
    return found


def entries(used: list[Use]) -> list[Entry]:
    """All names and fields that the keyring, the environment and these places know. Raises CredentialsError."""
    return [Entry(name, field, source(name, field)) for name, field in pairs(used)]


def pairs(used: list[Use], ask: bool = True) -> list[tuple[str, str]]:
    """Names and fields as for `entries`; without those that only the keyring knows, unless `ask`."""
    found = vault.names() if ask else set()
    names = {name for use in used for name in use.names} | {name for name, _ in found}
    for variable in variables():
        found.add(_of_variable(variable, names))
    return sorted(found | {(name, PASSWORD) for name in names - {name for name, _ in found}})


def source(name: str, field: str, ask: bool = True) -> str:
    """Where a secret comes from: a variable, the keyring, or `nowhere`. Raises CredentialsError."""
    variable = variable_of(name, field)
    if variable in os.environ:
        return f"environment variable {variable}" + ("" if os.environ[variable] else ", which is empty")
    if not ask:
        return "?"
    return "keyring" if vault.get(name, field) is not None else "nowhere"


def variables() -> list[str]:
    """The variables of the environment that may hold secrets for us."""
    return sorted(v for v in os.environ if v.startswith(_PREFIX) and v not in _SETTINGS)


def _of_variable(variable: str, names: set[str]) -> tuple[str, str]:
    """Name and field of a variable: of a name that is known, else as it reads."""
    for name in sorted(names, key=len, reverse=True):
        field = variable.removeprefix(variable_of(name, "x")[:-1]).lower()
        if variable == variable_of(name, field) and is_field(field):
            return name, field
    read = _COMPOUND.fullmatch(variable.removeprefix(_PREFIX))
    return (read[1].lower(), read[2].lower()) if read else (variable.removeprefix(_PREFIX).lower(), PASSWORD)


def rival(name: str, field: str) -> str | None:
    """Another name that is in use, whose variable is the same: each would get the secret of the other."""
    mine = variable_of(name, field)
    known = [*vault.names(), *((other, field) for use in uses() for other in use.names)]
    return next((n for n, f in known if (n, f) != (name, field) and variable_of(n, f) == mine), None)


class Visit(NamedTuple):
    """What was found at a place: the backend there, who we are, and what worked."""

    backend: str
    user: str | None
    done: list[str]


def visit(access: Access, write: bool = False) -> Visit:
    """Open a place, read a listing; with credentials for writing, or `write`, write a probe and delete it.

    Raises:
        CredentialsError: the URL holds a secret; or one is missing, or the keyring fails.
        BackendError, ForeignError, PluginError, UsageError: the place cannot be opened, or refuses.
    """
    at = place.split(access.url)
    if at.given:
        raise CredentialsError(
            f"the URL {at.url!r} came with a secret, which all users of this machine may see in the list of processes. "
            f"{at.advice(access.credentials)}"
        )
    place.refuse_secrets(access.options, access.credentials or at.name)
    shown, done = _used(at, access, lambda backend: next(iter(backend.list()), None)), ["a listing was read"]
    if write or access.write_credentials:
        writing = for_writing(access)
        _used(place.split(writing.url), writing, _probe)
        done.append("a probe was written and deleted")
    return Visit(shown, at.user, done)


def _used(at: place.Place, access: Access, use: Callable[[Backend], object]) -> str:
    """Open a place, use it, close it; returns how messages name it."""
    credentials: Credentials = at.credentials(access.credentials, access.write_credentials, access.options)
    backend = registry.open_backend(at.url, credentials, **access.options)
    with contextlib.closing(backend), credentials.guard():
        use(backend)
    return repr(backend)


def _probe(backend: Backend) -> None:
    probe = f"{ROOT}tmp/probe-{secrets.token_hex(8)}"
    backend.write(probe, b"probe of d6tstore credentials test")
    backend.delete(probe)
