"""A real keyring for tests: the encrypted file of `keyrings.cryptfile`, told its file and master password.

In this process: the fixture `keyring` of conftest.py. In child processes: the environment that `env_of` gives.
(Not `keyrings.py`: beside the tests that would hide the package `keyrings`.)
"""

from __future__ import annotations

import os
from pathlib import Path

from keyrings.cryptfile.cryptfile import CryptFileKeyring

HERE = Path(__file__).parent
_FILE, _MASTER = "TESTS_KEYRING_FILE", "TESTS_KEYRING_MASTER"


class FileKeyring(CryptFileKeyring):
    """As a user would set it up who cannot be asked for the master password. Its key costs less to derive."""

    time_cost, memory_cost, parallelism = 1, 8, 1

    def __init__(self, file: str | Path | None = None, master: str | None = None) -> None:
        super().__init__()
        self.file_path = str(file or os.environ[_FILE])
        self.keyring_key = master or os.environ[_MASTER]


def env_of(file: str | Path, master: str = "master of tests") -> dict[str, str]:
    """What a child process needs in its environment to use the keyring in `file`."""
    return {
        "PYTHON_KEYRING_BACKEND": f"{__name__}.FileKeyring",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        _FILE: str(file),
        _MASTER: master,
    }
