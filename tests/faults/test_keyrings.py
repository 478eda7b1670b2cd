"""Keyrings that are not there, locked, broken, slow or lossy, and secrets of all kinds: real backends, nothing patched.

Each gives a right result or an error of ours that says what to do, and shows no secret.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import keyring as package
import keyring_faulty
import keyring_file
import pytest
from keyring.backends.chainer import ChainerBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring_faulty import SECRET

from d6tstore.credentials import Credentials, vault
from d6tstore.credentials.secret import Secret
from d6tstore.errors import CredentialsError

TESTS = Path(__file__).parent.parent
VARIABLE = "set the environment variable D6TSTORE_<NAME>_<FIELD>"
AWKWARD = {
    "newlines": "line 1\nline 2\r\n\tend\n",
    "percent": "%41%%s%(x)s%",
    "URL": "p@ss:w/rd?a=b&c#d+e",
    "quotes": "'\"`\\$x {0}",
    "letters": "пароль-密码-ñ-😀",
    "spaces": "  both ends  ",
    "one": "x",
    "10 kB": "ab3" * 3_334,
    "nul": "a\0b",
    "json": '[["x", "password"]]',
    "decomposed": "e\u0301\u00e9",
    "control": "\x01\x1b[31m\x7f\x80",
}


@pytest.fixture
def active():
    """Make a keyring the one of this process."""

    def choose(ring):
        package.set_keyring(ring)
        return ring

    yield choose
    package.set_keyring(NoKeyring())


@pytest.fixture
def child(project, tmp_path):
    """Run a program in a process of its own, whose home is empty. Returns its last line as JSON; errors as text."""

    def run(code, before=(), **variables):
        program = f"""
import json, os, sys, warnings
import keyring as package
from d6tstore.credentials import vault
from d6tstore.credentials import Credentials
from d6tstore.errors import CredentialsError
from d6tstore.credentials.secret import Secret

def told(call, *args):
    try:
        found = call(*args)
    except CredentialsError as exc:
        return f"CredentialsError: {{exc}}"
    return found.reveal() if isinstance(found, Secret) else found

{code}
"""
        path = project / "program.py"
        path.write_text(program)
        env = {k: v for k, v in os.environ.items() if k not in ("DBUS_SESSION_BUS_ADDRESS", "PYTHON_KEYRING_BACKEND")}
        env |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_DATA_HOME": str(tmp_path)}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), env.get("PYTHONPATH")]))
        done = subprocess.run(
            [*before, sys.executable, "-W", "error", str(path)], env={**env, **variables}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        run.stderr = done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def refusals():
    """What each function says of a keyring that fails."""
    calls = {
        "get": lambda: vault.get("w", "password"),
        "find": lambda: Credentials("w").find(),
        "put": lambda: vault.put("w", "password", Secret(SECRET)),
        "delete": lambda: vault.delete("w", "password"),
        "names": lambda: vault.names(),
    }
    for call in calls.values():
        with pytest.raises(CredentialsError) as caught:
            call()
        exc = caught.value
        assert exc.__cause__ is None and exc.__context__ is None, "the frames of the backend hold secrets"
        shown = "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
        assert SECRET not in shown.replace(f"SECRET = '{SECRET}'", "")
        yield str(exc)


# ------------------------------------------------------------------------- a real one


@pytest.mark.parametrize("name", AWKWARD)
def test_an_encrypted_file_keeps_any_secret(keyring, name):
    text = AWKWARD[name]
    vault.put("w", "password", Secret(text))
    assert vault.get("w", "password").reveal() == text
    package.set_keyring(keyring_file.FileKeyring(keyring, "master of tests"))  # read again from the file
    assert Credentials("w").get().reveal() == text
    assert len(text) < 3 or text.encode() not in keyring.read_bytes()
    assert vault.names() == {("w", "password")}
    assert vault.delete("w", "password") and vault.get("w", "password") is None and vault.names() == set()


def test_what_is_no_unicode_is_refused(keyring):
    with pytest.raises(CredentialsError, match="the password of 'w' is no valid Unicode.*Give it as UTF-8") as caught:
        vault.put("w", "password", Secret("hunter2-\udc80"))
    assert "hunter2" not in str(caught.value) and vault.names() == set()


def test_wrong_master_password(child, tmp_path):
    right, wrong = (keyring_file.env_of(tmp_path / "ring", m) for m in ("right-master-pw", "wrong-master-pw"))
    assert child("print(json.dumps(told(vault.put, 'w', 'password', Secret('kept'))))", **right) is None
    code = "print(json.dumps([told(vault.get, 'w', 'password'), told(vault.status), told(vault.names)]))"
    for text in child(code, **wrong):
        assert text.startswith("CredentialsError: the keyring cannot be loaded: ValueError: "), text
        assert "Correct PYTHON_KEYRING_BACKEND or keyringrc.cfg" in text and VARIABLE in text
        assert "master-pw" not in text
    assert child("print(json.dumps(told(vault.get, 'w', 'password')))", **right) == "kept"


def test_a_damaged_file(keyring):
    vault.put("w", "password", Secret(SECRET))
    lines = keyring.read_text().splitlines()
    keyring.write_text("\n".join(line if "=" in line or "[" in line else "AAAA" for line in lines))
    with pytest.raises(CredentialsError, match="(?s)keyring_file.FileKeyring could not read a secret: .*Repair it"):
        vault.get("w", "password")


# ------------------------------------------------------------------------- none at all


@pytest.mark.parametrize(
    ("backend", "why"),
    [("keyring.backends.fail.Keyring", "no keyring is available"), ("keyring.backends.null.Keyring", "switched off")],
)
def test_no_keyring(child, backend, why):
    code = """
