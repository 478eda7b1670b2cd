"""A backend that needs secrets, as a third party writes one, from `init` to `run`."""

import contextlib
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import guarded
import pytest

import d6tstore
from d6tstore import registry
from d6tstore.access import SecretWarning
from d6tstore.credentials import Credentials, vault
from d6tstore.credentials.secret import Secret
from d6tstore.errors import BackendError, CredentialsError, Denied, RunFailed
from d6tstore.testing import BackendTests

READS, WRITES = "read only/50%", "p@ss:w/rd ünï?#&'\"\\"


class Numbers(d6tstore.tasks.TaskJson):
    n: int = 3

    def run(self):
        self.save(list(range(self.n)))


@d6tstore.requires(Numbers)
class Total(d6tstore.tasks.TaskPickle):
    def run(self):
        self.save(sum(self.input().load()))


@pytest.fixture
def server(tmp_path):
    made = guarded.Server(tmp_path / "server", {"ann": (READS, WRITES), "bob": ("b", "bw")})
    yield made
    made.close()


@pytest.fixture
def variable(server):
    return f"D6TSTORE_ANN_127_0_0_1_{server.port}_PASSWORD"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(guarded.install(tmp_path / "site")))
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


class TestGuarded(BackendTests):
    secret = WRITES
    rounds, kills = 10, 3

    @pytest.fixture
    def backend(self, server, variable, monkeypatch):
        monkeypatch.setenv(variable, WRITES)
        self.server = server
        return guarded.GuardedBackend(server.url("ann"), Credentials(f"ann@{server.host}", user="ann"))

    @contextlib.contextmanager
    def denying(self, backend):
        self.server.refusing = True
        try:
            yield
        finally:
            self.server.refusing = False


# -------------------------------------------------------------------- where the secret comes from


def test_from_the_keyring(server, installed, keyring):
    vault.put(f"ann@{server.host}", "password", Secret(WRITES))
    store = d6tstore.init(server.url("ann"))
    assert store.run(Total()).ran == [Numbers(), Total()]
    assert set(server.logins) == {("ann", WRITES)}


def test_from_the_environment(server, installed, variable, monkeypatch):
    monkeypatch.setenv(variable, WRITES)
    assert d6tstore.init(server.url("ann")).run(Numbers()).ran == [Numbers()]


def test_by_the_name_of_other_credentials(server, installed, keyring):
    vault.put("numbers", "password", Secret(WRITES))
    assert d6tstore.init(server.url("ann"), credentials="numbers").run(Numbers()).ran == [Numbers()]


def test_by_profile(server, installed, keyring, project):
    profile = f"""
    [profiles.shared]
    url = "{server.url("ann")}"
    credentials = "reader"
    write_credentials = "writer"
    """
    (project / "d6tstore.toml").write_text(profile)
    vault.put("reader", "password", Secret(READS))
    vault.put("writer", "password", Secret(WRITES))
    store = d6tstore.init("shared")
    assert store.run(Total()).ran == [Numbers(), Total()]
    assert set(server.logins) == {("ann", READS), ("ann", WRITES)}
    again = pickle.loads(pickle.dumps(store))
    assert again.run(Total()).ran == []


def test_in_the_url_with_a_warning(server, installed, project):
    url = server.url("ann", password=WRITES)
    with pytest.warns(SecretWarning) as caught:
        store = d6tstore.init(url)
    (warning,) = caught
    command = f"d6tstore credentials set ann@{server.host} password"
    assert command in str(warning.message) and f"'{server.url('ann')}'" in str(warning.message)
    printed = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
    assert len(printed.strip().splitlines()) == 1, "the source line holds the secret"
    assert store.run(Total()).ran == [Numbers(), Total()]
    texts = [
        str(warning.message),
        printed,
        repr(store),
        Total().output().uri,
        repr(Total().output()),
        *written(project),
    ]
    assert not [text for text in texts if "w/rd" in text or "w%2Frd" in text]


def written(folder):
    return [path.read_bytes().decode("latin-1") for path in folder.parent.rglob("*") if path.is_file()]


# --------------------------------------------------------------------------- what goes wrong


