"""`Credentials`: a secret by name, at the moment of use, from the environment or a real keyring; none is held."""

import concurrent.futures
import contextlib
import copy
import gc
import io
import json
import pickle
import subprocess
import sys
import threading
import traceback

import cloudpickle
import keyring as package
import pytest
import rich.console
import rich.traceback
from keyring.backend import KeyringBackend

from d6tstore import registry
from d6tstore.backend import Backend
from d6tstore.credentials import Credentials, check_field, check_name, lookup, variable_of, vault
from d6tstore.credentials.secret import MASK, Secret
from d6tstore.errors import BackendError, CredentialsError, Denied, ForeignError

TEXT = "hunter2-hunter2"


@pytest.fixture
def given():
    return Credentials("ann@host", user="ann", given={"password": Secret(TEXT)})


class Counting(KeyringBackend):
    """A keyring in memory that counts how often it is asked."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept, self.calls = {}, []

    def get_password(self, service, username):
        self.calls.append(("get", service, username))
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.calls.append(("set", service, username))
        self.kept[service, username] = password

    def delete_password(self, service, username):
        self.calls.append(("delete", service, username))
        del self.kept[service, username]


@pytest.fixture
def ring():
    package.set_keyring(counting := Counting())
    yield counting
    package.set_keyring(package.backends.fail.Keyring())


# -------------------------------------------------------------------------- where from


def test_the_keyring_then_the_environment(keyring, monkeypatch):
    credentials = Credentials("warehouse")
    assert credentials.find() is None
    vault.put("warehouse", "password", Secret("from the keyring"))
    assert credentials.get().reveal() == "from the keyring"
    assert credentials.origin() == "from the keyring"
    monkeypatch.setenv("D6TSTORE_WAREHOUSE_PASSWORD", "from the environment")
    assert credentials.get().reveal() == "from the environment"
    assert credentials.origin() == "from D6TSTORE_WAREHOUSE_PASSWORD"
    monkeypatch.delenv("D6TSTORE_WAREHOUSE_PASSWORD")
    vault.put("warehouse", "password", Secret("rotated"))
    assert credentials.get().reveal() == "rotated", "it is asked at the moment of use"
    assert vault.delete("warehouse", "password")
    assert credentials.find() is None


def test_a_secret_of_the_url_goes_first(monkeypatch, given):
    monkeypatch.setenv("D6TSTORE_ANN_HOST_PASSWORD", "from the environment")
    monkeypatch.setenv("D6TSTORE_ANN_HOST_TOKEN", "token of the environment")
    assert given.get().reveal() == TEXT
    assert given.get("token").reveal() == "token of the environment"


def test_fields_are_apart(keyring):
    vault.put("lake", "access_key", Secret("one"))
    vault.put("lake", "secret_key", Secret("two"))
    vault.put("lakes", "access_key", Secret("three"))
    assert [Credentials("lake").get(f).reveal() for f in ("access_key", "secret_key")] == ["one", "two"]
    assert Credentials("lake").find("password") is None
    assert vault.names() == {("lake", "access_key"), ("lake", "secret_key"), ("lakes", "access_key")}


def test_writing_needs_others(monkeypatch, given):
    monkeypatch.setenv("D6TSTORE_READER_PASSWORD", "r")
    monkeypatch.setenv("D6TSTORE_WRITER_PASSWORD", "w")
    both = Credentials("reader", write="writer", user="ann")
    assert (both.get().reveal(), both.for_writing().get().reveal()) == ("r", "w")
    assert both.for_writing() == Credentials("writer", user="ann")
    assert both.for_writing().for_writing() == both.for_writing()
    assert Credentials("reader").for_writing() == Credentials("reader")
    assert given.for_writing().get().reveal() == TEXT
    other = Credentials("reader", write="writer", given={"password": Secret(TEXT)}).for_writing()
    assert other.get().reveal() == "w", "the secret of the URL is not the writer's"


def test_missing_says_both_ways_out(keyring):
    with pytest.raises(CredentialsError) as caught:
        Credentials("etl@db").get("token")
    text = str(caught.value)
    assert "there is no token for 'etl@db'" in text
    assert "d6tstore credentials set etl@db token" in text and "D6TSTORE_ETL_DB_TOKEN" in text
    assert "install a keyring" not in text


def test_missing_without_a_keyring_says_so():
    package.set_keyring(package.backends.fail.Keyring())
    with pytest.raises(CredentialsError, match="no keyring is available on this machine.*D6TSTORE_X_PASSWORD.*doctor"):
        Credentials("x").get()
    assert Credentials("x").find() is None


def test_nothing_names_them():
    assert Credentials().find() is None
    assert Credentials().origin() == "none"
    with pytest.raises(CredentialsError, match="nothing names the credentials.*user@host.*credentials='NAME'"):
        Credentials().get()


def test_an_empty_variable_is_an_error(monkeypatch, keyring):
    vault.put("x", "password", Secret("there"))
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", "")
    with pytest.raises(CredentialsError, match="D6TSTORE_X_PASSWORD is empty. Give it the password, or unset it"):
        Credentials("x").get()


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("warehouse", "D6TSTORE_WAREHOUSE_PASSWORD"),
        ("etl@db.example.com:5432", "D6TSTORE_ETL_DB_EXAMPLE_COM_5432_PASSWORD"),
        ("a--b", "D6TSTORE_A_B_PASSWORD"),
        ("x_", "D6TSTORE_X_PASSWORD"),
    ],
)
def test_variables(name, variable, monkeypatch):
    assert variable_of(name, "password") == variable
    monkeypatch.setenv(variable, TEXT)
    assert lookup(name, "password").reveal() == TEXT


@pytest.mark.parametrize("name", ["", " ", "-x", "a b", "a/b", "ä", "a\n", "x" * 201, "p@ss word!", 3, b"x"])
def test_what_cannot_be_a_name_is_not_shown(name):
    for call in (lambda: check_name(name), lambda: lookup(name, "password"), lambda: Credentials("x", write=name)):
        with pytest.raises(CredentialsError, match="has 1 to 200 letters") as caught:
            call()
        assert not name or str(name) == " " or str(name) not in str(caught.value).split(" has ")[0]


@pytest.mark.parametrize("field", ["", "Password", "1x", "a-b", "x" * 65, "hunter2!", None, 3])
def test_what_cannot_be_a_field_is_not_shown(field):
    for call in (lambda: check_field(field), lambda: lookup("x", field), lambda: Credentials("x").get(field)):
        with pytest.raises(CredentialsError, match="has 1 to 64 small letters"):
            call()


# ------------------------------------------------------------- as an object: holds nothing


def test_repr(monkeypatch, given):
    assert repr(Credentials()) == "Credentials()"
    assert repr(Credentials("x")) == "Credentials('x', from the keyring)"
    assert repr(Credentials("x", write="y")) == "Credentials('x', write='y', from the keyring)"
    assert repr(given) == "Credentials('ann@host', from the URL)"
    assert repr(Credentials(given={"token": Secret(TEXT)})) == "Credentials(None, from the URL)"
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", TEXT)
    assert repr(Credentials("x")) == "Credentials('x', from D6TSTORE_X_PASSWORD)"


def test_equality_and_hash(given):
    same = Credentials("ann@host", user="ann", given={"password": Secret(TEXT)})
    assert given == same and hash(given) == hash(same)
    other = Credentials("ann@host", user="ann", given={"password": Secret("other")})
    assert given != other and given != Credentials("ann@host", user="ann")
    assert Credentials("a", "b", "c") == Credentials("a", "b", "c") != Credentials("a", "b", "d")
    assert Credentials("a") != "a"
    assert len({given, same, other, Credentials("a"), Credentials("a")}) == 3


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, lambda c: pickle.dumps(c, 0)])
def test_pickles_by_name(dumps, monkeypatch, keyring):
    vault.put("reader", "password", Secret(TEXT))
    monkeypatch.setenv("D6TSTORE_WRITER_PASSWORD", TEXT)
    credentials = Credentials("reader", write="writer", user="ann")
    assert credentials.get() == credentials.for_writing().get()  # asked before
    data = dumps(credentials)
    assert TEXT.encode() not in data
    again = pickle.loads(data)
    assert again == credentials and again.user == "ann"
    assert again.get().reveal() == TEXT


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, copy.deepcopy, copy.copy])
def test_a_secret_of_the_url_does_not_pickle(dumps, given):
    with pytest.raises(CredentialsError) as caught:
        dumps(given)
    assert "d6tstore credentials set ann@host password; then remove it from the URL" in str(caught.value)
    assert TEXT not in str(caught.value)


def test_no_object_holds_what_was_handed_out(keyring):
    text = f"{TEXT}, of this test only"  # other modules make secrets too
    vault.put("of-this-test", "password", Secret(text))
    credentials = Credentials("of-this-test")
    with credentials.guard():
        assert credentials.get().reveal() == text
    gc.collect()
    held = [s for s in gc.get_objects() if isinstance(s, Secret) and s.reveal() == text]
    assert len(held) == 1, "what masks messages knows it, and nothing else"


def test_a_guard_that_ends_in_another_thread(monkeypatch):
    monkeypatch.setenv("D6TSTORE_READER_PASSWORD", "hunter2-reader")
    credentials = Credentials("reader")

    def batches(fail):
        with credentials.guard():
            text = credentials.get().reveal()
            yield 1
            if fail:
                raise RuntimeError(text)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for fail in (False, True):
            reader = batches(fail)
            next(reader)
            if not fail:
                pool.submit(reader.close).result()
                continue
            with pytest.raises(ForeignError) as caught:
                pool.submit(next, reader).result()
            assert "hunter2" not in str(caught.value) and caught.value.__context__ is None


def test_a_connection_that_another_thread_makes_later(monkeypatch):
    monkeypatch.setenv("D6TSTORE_POOLED_PASSWORD", "hunter2-pooled")
    monkeypatch.setenv("D6TSTORE_POOLED_WRITER_PASSWORD", "hunter2-writer")
    credentials = Credentials("pooled", "pooled-writer")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        texts = pool.submit(lambda: (credentials.get().reveal(), credentials.for_writing().get().reveal())).result()
    with pytest.raises(ForeignError) as caught, credentials.guard():
        raise ValueError(" ".join(texts))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ForeignError, match="hunter2-pooled"), Credentials("another").guard():
        raise ValueError(" ".join(texts))  # of another place it may be a word


# ------------------------------------------------------------------------------ guard


class DriverError(Exception):
    def __init__(self, message, password):
        super().__init__(message)
        self.password = password


def driver(password, url="host"):
    """A driver: its frames and its errors hold what it was given."""
    try:
        raise KeyError(password)
    except KeyError:
        raise DriverError(f"cannot log in to {url} with {password}", password)


def shown(exc):
    """All that a traceback with locals would show, by the standard library and by rich; and what else is held."""
    console = rich.console.Console(file=io.StringIO(), width=250)
    console.print(rich.traceback.Traceback.from_exception(type(exc), exc, exc.__traceback__, show_locals=True))
    text = "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
    return text + console.file.getvalue() + repr(exc) + repr(vars(exc))


def chain(exc):
    """An error and all that it holds as causes and contexts."""
    yield exc
    for inner in (exc.__cause__, exc.__context__):
        if inner is not None:
            yield from chain(inner)


def frames(exc):
    """Names of all functions that are held by an error and all that caused it."""
    return {frame.f_code.co_name for e in chain(exc) for frame, _ in traceback.walk_tb(e.__traceback__)}


def connect(credentials):
    with credentials.guard():
        driver(password=credentials.get().reveal())


def test_guard_hides_the_drivers_error(monkeypatch):
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", "".join([TEXT]))
    with pytest.raises(ForeignError) as caught:
        connect(Credentials("x"))
    exc = caught.value
    assert str(exc).startswith(f"test_credentials.DriverError: cannot log in to host with {MASK} (credentials/")
    assert [type(e) for e in chain(exc)] == [ForeignError, ForeignError], "nor is the original its context"
    assert TEXT not in shown(exc)
    assert frames(exc) <= {"test_guard_hides_the_drivers_error", "connect", "__exit__"}


def test_guard_within_the_handling_of_another_error(monkeypatch):
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", TEXT)
    with pytest.raises(ForeignError) as caught:
        try:
            driver(TEXT)
        except DriverError:
            connect(Credentials("x"))
    assert "driver" not in frames(caught.value) and TEXT not in shown(caught.value)


def test_guard_keeps_ours(monkeypatch):
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", TEXT)
    credentials = Credentials("x")

    def opening():
        password = credentials.get().reveal()
        try:
            driver(password)
        except DriverError as exc:
            raise Denied(f"'host' refuses {password}. Correct it.", held=exc) from exc

    with pytest.raises(Denied, match=r"'host' refuses \*{8}. Correct it.") as caught, credentials.guard():
        opening()
    assert [type(e) for e in chain(caught.value)] == [Denied, ForeignError, ForeignError]
    assert caught.value.held == "<DriverError>"
    assert TEXT not in shown(caught.value) and not {"opening", "driver"} & frames(caught.value)


def test_guard_of_what_was_given(given):
    with pytest.raises(ForeignError) as caught, given.guard():
        driver("".join(TEXT))
    assert TEXT not in shown(caught.value)


def test_guards_within_guards(monkeypatch):
    monkeypatch.setenv("D6TSTORE_IN_PASSWORD", TEXT)
    outer, inner = Credentials("out"), Credentials("in")

    def both():
        with inner.guard():
            text = inner.get().reveal()
        driver(text)  # after the inner one has ended well

    with pytest.raises(ForeignError) as caught, outer.guard():
        both()
    assert TEXT not in shown(caught.value)
    with pytest.raises(ForeignError) as caught, contextlib.ExitStack() as stack:
        stack.enter_context(outer.guard())
        stack.enter_context(inner.guard())
        driver(inner.get().reveal())
    assert "driver" not in frames(caught.value) and TEXT not in repr(list(chain(caught.value)))


def test_guard_lets_ctrl_c_through_without_frames(monkeypatch):
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", TEXT)

    def interrupted(password):
        try:
            driver(password)
        except DriverError:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught, Credentials("x").guard():
        interrupted(Credentials("x").get().reveal())
    assert not {"interrupted", "driver"} & frames(caught.value) and TEXT not in shown(caught.value)


def test_guard_that_ends_well(monkeypatch):
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", TEXT)
    credentials = Credentials("x")
    with credentials.guard() as nothing:
        assert nothing is None and credentials.get().reveal() == TEXT
    with pytest.raises(ForeignError) as caught, credentials.guard():  # a pool, which opens another connection later
        driver("".join(TEXT))
    assert TEXT not in str(caught.value) and MASK in str(caught.value)


def test_guards_of_threads_are_apart(monkeypatch):
    names = [f"n{i}" for i in range(8)]
    for name in names:
        monkeypatch.setenv(f"D6TSTORE_{name.upper()}_PASSWORD", f"secret-of-{name}")
    barrier = threading.Barrier(len(names), timeout=60)

    def fail(name):
        credentials, failures = Credentials(name), []
        for _ in range(20):
            try:
                with credentials.guard():
                    text = credentials.get().reveal()
                    barrier.wait()
                    raise ValueError(f"{text} and not secret-of-n{(int(name[1:]) + 1) % 8}")
            except ForeignError as exc:
                failures.append(str(exc).split(" (")[0])
        return set(failures)

    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(fail, names))
    assert found == [{f"ValueError: {MASK} and not secret-of-n{(i + 1) % 8}"} for i in range(8)]


class Failing(Backend):
    """A backend that opens by a driver that fails."""

    @classmethod
    def open(cls, url, credentials=None, **options):
        driver(credentials.get().reveal(), url)

    read = write = delete = list = None


def test_opening_a_place_leaves_no_frame_of_it(monkeypatch):
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", TEXT)
    monkeypatch.setattr(registry, "_backend_class", lambda name: Failing)
    with pytest.raises(BackendError) as caught:
        registry.open_backend("failing://host", Credentials("x"))
    cause = f"test_credentials.DriverError: cannot log in to failing://host with {MASK}"
    assert f"'failing://host' cannot be opened: {cause}" in str(caught.value)
    assert "defect of test_credentials" in str(caught.value)
    assert not {"open", "driver"} & frames(caught.value) and TEXT not in shown(caught.value)


# --------------------------------------------------------------- what is asked of a keyring


def test_one_question_for_a_secret(ring, monkeypatch):
    ring.kept["d6tstore:x", "password"] = TEXT
    assert Credentials("x").get().reveal() == TEXT
    assert ring.calls == [("get", "d6tstore:x", "password")]
    ring.calls.clear()
    monkeypatch.setenv("D6TSTORE_X_PASSWORD", TEXT)
    Credentials("x").get(), repr(Credentials("x")), Credentials("y").origin()
    assert ring.calls == [], "the environment goes first, and a repr asks nothing"


def test_no_secret_stays_in_the_index(ring):
    vault.put("x", "password", Secret(TEXT))
    vault.put("x", "password", Secret(TEXT + "2"))
    assert ring.kept == {("d6tstore:x", "password"): TEXT + "2", ("d6tstore", "names"): '[["x", "password"]]'}
    assert vault.delete("x", "password") and not vault.delete("x", "password")
    assert vault.names() == set()
    assert TEXT not in repr(ring.kept)


def test_many_names_go_into_pieces(ring):
    wanted = {(f"etl@db{i}.example.com:5432", "password") for i in range(100)}
    for name, field in wanted:
        vault.put(name, field, Secret(TEXT))
    assert vault.names() == wanted
    pieces = {user: value for (service, user), value in ring.kept.items() if service == "d6tstore"}
    assert len(pieces) > 3 and max(map(len, pieces.values())) <= 1_000
    for name, field in wanted:
        assert vault.delete(name, field)
    assert vault.names() == set()
    assert ring.kept == {("d6tstore", "names"): "[]"}


@pytest.mark.parametrize("broken", ["", "no json", "3", "null", '[["x"]]', '{"a": 1}', "[1, 2]"])
def test_a_broken_index_is_written_anew(ring, broken):
    ring.kept["d6tstore", "names"] = broken
    assert vault.names() <= {("x",)}
    vault.put("y", "password", Secret(TEXT))
    assert json.loads(ring.kept["d6tstore", "names"]) == [["y", "password"]]


def test_an_entry_that_somebody_emptied_is_none(ring):
    ring.kept["d6tstore:x", "password"] = ""
    assert Credentials("x").find() is None


def test_a_store_without_secrets_imports_no_keyring():
    code = "import d6tstore.config, sys; d6tstore.init('memory://'); print('keyring' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["False"], "")
