"""Passwords against a real server: the right error, the cure, and no secret anywhere."""

import logging
import pickle
import traceback
from urllib.parse import quote

import pyarrow as pa
import pytest
from postgres import GUARDED, PASSWORD, connect, free_port

import d6tstore
from d6tstore import registry
from d6tstore.access import SecretWarning
from d6tstore.errors import BackendError, CredentialsError, Denied

WRONG = "wr0ng-Gh7/x y"
TABLE = pa.table({"a": [1, 2]})


@pytest.fixture
def schema(postgres, database):
    """A schema that goes when the test ends; the role that gives a password makes it."""
    yield database.schema
    with connect(database.admin) as cursor:
        cursor.execute(f'DROP SCHEMA IF EXISTS "{database.schema}" CASCADE')


@pytest.fixture
def url(postgres, schema):
    return f"{postgres.tcp()}?schema={schema}"


@pytest.fixture
def variable(monkeypatch, postgres):
    """Set the password for user@host."""
    return lambda value, name=f"{GUARDED}_127_0_0_1_{postgres.port}": monkeypatch.setenv(
        f"D6TSTORE_{name.upper()}_PASSWORD", value
    )


def told(exc, caplog):
    """All that an error, its causes, its frames and the log tell."""
    parts, seen = [], set()

    def walk(one):
        if one is None or id(one) in seen:
            return
        seen.add(id(one))
        parts.extend([str(one), repr(one), repr(one.args), repr(vars(one))])
        frames = traceback.TracebackException.from_exception(one, capture_locals=True).stack
        parts.extend(repr((f.filename, f.name, f.locals)) for f in frames if f.filename != __file__)
        walk(one.__cause__)
        walk(one.__context__)

    walk(exc)
    return "\n".join([*parts, caplog.text, *(repr(record.__dict__) for record in caplog.records)])


def forms(secret):
    return {secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}


