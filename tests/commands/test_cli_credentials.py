"""`d6tstore credentials` and `d6tstore profile`, with a real keyring; and the option --profile."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import keyring as package
import pytest
from click.testing import CliRunner
from keyring_file import env_of

from d6tstore import registry
from d6tstore.cli import cli
from d6tstore.credentials import vault
from d6tstore.credentials.secret import Secret

COMMAND = [sys.executable, "-m", "d6tstore.cli", "credentials"]
SECRETS = [
    "hunter2",
    "p@ss/w:rd%41?#",
    "ünï©ødé",
    " lead and trail ",
    "a\nb",
    "'\"\\",
    "%",
    "x" * 2000,
    "-----BEGIN\nKEY\n",
]


@pytest.fixture
def call(keyring, monkeypatch):
    """Run a command in this process. `stdin` is a pipe."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*args: str, stdin: str | bytes = "", code: int = 0):
        result = CliRunner().invoke(cli, list(args), input=stdin, prog_name="d6tstore")
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def profiles(project):
    def write(text: str) -> None:
        (project / "d6tstore.toml").write_text(textwrap.dedent(text))

    return write


def rows(result) -> list[list[str]]:
    return [re.split(r"  +", line) for line in result.stdout.splitlines()]


# ---------------------------------------------------------------------------- set


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
def test_set_from_a_pipe(call, secret, newline):
    if not newline and secret.endswith("\n"):
        newline = "\n"
    result = call("credentials", "set", "warehouse", "--stdin", stdin=(secret + newline).encode())
    assert vault.get("warehouse", "password") == Secret(secret)
    assert result.output == "stored the password of 'warehouse' in the keyring keyring_file.FileKeyring\n"
    again = call("credentials", "set", "warehouse", "password", "--stdin", stdin=b"other")
    assert again.output.startswith("replaced the password") and vault.get("warehouse", "password") == Secret("other")


def test_only_one_newline_is_cut(call):
    call("credentials", "set", "warehouse", "--stdin", stdin=b"a\n\n")
    assert vault.get("warehouse", "password") == Secret("a\n")


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        (b"", "nothing came from --stdin"),
        (b"\n", "nothing came from --stdin"),
        (b"hunter2\xff", "is not plain UTF-8"),
        ("hunter2".encode("utf-16"), "is not plain UTF-8"),
        ("hunter2".encode("utf-16-le"), "is not plain UTF-8"),
        ("hunter2".encode("utf-8-sig"), "is not plain UTF-8"),
    ],
)
def test_set_refuses_what_is_no_secret(call, stdin, told):
    result = call("credentials", "set", "warehouse", "--stdin", stdin=stdin, code=2)
    assert told in result.stderr and "hunter2" not in result.output and vault.names() == set()