found = [told(vault.get, 'w', 'password'), told(vault.delete, 'w', 'password'), len(vault.names())]
found += [told(vault.put, 'w', 'password', Secret('hunter2')), told(Credentials('w').get), list(vault.status())]
os.environ["D6TSTORE_W_PASSWORD"] = "from the environment"
print(json.dumps([*found, told(Credentials('w').get)]))
"""
    got, deleted, names, put, missing, status, environment = child(code, PYTHON_KEYRING_BACKEND=backend)
    assert (got, deleted, names, environment) == (None, False, 0, "from the environment")
    assert why in put and VARIABLE in put and "d6tstore credentials doctor" in put and "hunter2" not in put
    assert why in missing and "D6TSTORE_W_PASSWORD" in missing and "d6tstore credentials doctor" in missing
    assert status[:3] == [backend, False, False] and "keyrings.cryptfile" in status[3]


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("no_such_module.Keyring", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("keyring.backends.fail.NoSuchClass", "AttributeError"),
        ("nodots", "ValueError"),
        ("keyring_faulty.RaisesWhenMade", "RuntimeError: cannot unlock with ********"),
    ],
)
def test_a_backend_that_cannot_be_loaded(child, backend, says):
    code = "print(json.dumps([told(vault.get, 'w', 'password'), told(vault.problem), told(Credentials('w').get)]))"
    for text in child(code, PYTHON_KEYRING_BACKEND=backend, KEYRING_PROPERTY_KEYRING_KEY="master-of-all"):
        assert text.startswith(f"CredentialsError: the keyring cannot be loaded: {says}")
        assert "PYTHON_KEYRING_BACKEND" in text and VARIABLE in text and "master-of-all" not in text


def test_a_plain_file_that_nobody_chose_gets_no_secret(child, tmp_path):
    plain = "keyrings.cryptfile.file.PlaintextKeyring"
    found = """
