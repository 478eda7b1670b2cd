"""The keyring of the OS, whatever backend the user has: asked with a time limit, its errors in our words."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from d6tstore.credentials.secret import Secret, masked
from d6tstore.credentials.waiting import Failed, in_time
from d6tstore.errors import CredentialsError

ADVICE = (
    "Or install a keyring: on a desktop it is there (macOS, Windows, GNOME, KDE); on a headless Linux see "
    "`d6tstore credentials doctor`."
)
_VARIABLE = "set the environment variable D6TSTORE_<NAME>_<FIELD>"
_INSTALL = (
    "On a desktop: install the Secret Service of it (GNOME Keyring, KWallet). On a headless Linux: run gnome-keyring "
    "under dbus-run-session, or install an encrypted file as keyring (pip install keyrings.cryptfile) and choose it "
    "with PYTHON_KEYRING_BACKEND. In containers and CI: set environment variables D6TSTORE_<NAME>_<FIELD>."
)
_SERVICE = "d6tstore"
_INDEX = "names"  # a keyring cannot be listed: the names that we put there are entries of their own
_PIECE = 1_000  # characters of such an entry; Windows keeps 1,280
_PIECES = 100  # an end, for a keyring that answers whatever it is asked
# What keyrings say that need a password, or were given a wrong one; EOFError: they asked where nobody answers.
_LOCKED = re.compile(r"locked|dismissed|EOFError|MAC check failed|incorrect password", re.I)
_TIMES = 5
_one_at_a_time = threading.Lock()
_WAIT = 60.0  # seconds; a person may have to unlock the keyring meanwhile


class Status(NamedTuple):
    """Which keyring is active, and whether secrets are safe in it. `advice` says what to do."""

    backend: str
    usable: bool
    safe: bool
    advice: str


def get(name: str, field: str) -> Secret | None:
    """The secret, None if the keyring has none, or if there is no keyring. Raises CredentialsError."""
    found: Secret | None = _ask("read a secret", lambda ring: _secret(_read(ring, _service(name), field)))
    return found


def put(name: str, field: str, secret: Secret) -> None:
    """Keep a secret, replacing the one that was there.

    Raises:
        CredentialsError: there is no keyring, or it fails, or does not keep what it is given; or it is a file of
            plain text that nobody chose.
    """
    what = f"the {field} of {name!r}"
    if any("\ud800" <= char <= "\udfff" for char in secret.reveal()):
        raise CredentialsError(f"{what} is no valid Unicode, and a keyring keeps text. Give it as UTF-8.")
    if why := problem():
        raise CredentialsError(f"{what} cannot be kept: {why}. Instead, {_VARIABLE}. {ADVICE}")
    if _plain(backend_name()) and not _chosen():
        raise CredentialsError(
            f"{what} is not kept: the keyring that was found, {backend_name()}, is a file of plain text, and nobody "
            f"chose it. Choose it with PYTHON_KEYRING_BACKEND if that is safe here, or another. {_INSTALL}"
        )
    chosen = _chosen()
    if not _ask("keep a secret", lambda ring: _keep(ring, _service(name), field, secret, chosen), secret):
        raise CredentialsError(
            f"the keyring {backend_name()} does not keep {what} as it was given; nothing is kept. Use another keyring: "
            "d6tstore credentials doctor."
        )
    _indexed({(name, field)}, set())


def delete(name: str, field: str) -> bool:
    """Forget a secret; False if there was none. Raises CredentialsError."""
    found = get(name, field) is not None
    if found:
        _ask("delete a secret", lambda ring: ring.delete_password(_service(name), field))
    _indexed(set(), {(name, field)})
    return found


def _indexed(more: set[tuple[str, str]], less: set[tuple[str, str]]) -> None:
    """Change the names that are known: again, if another process changed them at the same time."""
    with _one_at_a_time:
        for _ in range(_TIMES):
            known = names()
            if more <= known and not less & known:
                return
            _index((known | more) - less)


def names() -> set[tuple[str, str]]:
    """Names and fields that were put into this keyring by us. Raises CredentialsError."""
    found = set()
    for piece in _ask("list its secrets", _pieces):
        try:
            found |= {(str(name), str(field)) for name, field in json.loads(piece)}
        except (ValueError, TypeError):
            continue  # somebody else's, or half of one: it is written anew with the next secret
    return found


def problem() -> str:
    """Why there is no keyring to ask; empty if there is one. Raises CredentialsError."""
    return str(_ask("say what it is", _absent))


def status() -> Status:
    """Which keyring is active and whether it is safe. Raises CredentialsError."""
    name = backend_name()
    if why := problem():
        return Status(name, False, False, f"{why}. {_INSTALL}")
    if _plain(name):
        return Status(name, True, False, f"it keeps secrets as plain text in a file. {_INSTALL}")
    return Status(name, True, True, "")


def backend_name() -> str:
    """Module and class of the active keyring; of a chain, those of its members too."""
    return str(_ask("say what it is", _named))


# ------------------------------------------------- what is asked of a keyring, in the thread that may hang


def _service(name: str) -> str:
    return f"{_SERVICE}:{name}"


def _read(ring: Any, service: str, user: str) -> Any:
    return None if _absent(ring) else ring.get_password(service, user)


def _keep(ring: Any, service: str, user: str, secret: Secret, chosen: bool) -> bool:
    """Give a secret to the first member of a chain that takes any; never to plain text that nobody chose.

    False: it does not come back as it was given (a member that goes before has another one), and was removed.
    """
    for member in ring.backends if _is(ring, "chainer") else [ring]:
        if not chosen and any("plaintext" in kind.__name__.lower() for kind in type(member).__mro__):
            raise PermissionError(f"{_named(member)} is a file of plain text, and nobody chose it")
        with contextlib.suppress(NotImplementedError):  # one that only reads
            member.set_password(service, user, secret.reveal())
            kept = _secret(ring.get_password(service, user))
            if kept != secret and _secret(member.get_password(service, user)) is not None:
                member.delete_password(service, user)
            return kept == secret
    raise NotImplementedError


def _secret(text: Any) -> Secret | None:
    return Secret(str(text)) if text else None  # here, so that no other thread sees the text


def _pieces(ring: Any) -> list[str]:
    found: list[str] = []
    while len(found) < _PIECES and (piece := _read(ring, _SERVICE, _entry(len(found)))):
        found.append(str(piece))
    return found


def _index(known: set[tuple[str, str]]) -> None:
    pieces: list[list[tuple[str, str]]] = [[]]
    for each in sorted(known):
        if len(json.dumps([*pieces[-1], each])) > _PIECE and pieces[-1]:
            pieces.append([])
        pieces[-1].append(each)

    def write(ring: Any) -> None:
        for number in range(len(pieces), len(_pieces(ring))):
            ring.delete_password(_SERVICE, _entry(number))
        for number, piece in enumerate(pieces):
            ring.set_password(_SERVICE, _entry(number), json.dumps(piece))

    _ask("keep a name", write)


def _entry(number: int) -> str:
    return f"{_INDEX}{number or ''}"


def _named(ring: Any) -> str:
    kind = type(ring)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return f"{name} ({', '.join(map(_named, ring.backends))})" if _is(ring, "chainer") else name


def _absent(ring: Any) -> str:
    if _is(ring, "fail") or (_is(ring, "chainer") and not ring.backends):
        return "no keyring is available on this machine"
    return "the keyring is switched off" if _is(ring, "null") else ""


def _is(ring: Any, kind: str) -> bool:
    return type(ring).__module__ == f"keyring.backends.{kind}"


def _plain(name: str) -> bool:
    """Does a secret go into a file of plain text? Of a chain its first member says so; see also `_keep`."""
    return "plaintext" in name.partition(",")[0].lower()


def _chosen() -> bool:
    """Did the user choose the keyring, or was it found?"""
    from keyring.core import load_config

    return bool(os.environ.get("PYTHON_KEYRING_BACKEND")) or bool(_ask("say what it is", lambda _: load_config()))


# ------------------------------------------------------------------------------------------- asking


def _ask(verb: str, action: Callable[[Any], Any], *secrets: Secret) -> Any:
    """What the active keyring answers. Its errors may hold secrets: their frames stay here, and those in their texts.

    Raises:
        CredentialsError: it cannot be loaded, fails, is locked, or does not answer.
    """
    found: list[Any] = []

    def work() -> Any:
        found.append(_active())
        return action(found[0])

    wait = _wait()
    try:
        return in_time(wait, work, "d6tstore-keyring")
    except TimeoutError:
        failure = ""
    except Failed as exc:
        failure = masked(exc.text, [*secrets, *_masters()]).rstrip(".")
    if not failure:
        raise CredentialsError(
            f"the keyring did not answer within {wait:g} s (asked to {verb}). It may wait for a window or a prompt "
            f"that nobody sees: unlock it, choose another (PYTHON_KEYRING_BACKEND), or {_VARIABLE}. "
            "D6TSTORE_KEYRING_TIMEOUT sets the time limit."
        )
    if not found:
        raise CredentialsError(
            f"the keyring cannot be loaded: {failure}. Correct PYTHON_KEYRING_BACKEND or keyringrc.cfg "
            f"(`python -m keyring diagnose`), or {_VARIABLE}."
        )
    cure = "Unlock it and try again" if _LOCKED.search(failure) else "Repair it (`d6tstore credentials doctor`)"
    name = f"{type(found[0]).__module__}.{type(found[0]).__qualname__}"
    raise CredentialsError(f"the keyring {name} could not {verb}: {failure}. {cure}, or {_VARIABLE}.")


def _active() -> Any:
    import keyring  # here, for it takes as long to import as all the rest
    from keyring.backends import fail

    try:
        return keyring.get_keyring()
    except RuntimeError:
        if os.path.expanduser("~") != "~":
            raise
        return fail.Keyring()  # type: ignore[no-untyped-call]  # who has no home has no keyring either (some containers)


def _masters() -> Iterable[Secret]:
    """Passwords of keyrings, which the environment may hold for the package `keyring`."""
    for variable, value in os.environ.items():
        if value and re.fullmatch(r"KEYRING_PROPERTY_\w*(KEY|PASSWORD|SECRET|TOKEN)", variable):
            yield Secret(value)


def _wait() -> float:
    text = os.environ.get("D6TSTORE_KEYRING_TIMEOUT", "")
    try:
        wait = float(text) if text else _WAIT
    except ValueError:
        wait = -1.0
    if not 0 < wait < 1e6:
        raise CredentialsError(f"D6TSTORE_KEYRING_TIMEOUT={text!r} must be a number of seconds. Correct or unset it.")
    return wait