@pytest.mark.parametrize(
    "words",
    [
        ["warehouse", "password", "hunter2"], ["warehouse", "--password=hunter2"], ["lake", "--password", "hunter2"],
        ["warehouse", "-phunter2"], ["warehouse", "--hunter2"], ["lake", "hunter2", "--stdin"], ["lake", "Hunter2!"],
        ["x://u:hunter2@h"], ["warehouse", "--stdin=hunter2"], ["--stdin", "a", "b_key", "c", "hunter2"],
        ["-hunter2", "x"], [],
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["set", "delete"])
def test_words_that_do_not_fit_are_not_shown(call, command, words):
    result = call("credentials", command, *words, stdin="x", code=2)
    assert "hunter2" not in result.output.lower() and vault.names() == set()


def test_without_a_terminal(call):
    result = call("credentials", "set", "warehouse", code=2)
    assert result.stderr == "Error: there is no terminal to ask for the secret on. Pass --stdin, and pipe it in.\n"


def test_names_that_share_a_variable(call, profiles):
    call("credentials", "set", "a-b", "--stdin", stdin="x")
    result = call("credentials", "set", "a_b", "--stdin", stdin="x", code=2)
    assert "'a_b' and 'a-b' share the environment variable D6TSTORE_A_B_PASSWORD" in result.stderr
    call("credentials", "set", "a", "b_secret_key", "--stdin", stdin="x")
    assert (
        "D6TSTORE_A_B_SECRET_KEY"
        in call("credentials", "set", "a-b", "secret_key", "--stdin", stdin="x", code=2).stderr
    )
    call("credentials", "set", "a-b", "--stdin", stdin="y")  # it is no rival of its own
    profiles("[profiles.p]\nurl = 'x://etl@db-1/y'")
    result = call("credentials", "set", "etl@db.1", "--stdin", stdin="x", code=2)
    assert "'etl@db.1' and 'etl@db-1' share" in result.stderr


def test_a_url_in_a_wrong_place_of_the_command_line(call):
    for words in (("profile", "list"), ("gc",), ("profile", "show"), (), ("plugins",)):
        done = subprocess.run([*COMMAND[:-1], *words, "x://u:hunter2@h/db"], capture_output=True, text=True)
        assert done.returncode == 2 and "hunter2" not in done.stdout + done.stderr, words


def test_a_variable_goes_before(call, monkeypatch):
    monkeypatch.setenv("D6TSTORE_WAREHOUSE_PASSWORD", "hunter2")
    result = call("credentials", "set", "warehouse", "--stdin", stdin="other")
    assert result.stderr == (
        "Warning: the environment variable D6TSTORE_WAREHOUSE_PASSWORD is set, and goes before the keyring.\n"
    )
    result = call("credentials", "delete", "warehouse", "--yes")
    assert "D6TSTORE_WAREHOUSE_PASSWORD is still set" in result.stderr and "hunter2" not in result.output


# ------------------------------------------------------------------------- in a terminal


def in_terminal(args: list[str], answers: list[tuple[str, str]], env: dict[str, str]) -> tuple[str, int]:
    """What a command shows in a pseudo-terminal, where each answer is typed when its question appears."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *args], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **env}, start_new_session=True
    )
    os.close(theirs)
    seen, since, deadline = b"", 0, time.monotonic() + 60
    try:
        while True:
            if answers and answers[0][0].encode() in seen[since:]:
                since = len(seen)
                os.write(ours, answers.pop(0)[1].encode())
            assert select.select([ours], [], [], max(0, deadline - time.monotonic()))[0], (answers, seen)
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # EIO: the other side has closed
                chunk = b""
            if not chunk:
                assert not answers, (answers, seen)
                return seen.decode().replace("\r\n", "\n"), process.wait(30)
            seen += chunk
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def terminal(tmp_path):
    def run(*args: str, answers: list[tuple[str, str]]) -> tuple[str, int]:
        return in_terminal(list(args), answers, env_of(tmp_path / "keyring.cfg"))

    return run


def test_set_asks_twice_and_shows_nothing(terminal, keyring):
    shown, code = terminal(
        "set", "lake", "secret_key", answers=[("secret_key of lake: ", "p@ss %é\n"), ("confirmation: ", "p@ss %é\n")]
    )
    assert code == 0 and "stored the secret_key of 'lake'" in shown and "p@ss" not in shown
    assert vault.get("lake", "secret_key") == Secret("p@ss %é") and vault.names() == {("lake", "secret_key")}


def test_set_asks_again_if_the_two_differ(terminal, keyring):
    answers = [("of lake: ", "one\n"), ("confirmation: ", "two\n"), ("of lake: ", "new\n"), ("confirmation: ", "new\n")]
    shown, code = terminal("set", "lake", answers=answers)
    assert code == 0 and "do not match" in shown and "one" not in shown.replace("--", "")
    assert vault.get("lake", "password") == Secret("new")


def test_a_refused_prompt(terminal, keyring):
    shown, code = terminal("set", "lake", answers=[("of lake: ", "half\n"), ("confirmation: ", "\x04")])  # end of input
    assert code == 130 and "half" not in shown and "Error: interrupted" in shown and vault.names() == set()


def test_stdin_on_a_terminal(terminal, keyring):
    shown, code = terminal("set", "lake", "--stdin", answers=[])
    assert code == 2 and "on a terminal all would see what you type" in shown


def test_delete_asks(terminal, keyring):
    vault.put("lake", "password", Secret("x"))
    vault.put("lake", "token", Secret("x"))
    shown, code = terminal("delete", "lake", answers=[("[y/N]", "n\n")])
    assert code == 1 and "Delete the password and token of 'lake' from the keyring" in shown
    assert len(vault.names()) == 2
    shown, code = terminal("delete", "lake", answers=[("[y/N]", "y\n")])
    assert code == 0 and vault.names() == set() and vault.get("lake", "token") is None


# --------------------------------------------------------------------------- list, delete


def test_list(call, profiles, monkeypatch):
    monkeypatch.setenv("D6TSTORE_LAKE_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("D6TSTORE_OTHER_PLACE_API_KEY", "hunter2")
    monkeypatch.setenv("D6TSTORE_EMPTY_PASSWORD", "")
    monkeypatch.setenv("D6TSTORE_STORE", "/x")
    vault.put("warehouse", "password", Secret("hunter2"))
    vault.put("old", "token", Secret("hunter2"))
    profiles(
        """
        [profiles.prod]
        url = "postgresql://etl@db/x"
        credentials = "warehouse"
        write_credentials = "warehouse_rw"
        [profiles.prod.backends.lake]
        url = "s3://b"
        credentials = "lake"
        [profiles.test]
        url = "postgresql://etl@db/x"
        [profiles.broken]
        url = 3
        """
    )
    result = call("credentials", "list")
    assert "hunter2" not in result.output
    assert rows(result) == [
        ["NAME", "FIELD", "FROM", "USED BY"],
        ["empty", "password", "environment variable D6TSTORE_EMPTY_PASSWORD, which is empty"],
        ["etl@db", "password", "nowhere", "profile test"],
        [
            "lake",
            "secret_access_key",
            "environment variable D6TSTORE_LAKE_SECRET_ACCESS_KEY",
            "profile prod, backend lake",
        ],
        ["old", "token", "keyring"],
        ["other_place", "api_key", "environment variable D6TSTORE_OTHER_PLACE_API_KEY"],
        ["warehouse", "password", "keyring", "profile prod"],
        ["warehouse_rw", "password", "nowhere", "profile prod"],
    ]


def test_list_of_nothing(call):
    assert call("credentials", "list").stdout.startswith("no credentials: ")


def test_list_shows_what_another_tool_put_there(call, profiles):
    profiles("[profiles.p]\nurl = '/x'\ncredentials = 'byhand'")
    package.set_password("d6tstore:byhand", "password", "hunter2")
    assert rows(call("credentials", "list"))[1] == ["byhand", "password", "keyring", "profile p"]


def test_delete(call):
    vault.put("lake", "password", Secret("x"))
    assert call("credentials", "delete", "lake", code=2).stderr.endswith("Pass --yes.\n")
    assert "It has password." in call("credentials", "delete", "lake", "token", "--yes", code=1).stderr
    assert call("credentials", "delete", "lake", "--yes").output == "deleted the password of 'lake'\n"
    assert "nothing was deleted" in call("credentials", "delete", "lake", "--yes", code=1).stderr


# ------------------------------------------------------------------------------------ test


ASKING = """
    from d6tstore.backend import Entry
    from d6tstore.errors import Denied
    from d6tstore_plugins.memory import MemoryBackend

    class Asking(MemoryBackend):
        @classmethod
        def open(cls, url, credentials, **options):
            backend = cls(url)
            backend.credentials = credentials
            if credentials.get().reveal() not in ("right", "writer"):
                raise ValueError(f"server says: no entry for {credentials.get().reveal()}")
            return backend

        def list(self, prefix=""):
            if self.url.endswith("/secret"):
                raise Denied("listing is denied to you. Ask for the role.")
            yield Entry("a", 1, "1", 0.0)

        def write(self, key, data):
            if self.credentials.for_writing().get().reveal() != "writer":
                raise Denied("writing is denied to you. Ask for the role.")
            super().write(key, data)
"""


@pytest.fixture
def asking(tmp_path, monkeypatch):
    """An installed plug-in: `asking://` asks for a password, and lets write only who has that of a writer."""
    folder = tmp_path / "site"
    (folder / "asking-1.dist-info").mkdir(parents=True)
    (folder / "asking-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: asking\nVersion: 1\n")
    points = f"[{registry.BACKENDS}]\nasking = asking_backend:Asking\n"
    (folder / "asking-1.dist-info/entry_points.txt").write_text(points)
    (folder / "asking_backend.py").write_text(textwrap.dedent(ASKING))
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        registry.refresh()
        yield
    sys.modules.pop("asking_backend", None)
    registry.refresh()


@pytest.fixture
def warehouse(call, asking, profiles):
    profiles(
        """
        [profiles.prod]
        url = "asking://etl@db/prices"
        credentials = "warehouse"
        [profiles.writing]
        url = "asking://etl@db/prices"
        credentials = "warehouse"
        write_credentials = "warehouse_rw"
        [profiles.none]
        url = "memory://"
        """
    )
    return call


def test_test_by_profile(warehouse):
    vault.put("warehouse", "password", Secret("right"))
    assert warehouse("credentials", "test", "prod").stdout == (
        "profile prod:\n"
        "  Asking('asking://etl@db/prices'), as etl\n"
        "  credentials 'warehouse': password from keyring\n"
        "  a listing was read: ok\n"
    )
    assert "as whoever runs this" in warehouse("credentials", "test", "none").stdout


def test_test_by_credential(warehouse, monkeypatch):
    vault.put("warehouse", "password", Secret("right"))
    monkeypatch.setenv("D6TSTORE_WAREHOUSE_RW_PASSWORD", "writer")
    shown = warehouse("credentials", "test", "warehouse").stdout
    assert shown.count("profile") == 2 and "a probe was written and deleted: ok" in shown
    assert "'warehouse_rw' for writing: password from environment variable D6TSTORE_WAREHOUSE_RW_PASSWORD" in shown
    monkeypatch.setenv("D6TSTORE_WAREHOUSE_RW_PASSWORD", "right")
    result = warehouse("credentials", "test", "warehouse_rw", code=1)
    assert "refused: writing is denied to you" in result.stdout and "1 of 1 places" in result.stderr


def test_test_by_url(warehouse, tmp_path):
    vault.put("etl@db", "password", Secret("right"))
    assert "as etl" in warehouse("credentials", "test", "asking://etl@db/x").stdout
    shown = warehouse("credentials", "test", str(tmp_path / "folder"), "--write").stdout
    assert "a listing was read, a probe was written and deleted: ok" in shown
    assert [p for p in (tmp_path / "folder").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("given", "name", "told"),
    [
        ("wrong-hunter2", "prod", "ForeignError|server says: no entry for ********"),
        (None, "prod", "there is no password for 'warehouse'"),
        ("right", "asking://warehouse/secret", "nothing names the credentials"),
        ("right", "nowhere://x", "backend 'nowhere' is not installed"),
        ("right", "asking://u:hunter2@db", "came with a secret, which all users of this machine may see"),
        ("right", "asking://u:hunter2/a@db", "characters that a URL cannot hold"),
    ],
)
def test_test_refused(warehouse, given, name, told):
    if given:
        vault.put("warehouse", "password", Secret(given))
    result = warehouse("credentials", "test", name, code=1)
    assert any(part in result.stdout for part in told.split("|")), result.stdout
    assert "hunter2" not in result.output


def test_a_listing_that_is_denied(warehouse):
    vault.put("etl@db", "password", Secret("right"))
    assert "refused: listing is denied" in warehouse("credentials", "test", "asking://etl@db/secret", code=1).stdout


def test_test_of_nothing_known(warehouse, profiles):
    assert "no profile or pipe has this name" in warehouse("credentials", "test", "absent", code=2).stderr
    profiles("[profiles.bad]\nurl = 3")
    assert "profiles.bad: Expected" in warehouse("credentials", "test", "bad", code=2).stderr


# ---------------------------------------------------------------------------------- doctor


def test_doctor(call, monkeypatch):
    monkeypatch.setenv("D6TSTORE_LAKE_TOKEN", "hunter2")
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    vault.put("lake", "password", Secret("hunter2"))
    shown = call("credentials", "doctor").stdout
    assert shown.startswith(
        "variables:   D6TSTORE_LAKE_TOKEN\nkeyring:     keyring_file.FileKeyring\nsafe:        yes\n"
    )
    assert "round trip:  ok" in shown and "1 kept here by d6tstore" in shown and "hunter2" not in shown
    assert vault.names() == {("lake", "password")}  # the probe is gone


@pytest.mark.parametrize("backend", ["fail", "null"])
def test_doctor_without_a_keyring(keyring, backend):
    env = {**os.environ, "PYTHON_KEYRING_BACKEND": f"keyring.backends.{backend}.Keyring"}
    done = subprocess.run([*COMMAND, "doctor"], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "pip install keyrings.cryptfile" in done.stdout
    assert done.stderr == "Error: there is no keyring to use; secrets can come from environment variables only.\n"
    done = subprocess.run([*COMMAND, "set", "x", "--stdin"], env=env, capture_output=True, text=True, input="hunter2")
    assert done.returncode == 2 and "cannot be kept" in done.stderr and "hunter2" not in done.stderr
    done = subprocess.run([*COMMAND, "list"], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("no credentials")


def test_a_keyring_of_plain_text(tmp_path):
    env = {
        **os.environ,
        "PYTHON_KEYRING_BACKEND": "keyrings.cryptfile.file.PlaintextKeyring",
        "XDG_DATA_HOME": str(tmp_path / "plain"),
    }
    done = subprocess.run([*COMMAND, "set", "x", "--stdin"], env=env, capture_output=True, text=True, input="hunter2")
    assert done.returncode == 0 and "Warning: the keyring" in done.stderr and "plain text" in done.stderr, done.stderr
    done = subprocess.run([*COMMAND, "doctor"], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "safe:        no: it keeps secrets as plain text" in done.stdout


def test_a_keyring_that_cannot_be_unlocked(tmp_path, keyring):
    vault.put("lake", "password", Secret("hunter2"))
    env = {**os.environ, **env_of(keyring, "another master"), "D6TSTORE_LAKE_TOKEN": "hunter2"}
    for command, code in (["doctor"], 1), (["list"], 1), (["set", "x", "--stdin"], 2):
        done = subprocess.run([*COMMAND, *command], env=env, capture_output=True, text=True, input="hunter2")
        told = done.stdout + done.stderr
        assert done.returncode in (code, 2) and "Traceback" not in told and "hunter2" not in told, told
        assert "keyring" in done.stderr
        assert command != ["list"] or "D6TSTORE_LAKE_TOKEN" in done.stdout  # what can be said is said


# --------------------------------------------------------------------- profiles, --profile


def test_profile_list_and_show(call, profiles, project, monkeypatch):
    assert call("profile", "list").stdout.startswith("no profiles: write [profiles.NAME] into d6tstore.toml")
    profiles(
        """
        project = "prices"
        [profiles.prod]
        url = "postgresql://etl@db/${SCHEMA:-prices}"
        keep_versions = 5
        options = {pool = 3, ssl = {mode = "full"}}
        pipes.team = {url = "s3://team", credentials = "lake"}
        [profiles.shared]
        central = "central"
        [profiles.leaky]
        url = "x://u:hunter2@h"
        """
    )
    monkeypatch.setenv("D6TSTORE_LAKE_SECRET_KEY", "hunter2")
    vault.put("etl@db", "password", Secret("hunter2"))
    listed = call("profile", "list")
    assert "hunter2" not in listed.output
    assert [row[0] for row in rows(listed)] == ["NAME", "prod", "shared", "leaky"]
    assert rows(listed)[1] == ["prod", str(project / "d6tstore.toml"), "postgresql://etl@db/prices"]
    assert rows(listed)[2][2] == f"a folder per project in {project}/central"
    assert rows(listed)[3][2].startswith("broken: ") and "credentials set leaky password" in rows(listed)[3][2]
    shown = call("profile", "show", "prod").stdout
    assert shown.splitlines() == [
        f"[profiles.prod]  # {project / 'd6tstore.toml'}",
        'url = "postgresql://etl@db/prices"',
        "options.pool = 3",
        'options.ssl = {"mode": "full"}',
        'credentials = "etl@db"  # password from keyring',
        "keep_versions = 5",
        'pipes.team.url = "s3://team"',
        'pipes.team.credentials = "lake"  # secret_key from environment variable D6TSTORE_LAKE_SECRET_KEY',
    ]
    assert f'url = "{project}/central/prices"' in call("--profile", "shared", "profile", "show").stdout
    assert not (project / "central").exists()  # looking makes nothing
    assert "did you mean 'prod'" in call("profile", "show", "prodd", code=2).stderr
    assert "which profile?" in call("profile", "show", code=2).stderr
    assert "hunter2" not in call("profile", "show", "leaky", code=2).output


FLOW = """
    import d6tstore
    class One(d6tstore.tasks.TaskJson):
        def run(self): self.save(1)
"""


def test_the_option_profile(call, flow, profiles, project, monkeypatch):
    flow(FLOW)
    profiles('[profiles.prod]\nurl = "results"\n[profiles.dev]\nurl = "dev"\n')

    def used(*options: str) -> set[str]:
        call(*options, "run", "flow:One", "--force", "all")
        found = {path.name for path in project.iterdir() if (path / "One").exists()}
        for name in found:
            (project / name / "One").rename(project / name / f"old{len(os.listdir(project / name))}")
        return found

    assert used("--profile", "prod") == {"results"}
    monkeypatch.setenv("D6TSTORE_PROFILE", "dev")
    assert used() == {"dev"} and used("--profile", "prod") == {"results"} and used("--store", "./s") == {"s"}
    monkeypatch.setenv("D6TSTORE_STORE", "./t")
    assert used("--profile", "prod") == {"results"} and used("--store", "./s") == {"s"}
    assert "exclude each other" in call("preview", "flow:One", code=2).stderr
    assert "exclude each other" in call("--store", "./s", "--profile", "dev", "preview", "flow:One", code=2).stderr


@pytest.mark.parametrize("name", ["./data", "x://u:hunter2@h", "1"])
def test_what_is_no_name_of_a_profile(call, flow, name):
    flow(FLOW)
    result = call("--profile", name, "preview", "flow:One", code=2)
    assert "cannot name a profile" in result.stderr and "hunter2" not in result.output


def test_a_profile_that_is_not_there(call, flow):
    flow(FLOW)
    assert "there is no profile 'absent'" in call("--profile", "absent", "preview", "flow:One", code=2).stderr
    assert not Path("absent").exists()