from keyrings.cryptfile.file import PlaintextKeyring
package.set_keyring(PlaintextKeyring())
"""
    code = "print(json.dumps([told(vault.put, 'w', 'password', Secret('hunter2')), list(vault.status())]))"
    put, status = child(found + code)
    assert f"the keyring that was found, {plain}, is a file of plain text, and nobody chose it" in put
    assert status[:3] == [plain, True, False] and "plain text" in status[3]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert [path.name for path in files] == ["program.py"]
    assert child(code, PYTHON_KEYRING_BACKEND=plain)[0] is None
    (tmp_path / "config" / "python_keyring").mkdir(parents=True)
    (tmp_path / "config" / "python_keyring" / "keyringrc.cfg").write_text(f"[backend]\ndefault-keyring={plain}\n")
    assert child(code)[0] is None
    assert child("print(json.dumps(told(vault.get, 'w', 'password')))") == "hunter2"


def test_a_chain_is_named_with_its_members(child):
    chain, file = "keyring.backends.chainer.ChainerBackend", "keyrings.cryptfile.cryptfile.CryptFileKeyring"
    backend, usable, safe, _ = child("print(json.dumps(list(vault.status())))", PYTHON_KEYRING_BACKEND=chain)
    assert backend.startswith(f"{chain} ({file}, ") and (usable, safe) == (True, True)


# ------------------------------------------------------------------------- one that fails


@pytest.mark.parametrize(
    ("kind", "says", "cure"),
    [
        ("Raising", "RuntimeError: the daemon says no to", "Repair it"),
        ("Refused", "InitError: Failed to create the collection: Prompt dismissed.", "Unlock it and try again"),
        ("Locked", "KeyringLocked: Failed to unlock the collection!", "Unlock it and try again"),
        ("Exiting", "SystemExit: a backend that ends the program", "Repair it"),
        ("Unprintable", "(its text cannot be made: ValueError)", "Repair it"),
    ],
)
def test_a_backend_that_fails(active, kind, says, cure):
    active(getattr(keyring_faulty, kind)())
    for text in refusals():
        assert text.startswith(f"the keyring keyring_faulty.{kind} could not ")
        assert says in text and cure in text and VARIABLE in text
    assert vault.status()[:2] == (f"keyring_faulty.{kind}", True), "asking which it is asks it nothing"


@pytest.mark.parametrize("kind", ["Forgetful", "Cutting"])
def test_one_that_does_not_keep_what_it_is_given(active, kind):
    ring = active(getattr(keyring_faulty, kind)())
    with pytest.raises(CredentialsError, match="does not keep the password of 'w' as it was given; nothing is kept"):
        vault.put("w", "password", Secret(SECRET))
    assert ring.kept == {}
    if kind == "Cutting":
        ring.kept["d6tstore:w", "password"] = "short"
        assert vault.get("w", "password").reveal() == "short"


def test_one_with_little_room(active):
    active(keyring_faulty.Limited())
    with pytest.raises(CredentialsError, match="Limited could not keep a secret: OSError: .*bad data") as caught:
        vault.put("w", "password", Secret("hunter2!" * 200))
    assert "hunter2" not in str(caught.value)
    for i in range(60):
        vault.put(f"etl@warehouse{i}.example.com", "password", Secret(SECRET))
    assert len(vault.names()) == 60


def test_one_that_has_an_answer_to_all(active):
    active(keyring_faulty.Obliging())
    assert vault.names() == set()
    assert vault.get("w", "password").reveal() == SECRET


def test_one_that_others_fill(active):
    active(keyring_faulty.ReadOnly())
    assert Credentials("w").get().reveal() == SECRET
    assert vault.names() == set()
    with pytest.raises(CredentialsError, match="could not keep a secret: NotImplementedError"):
        vault.put("w", "password", Secret("other"))


# ------------------------------------------------------------------------- one that hangs


def test_one_that_hangs(active, monkeypatch):
    monkeypatch.setenv("D6TSTORE_KEYRING_TIMEOUT", "0.05")
    ring = active(keyring_faulty.Hanging())
    try:
        for text in refusals():
            assert "did not answer within 0.05 s" in text and "D6TSTORE_KEYRING_TIMEOUT" in text and VARIABLE in text
    finally:
        ring.seen.set()
        for thread in threading.enumerate():
            if thread.name == "d6tstore-keyring":
                thread.join(60)


@pytest.mark.parametrize("kind", ["Hanging", "HangsWhenMade"])
def test_what_hangs_delays_neither_the_end_nor_a_fork(child, kind):
    code = """
first = told(vault.get, 'w', 'password')
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from Python 3.12 on: a fork in a program with threads
    pid = os.fork() if hasattr(os, "fork") else None
if pid == 0:
    os.environ["D6TSTORE_W_PASSWORD"] = "from the environment"
    fine = told(vault.get, 'w', 'password').startswith("CredentialsError") and told(Credentials('w').get)
    os._exit(0 if fine == "from the environment" else 9)
status = os.waitpid(pid, 0)[1] if pid else 0
print(json.dumps([first, status]))
"""
    begun = time.monotonic()
    backend = f"keyring_faulty.{kind}"
    text, status = child(code, PYTHON_KEYRING_BACKEND=backend, D6TSTORE_KEYRING_TIMEOUT="0.05")
    assert "did not answer within 0.05 s (asked to read a secret)" in text
    assert status == 0 and child is not None
    assert time.monotonic() - begun < 60


def test_a_prompt_that_nobody_answers_leaves_the_terminal_as_it_was():
    termios = pytest.importorskip("termios")
    ours, theirs = os.openpty()
    program = """
import os, sys
os.setsid()
os.close(os.open(os.ttyname(0), os.O_RDWR))  # the terminal of this session
from d6tstore.credentials import vault
try:
    vault.get("w", "password")
except Exception as exc:
    print(exc)
