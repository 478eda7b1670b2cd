"""Keyrings that fail, as real backends: for PYTHON_KEYRING_BACKEND in a child, or `set_keyring` in this process."""

from __future__ import annotations

import getpass
import sys
import threading
import time

from keyring.backend import KeyringBackend
from keyring.errors import InitError, KeyringLocked

SECRET = "hunter2-hunter2"


class InMemory(KeyringBackend):
    """One that works."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


class Slow(InMemory):
    """Gives others time."""

    def get_password(self, service, username):
        time.sleep(0.001)
        return super().get_password(service, username)


class Failing(InMemory):
    """Does something else whenever it is asked."""

    def fail(self, *given):
        raise NotImplementedError

    def get_password(self, service, username):
        return self.fail()

    def set_password(self, service, username, password):
        return self.fail(password)

    def delete_password(self, service, username):
        return self.fail()


class Raising(Failing):
    def fail(self, *given):
        error = RuntimeError(f"the daemon says no to {' '.join(given)}.")
        error.held = f"{SECRET} {given}"
        raise error


class Refused(Failing):
    def fail(self, *given):
        raise InitError("Failed to create the collection: Prompt dismissed..")


class Locked(Failing):
    def fail(self, *given):
        raise KeyringLocked("Failed to unlock the collection!")


class Exiting(Failing):
    def fail(self, *given):
        sys.exit("a backend that ends the program")


class Unprintable(Failing):
    def fail(self, *given):
        class Strange(Exception):
            def __str__(self):
                raise ValueError

        raise Strange


class Hanging(Failing):
    """Waits for a window that nobody sees."""

    def __init__(self):
        super().__init__()
        self.seen = threading.Event()

    def fail(self, *given):
        self.seen.wait()


class Prompting(Failing):
    """Asks for its own password in the terminal."""

    def fail(self, *given):
        getpass.getpass("password of the keyring: ")


class PromptingPipe(Failing):
    """Asks for its own password where there is no terminal."""

    def fail(self, *given):
        if not sys.stdin.readline():
            raise EOFError


class HangsWhenMade(InMemory):
    def __init__(self):
        super().__init__()
        threading.Event().wait()


class RaisesWhenMade(InMemory):
    def __init__(self):
        super().__init__()
        raise RuntimeError(f"cannot unlock with {self.keyring_key}")


class Forgetful(InMemory):
    """Says it kept it."""

    def set_password(self, service, username, password):
        pass


class Cutting(InMemory):
    """Keeps what fits."""

    def set_password(self, service, username, password):
        super().set_password(service, username, password[:10].strip())


class Limited(InMemory):
    """Refuses what does not fit, as Windows does."""

    def set_password(self, service, username, password):
        if len(password) > 1_280:
            raise OSError(1783, "CredWrite", "The stub received bad data")
        super().set_password(service, username, password)


class Obliging(InMemory):
    """Has an answer to all."""

    def get_password(self, service, username):
        return SECRET


class ReadOnly(InMemory):
    """Knows one secret that others put there, and keeps none."""

    def __init__(self):
        super().__init__()
        self.kept["d6tstore:w", "password"] = SECRET

    def set_password(self, service, username, password):
        raise NotImplementedError
