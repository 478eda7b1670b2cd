"""The keyring of the OS, whatever backend the user has: asked with a time limit, its errors in our words."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from d6tstore.errors import CredentialsError
from d6tstore.secret import Secret, masked

ADVICE = (
    "Or install a keyring: on a desktop it is there (macOS, Windows, GNOME, KDE); on a headless Linux see "
    "`d6tstore credentials doctor`."
)
_SERVICE = "d6tstore"
_INDEX = "names"  # a keyring cannot be listed: the names that we put there are an entry of their own
_WAIT = 60.0  # seconds; a person may have to unlock the keyring meanwhile


class Status(NamedTuple):
    """Which keyring is active, and whether secrets are safe in it. `advice` says what to do."""

    backend: str
    usable: bool
    safe: bool
    advice: str


def get(name: str, field: str) -> Secret | None:
    """The secret, None if the keyring has none, or if there is no keyring. Raises CredentialsError."""
    if problem():
        return None
    value = _ask("read", lambda keyring: keyring.get_password(f"{_SERVICE}:{name}", field))
    return None if not value else Secret(str(value))


def put(name: str, field: str, secret: Secret) -> None:
    """Keep a secret, replacing the one that was there.

    Raises:
        CredentialsError: there is no keyring, or it fails, or does not keep what it is given.
    """
    if why := problem():
        raise CredentialsError(f"the {field} of {name!r} cannot be kept: {why}. {ADVICE}")
    _ask("write", lambda keyring: keyring.set_password(f"{_SERVICE}:{name}", field, secret.reveal()), secret)
    if get(name, field) != secret:
        raise CredentialsError(
            f"the keyring {backend_name()} did not keep the {field} of {name!r} as it was given. Use another keyring: "
            "d6tstore credentials doctor."
        )
    _index({*names(), (name, field)})


def delete(name: str, field: str) -> bool:
    """Forget a secret; False if there was none. Raises CredentialsError."""
    if problem() or get(name, field) is None:
        return False
    _ask("delete", lambda keyring: keyring.delete_password(f"{_SERVICE}:{name}", field))
    _index(names() - {(name, field)})
    return True


def names() -> set[tuple[str, str]]:
    """Names and fields that were put into this keyring by us. Raises CredentialsError."""
    if problem():
        return set()
    text = _ask("read", lambda keyring: keyring.get_password(_SERVICE, _INDEX))
    try:
        return {(str(name), str(field)) for name, field in json.loads(text or "[]")}
    except (ValueError, TypeError):
        return set()


def _index(known: set[tuple[str, str]]) -> None:
    text = json.dumps(sorted(known))
    _ask("write", lambda keyring: keyring.set_password(_SERVICE, _INDEX, text))


def problem() -> str:
    """Why there is no keyring to ask; empty if there is one."""
    keyring = _keyring()
    name = backend_name()
    if name.startswith("keyring.backends.fail."):
        return "no keyring is available on this machine"
    if name.startswith("keyring.backends.null."):
        return "the keyring is switched off"
    if name.startswith("keyring.backends.chainer.") and not keyring.get_keyring().backends:
        return "no keyring is available on this machine"
    return ""


def status() -> Status:
    """Which keyring is active and whether it is safe. Raises CredentialsError."""
    name = backend_name()
    if why := problem():
        return Status(name, False, False, f"{why}. {_INSTALL}")
    if "plaintext" in name.lower():
        return Status(name, True, False, f"it keeps secrets as plain text in a file. {_INSTALL}")
    return Status(name, True, True, "")


_INSTALL = (
    "On a desktop: install the Secret Service of it (GNOME Keyring, KWallet). On a headless Linux: run gnome-keyring "
    "under dbus-run-session, or install an encrypted file as keyring (pip install keyrings.cryptfile) and choose it "
    "with PYTHON_KEYRING_BACKEND. In containers and CI: set environment variables D6TSTORE_<NAME>_<FIELD>."
)


def backend_name() -> str:
    """Module and class of the active keyring."""
    kind = type(_keyring().get_keyring())
    return f"{kind.__module__}.{kind.__qualname__}"


def _keyring() -> Any:
    """The package, whose own settings may name a keyring that is not there."""
    import keyring

    try:
        _in_time("find the keyring", keyring.get_keyring)
    except CredentialsError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever its settings lead to
        raise CredentialsError(
            f"the keyring cannot be loaded: {type(exc).__name__}: {exc}. Correct PYTHON_KEYRING_BACKEND or "
            "keyringrc.cfg (`python -m keyring diagnose`), or set environment variables D6TSTORE_<NAME>_<FIELD>."
        ) from None
    return keyring


def _ask(verb: str, action: Callable[[Any], Any], *secrets: Secret) -> Any:
    """What the keyring answers. Its errors may hold secrets: their frames and texts stay here."""
    keyring = _keyring()
    failure: str
    try:
        return _in_time(verb, lambda: action(keyring))
    except CredentialsError:
        raise
    except Exception as exc:  # noqa: BLE001 - any backend of anybody
        failure = masked(f"{type(exc).__name__}: {exc}".removesuffix(": "), secrets)
        locked = "locked" in type(exc).__name__.lower() or "dismissed" in str(exc).lower()
    cure = "Unlock it and try again" if locked else "Repair it (`d6tstore credentials doctor`)"
    raise CredentialsError(
        f"the keyring {backend_name()} could not {verb} a secret: {failure}. {cure}, or set the environment variable "
        "D6TSTORE_<NAME>_<FIELD>."
    )


def _in_time(verb: str, action: Callable[[], Any]) -> Any:
    """Run something in a thread that may be left behind. CredentialsError: it takes too long."""
    outcome: list[tuple[bool, Any]] = []

    def work() -> None:
        try:
            outcome.append((True, action()))
        except BaseException as exc:  # noqa: BLE001 - handed to the caller
            outcome.append((False, exc))

    wait = _wait()
    thread = threading.Thread(target=work, name="d6tstore-keyring", daemon=True)
    thread.start()
    thread.join(wait)
    if not outcome:
        raise CredentialsError(
            f"the keyring did not answer within {wait:g} s ({verb}). It may wait for a window or a prompt that nobody "
            "sees: unlock it, choose another (PYTHON_KEYRING_BACKEND), or set environment variables "
            "D6TSTORE_<NAME>_<FIELD>. D6TSTORE_KEYRING_TIMEOUT sets the time limit."
        )
    good, value = outcome[0]
    if not good:
        raise value
    return value


def _wait() -> float:
    text = os.environ.get("D6TSTORE_KEYRING_TIMEOUT", "")
    try:
        wait = float(text) if text else _WAIT
    except ValueError:
        wait = -1.0
    if not 0 < wait < 1e6:
        raise CredentialsError(f"D6TSTORE_KEYRING_TIMEOUT={text!r} must be a number of seconds. Correct or unset it.")
    return wait