"""
    env = {**os.environ, "PYTHON_KEYRING_BACKEND": "keyring_faulty.Prompting", "PYTHONPATH": str(TESTS)}
    env["D6TSTORE_KEYRING_TIMEOUT"] = "2"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    shown, hidden = b"", False
    try:
        while b"did not answer within" not in shown:
            shown += os.read(ours, 4096)
            hidden |= b"password of the keyring" in shown and not termios.tcgetattr(ours)[3] & termios.ECHO
        assert child.wait(60) == 0
        assert hidden and termios.tcgetattr(ours)[3] & termios.ECHO
    finally:
        child.kill()
        os.close(ours)
        os.close(theirs)


def test_a_prompt_where_there_is_no_terminal(child):
    code = "print(json.dumps(told(vault.get, 'w', 'password')))"
    text = child(code, before=["setsid"], PYTHON_KEYRING_BACKEND="keyring_faulty.PromptingPipe")
    assert "EOFError" in text and "Unlock it and try again" in text and VARIABLE in text


@pytest.mark.parametrize("text", ["x", "-1", "0", "nan", "inf", "1e9"])
def test_a_time_limit_that_is_none(text, monkeypatch):
    monkeypatch.setenv("D6TSTORE_KEYRING_TIMEOUT", text)
    with pytest.raises(CredentialsError, match=f"D6TSTORE_KEYRING_TIMEOUT='{text}' must be a number of seconds"):
        vault.get("w", "password")


def test_names_that_are_kept_at_once_are_all_known(active):
    from concurrent.futures import ThreadPoolExecutor

    active(keyring_faulty.Slow())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: vault.put(f"n{n}", "password", Secret("x")), range(20)))
    assert vault.names() == {(f"n{n}", "password") for n in range(20)}


def test_a_chain_whose_first_member_only_reads(active):
    chain = ChainerBackend()
    first, second = keyring_faulty.ReadOnly(), keyring_faulty.InMemory()
    type(chain).backends, before = [first, second], type(chain).__dict__["backends"]
    try:
        active(chain)
        vault.put("other", "password", Secret("new"))
        assert vault.get("other", "password") == Secret("new")
        with pytest.raises(CredentialsError, match="nothing is kept"):
            vault.put("w", "password", Secret("new"))  # of which the first one has another
        assert ("d6tstore:w", "password") not in second.kept
    finally:
        type(chain).backends = before


def test_threads_ask_at_once(keyring):
    from concurrent.futures import ThreadPoolExecutor

    vault.put("w", "password", Secret(SECRET))
    with ThreadPoolExecutor(4) as pool:
        assert {s.reveal() for s in pool.map(lambda _: vault.get("w", "password"), range(20))} == {SECRET}


# ------------------------------------------------------------------- the Secret Service of GNOME

needs_gnome = pytest.mark.skipif(
    not (shutil.which("gnome-keyring-daemon") and shutil.which("dbus-run-session")),
    reason="needs gnome-keyring-daemon and dbus-run-session (Debian: gnome-keyring, dbus-daemon)",
)


@pytest.fixture
def secret_service(child, tmp_path):
    """Run a program in a session with a keyring of its own, unlocked."""
    (tmp_path / "run").mkdir(mode=0o700)
    unlock = 'eval $(printf master | gnome-keyring-daemon --unlock --components=secrets) && exec "$@"'

    def run(code):
        command = ("dbus-run-session", "--", "sh", "-c", unlock, "sh")
        settings = {
            "XDG_RUNTIME_DIR": str(tmp_path / "run"), "DISPLAY": "", "WAYLAND_DISPLAY": "",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring",
        }  # fmt: skip
        try:
            return child(code, command, **settings)
        except AssertionError as exc:  # on a busy machine the daemon itself dies now and then: another one, once
            if "disconnected from message bus" not in str(exc):
                raise
            return child(code, command, **settings)

    return run


@needs_gnome
def test_the_secret_service_keeps_any_secret(secret_service, tmp_path):
    code = f"""
secrets = json.loads({json.dumps(json.dumps(AWKWARD))})
for name, text in secrets.items():
    vault.put(name.replace(" ", "-"), "password", Secret(text))
kept = {{name: vault.get(name.replace(" ", "-"), "password").reveal() for name in secrets}}
assert vault.delete("URL", "password") and not vault.delete("URL", "password")
print(json.dumps([kept, sorted(vault.names()), list(vault.status())]))
"""
    kept, names, status = secret_service(code)
    assert kept == AWKWARD
    assert [name for name, _ in names] == sorted(name.replace(" ", "-") for name in AWKWARD if name != "URL")
    assert status == ["keyring.backends.SecretService.Keyring", True, True, ""]
    files = list((tmp_path / ".local").rglob("*.keyring")) or list(tmp_path.rglob("*.keyring"))
    assert files and not any(AWKWARD["quotes"].encode() in path.read_bytes() for path in files)


@needs_gnome
def test_a_locked_secret_service_whose_prompt_nobody_answers(secret_service):
    code = """
import contextlib, secretstorage
vault.put("w", "password", Secret("hunter2"))
with contextlib.closing(secretstorage.dbus_init()) as bus:
    secretstorage.get_default_collection(bus).lock()
found = [told(vault.get, "w", "password"), told(vault.put, "w", "password", Secret("hunter3")), told(vault.names)]
os.environ["D6TSTORE_W_PASSWORD"] = "from the environment"
print(json.dumps([*found, told(Credentials("w").get)]))
"""
    *refused, environment = secret_service(code)
    for text in refused:
        assert "KeyringLocked" in text and "Unlock it and try again" in text and VARIABLE in text
        assert "hunter" not in text
    assert environment == "from the environment"