def refused(kind, caplog, action, *secrets):
    """The message of what an action raises, which tells no secret."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(BackendError) as caught:
        action()
    assert type(caught.value) is kind, caught.value
    everything = told(caught.value, caplog)
    for secret in (*secrets, PASSWORD):
        for form in forms(secret):
            assert form not in everything
    return str(caught.value)


def both_ways(backend):
    """By psycopg2, and by ADBC."""
    backend.write("a", b"1")
    backend.write_table("t", TABLE.to_reader())
    assert backend.read("a") == b"1"
    assert backend.read_table("t").read_all().equals(TABLE)
    backend.close()


# ------------------------------------------------------------------------- where from


def test_by_user_and_host(url, variable, caplog):
    caplog.set_level(logging.DEBUG)
    variable(PASSWORD)
    store = d6tstore.open(url)
    backend = next(iter(store.repository.backends()))
    both_ways(backend)
    both_ways(pickle.loads(pickle.dumps(backend)))
    for text in (repr(store), repr(backend), backend.url, caplog.text, str(pickle.dumps(backend))):
        assert not any(form in text for form in forms(PASSWORD))


def test_by_name(url, variable):
    variable(PASSWORD, "warehouse")
    store = d6tstore.open(url, credentials="warehouse")
    both_ways(next(iter(store.repository.backends())))


def test_in_the_url_it_is_masked(postgres, schema, caplog):
    caplog.set_level(logging.DEBUG)
    whole = f"{postgres.tcp(password=quote(PASSWORD, safe=''))}?schema={schema}"
    with pytest.warns(SecretWarning) as caught:
        store = d6tstore.open(whole)
    assert not any(form in str(warning.message) for warning in caught for form in forms(PASSWORD))
    backend = next(iter(store.repository.backends()))
    both_ways(backend)
    for text in (repr(store), repr(backend), backend.url, backend.uri("x"), caplog.text):
        assert not any(form in text for form in forms(PASSWORD))
    with pytest.raises(CredentialsError, match="must not leave this process"):
        pickle.dumps(backend)


def test_it_is_asked_at_each_connection(url, variable, caplog):
    variable(WRONG)
    refused(Denied, caplog, lambda: d6tstore.open(url), WRONG)
    variable(PASSWORD)
    backend = next(iter(d6tstore.open(url).repository.backends()))
    backend.close()
    variable(WRONG)
    assert "refuses" in refused(Denied, caplog, lambda: backend.read("a"), WRONG)
    variable(PASSWORD)
    both_ways(backend)


# ------------------------------------------------------------------------- refusals


def test_wrong_password(url, variable, caplog):
    variable(WRONG)
    text = refused(Denied, caplog, lambda: d6tstore.open(url), WRONG)
    assert f'password authentication failed for user "{GUARDED}"' in text and "correct user and credentials" in text


def test_no_password(url, caplog):
    text = refused(Denied, caplog, lambda: d6tstore.open(url))
    assert "no password supplied" in text and "credentials" in text


def test_unknown_role(postgres, caplog, monkeypatch):
    monkeypatch.setenv(f"D6TSTORE_MALLORY_127_0_0_1_{postgres.port}_PASSWORD", WRONG)
    assert "mallory" in refused(Denied, caplog, lambda: d6tstore.open(postgres.tcp("mallory")), WRONG)


def test_unknown_database(postgres, variable, caplog):
    variable(PASSWORD)
    text = refused(BackendError, caplog, lambda: d6tstore.open(postgres.tcp(database="nowhere")))
    assert '"nowhere" does not exist' in text and "Create the database, or correct its name" in text


def test_server_down(caplog, monkeypatch):
    port = free_port()
    monkeypatch.setenv(f"D6TSTORE_BOB_127_0_0_1_{port}_PASSWORD", WRONG)
    text = refused(BackendError, caplog, lambda: d6tstore.open(f"postgresql://bob@127.0.0.1:{port}/x"), WRONG)
    assert "refused" in text and "Is the server running, and the host right?" in text


def test_unknown_host(caplog, variable):
    variable(PASSWORD, "bob_no_such_host_invalid")
    text = refused(BackendError, caplog, lambda: d6tstore.open("postgresql://bob@no-such-host.invalid/x"))
    assert "no-such-host.invalid" in text and "Is the server running, and the host right?" in text


def test_sslmode_reaches_both_drivers(url, variable, caplog):
    """The server has no TLS: who requires it is refused."""
    variable(PASSWORD)
    both_ways(next(iter(d6tstore.open(f"{url}&sslmode=prefer").repository.backends())))
    text = refused(BackendError, caplog, lambda: d6tstore.open(f"{url}&sslmode=require"))
    assert "server does not support SSL, but SSL was required" in text
    text = refused(BackendError, caplog, lambda: bulk(f"{url}&sslmode=require"))
    assert "server does not support SSL, but SSL was required" in text


# ------------------------------------------------------------------------- ADBC alone


def bulk(url):
    """Only the connection of Arrow."""
    from d6tstore import place

    found = place.split(url)
    backend = registry.load(registry.BACKENDS, "postgresql")(found.url, credentials=found.credentials())
    with backend._connections.bulk():
        pass


def test_bulk_with_a_password(url, variable):
    variable(PASSWORD)
    bulk(url)


@pytest.mark.parametrize("password", [WRONG, None])
def test_bulk_refused(url, variable, caplog, password):
    if password:
        variable(password)
    text = refused(Denied, caplog, lambda: bulk(url), *([password] if password else []))
    assert "password" in text and "correct user and credentials" in text


def test_bulk_elsewhere(postgres, variable, caplog):
    variable(PASSWORD)
    text = refused(BackendError, caplog, lambda: bulk(postgres.tcp(database="nowhere")))
    assert "Create the database, or correct its name" in text
    down = free_port()
    text = refused(BackendError, caplog, lambda: bulk(postgres.tcp(password=quote(WRONG, safe=""), port=down)), WRONG)
    assert "Is the server running" in text