def test_none_anywhere(server, installed):
    with pytest.raises(
        CredentialsError, match="no password for 'ann@127.0.0.1.*credentials set ann@127.*D6TSTORE_ANN_"
    ):
        d6tstore.init(server.url("ann"))


def test_nobody_named(server, installed):
    with pytest.raises(CredentialsError, match="nothing names the credentials of this place. Write user@host"):
        d6tstore.init(f"guarded://{server.host}/")


def test_a_wrong_password(server, installed, variable, monkeypatch):
    monkeypatch.setenv(variable, "wrong-" + WRITES)
    with pytest.raises(Denied, match=r"guarded://ann@127\S+ does not accept the password of ann") as caught:
        d6tstore.init(server.url("ann"))
    assert "w/rd" not in repr(caught.value) and caught.value.__cause__ is caught.value.__context__ is None


def test_an_empty_variable(server, installed, variable, monkeypatch):
    monkeypatch.setenv(variable, "")
    with pytest.raises(CredentialsError, match=f"{variable} is empty"):
        d6tstore.init(server.url("ann"))


def test_a_role_that_may_only_read(server, installed, variable, monkeypatch):
    monkeypatch.setenv(variable, WRITES)
    d6tstore.init(server.url("ann")).run(Numbers())
    monkeypatch.setenv(variable, READS)
    store = d6tstore.init(server.url("ann"))
    assert Numbers().output().load() == [0, 1, 2]
    with pytest.raises(RunFailed) as caught:
        store.run(Total())
    assert isinstance(caught.value.__cause__, Denied)
    assert "ann may not PUT 'Total/" in str(caught.value.__cause__)
    assert store.run(Numbers()).ran == []


def test_rotation_while_open(server, installed, keyring):
    name = f"ann@{server.host}"
    vault.put(name, "password", Secret(WRITES))
    store = d6tstore.init(server.url("ann"))
    store.run(Numbers())
    server.users["ann"] = ("r2", "w2")
    with pytest.raises(Denied):
        Numbers().output().load()
    vault.put(name, "password", Secret("w2"))
    assert store.run(Total()).ran == [Total()], "the next use takes the new one"


def test_the_server_goes_away(server, installed, variable, monkeypatch):
    monkeypatch.setenv(variable, WRITES)
    store = d6tstore.init(server.url("ann"))
    server.close()
    with pytest.raises(BackendError, match="cannot be reached: .*refused.*Start it") as caught:
        store.complete(Numbers())
    assert type(caught.value.__cause__).__name__ == "ForeignError"
    server.thread.start = server.http.shutdown = server.http.server_close = lambda: None


# --------------------------------------------------------------------- threads and processes


def test_threads(server, installed, keyring):
    vault.put(f"ann@{server.host}", "password", Secret(WRITES))
    store = d6tstore.init(server.url("ann"))
    with ThreadPoolExecutor(4) as pool:
        assert len(store.run([Total(n=n) for n in range(4)], executor=pool).ran) == 8


def test_other_processes_find_it_by_name(server, installed, variable, monkeypatch):
    monkeypatch.setenv(variable, WRITES)
    store = d6tstore.init(server.url("ann"))
    with ProcessPoolExecutor(1) as pool:
        assert len(store.run(Total(), executor=pool).ran) == 2


def test_a_secret_of_the_url_stays_in_this_process(server, installed):
    with pytest.warns(SecretWarning):
        store = d6tstore.init(server.url("ann", password=WRITES))
    command = f"d6tstore credentials set ann@{server.host} password; then remove it from the URL"
    with pytest.raises(CredentialsError, match="must not leave this process") as caught:
        pickle.dumps(store)
    assert command in str(caught.value)
    with ProcessPoolExecutor(1) as pool, pytest.raises(RunFailed) as caught:
        store.run(Total(), executor=pool)
    assert isinstance(caught.value.__cause__, CredentialsError) and command in str(caught.value.__cause__)
    assert {type(outcome.error) for outcome in caught.value.report} == {CredentialsError, type(None)}
    assert store.run(Total(), workers=2).ran == [Numbers(), Total()]
