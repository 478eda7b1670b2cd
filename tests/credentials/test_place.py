"""URLs and their secrets: whatever the secret is, it is found, and nothing but `given` has it."""

from __future__ import annotations

import traceback
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from d6tstore import place
from d6tstore.credentials import check_field, check_name
from d6tstore.credentials import words as secret_words
from d6tstore.credentials.words import is_secret
from d6tstore.errors import CredentialsError
from d6tstore.place import holds_secret, refuse_secrets, secrets_in, split

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
hosts = st.sampled_from(["db", "db.example.com:5432", "[::1]", "[::1]:5432", "h1,h2:5433", "10.0.0.1"])
schemes = st.sampled_from(["postgresql", "postgresql+psycopg2", "s3", "sftp", "x-y.z", "simplecache::s3", "jdbc:mysql"])
rests = st.sampled_from(["", "/", "/db", "/db?schema=x", "/a/b?x=1&y=#f", "?a", "#"])
ODD = ["p@ss", "a/b", "50%", "%zz", "p:w", "é", "\n", "#?&=", " ", "+", "%2F", "[", "\x00", "ß" * 20]


def spelled(secret: str) -> set[str]:
    """How a message may show a secret, where that is long enough not to occur by chance."""
    return {form for form in (secret, quote(secret, safe=""), repr(secret)[1:-1]) if len(form) > 3}


# --------------------------------------------------------------------- passwords


users = texts.filter(lambda text: ":" not in text)  # which no place has: it ends a user


@given(schemes, users, texts, hosts, rests)
def test_any_quoted_password_is_found_and_gone(scheme, user, password, host, rest):
    user, quoted = quote(user, safe=""), quote(password, safe="")
    at = split(f"{scheme}://{user}:{quoted}@{host}{rest}")
    assert at.given["password"].reveal() == password
    assert at.url == f"{scheme}://{user}@{host}{rest}"  # and so whatever the password was
    assert split(at.url) == at._replace(given={})


@pytest.mark.parametrize("password", ODD)
def test_odd_passwords(password):
    at = split(f"postgresql://etl:{quote(password, safe='')}@db/prices")
    assert (at.given["password"].reveal(), at.url, at.name) == (password, "postgresql://etl@db/prices", "etl@db")
    assert not any(form in f"{at} {at.advice()} {at.credentials()!r}" for form in spelled(password))


@given(texts, st.text("abcXYZ019-._~", max_size=9))
@example("token", "a")
def test_a_secret_parameter_is_found_in_any_place(value, other):
    assume(value.lower() not in ("true", "false", "yes", "no", "on", "off"))  # which are switches, not secrets
    for key in ("password", "token", "sig", "X-Amz-Signature", "api_key", "AccountKey", "SharedAccessKey"):
        for query in (urlencode({"a": other, key: value}), urlencode({key: value, "a": other})):
            at = split(f"https://host/path?{query}#end")
            assert [s.reveal() for s in at.given.values()] == [value]
            assert at.url == f"https://host/path?a={other}#end"


@given(texts)
def test_what_has_no_secret_stays_as_it_is(text):
    for url in (quote(text), f"/data/{quote(text)}", f"s3://bucket/{quote(text)}", f"x://u@h/{quote_plus(text)}?a=1"):
        assert split(url) == (url, "u" if url[0] == "x" and "://" in url else None, split(url).host, {})


UNTOUCHED = [
    "data", "./data", "~/data", "C:/x", "C:\\x\\y", "\\\\server\\share", "/a@b:c", "sqlite:///x.db", "file:///a/b",
    "memory://", "s3://bucket/key@version", "https://host:8080/path", "http://[::1]:80/x@y", "x://h?", "x://h#", "x://",
    "gs://b/a=1/b=2?c", "sqlite://", "u:p", "postgresql://h1:1,h2:2/db", "https://h/p?sort_key=a&partition_key=b",
    "zip://a.csv::https://h/x", "/data/12:30@home", "simplecache::s3://b/k", "C:/a@b", "/x y/Basic training",
    "C:\\Basic training",
    "/mnt/Visual Basic projects", "s3://b/basic structures/x", "/lake/token=5", "s3://b/p/token=5/x.parquet",
    "/data/model=svm,token=1-5f1c", "github://org:repo@main/path",
    "https://h/p?page_token=abc&x=1",
]  # fmt: skip


@pytest.mark.parametrize("url", UNTOUCHED)
def test_untouched(url):
    assert split(url).url == url and not split(url).given and split(url).name is None


@pytest.mark.parametrize(
    ("url", "shown", "name", "secrets"),
    [
        ("x://u@h", "x://u@h", "u@h", {}),
        ("x://u:@h", "x://u@h", "u@h", {}),
        ("redis://:pw@h:6379/0", "redis://h:6379/0", None, {"password": "pw"}),
        ("x://a%40b:pw@h/d", "x://a%40b@h/d", "a@b@h", {"password": "pw"}),
        ("x://u:p%zz@h", "x://u@h", "u@h", {"password": "p%zz"}),
        ("x://u:p%@h", "x://u@h", "u@h", {"password": "p%"}),
        ("x://u:p:q@h", "x://u@h", "u@h", {"password": "p:q"}),
        ("x://u:p@q@h", "x://u@h", "u@h", {"password": "p@q"}),
        ("x://u:p+q@h", "x://u@h", "u@h", {"password": "p+q"}),
        ("x://u:p@[::1]:5432/db", "x://u@[::1]:5432/db", "u@::1:5432", {"password": "p"}),
        ("x://u:p@h1,h2:1/db", "x://u@h1,h2:1/db", "u@h1+2Ch2:1", {"password": "p"}),
        ("x://jürgen@h", "x://jürgen@h", "j+C3+BCrgen@h", {}),
        ("x://_u@h", "x://_u@h", "0_u@h", {}),
        ("postgresql:///db?user=u&password=p", "postgresql:///db?user=u", None, {"password": "p"}),
        ("x://u:p@h/d?Token=t", "x://u@h/d", "u@h", {"password": "p", "token": "t"}),
        ("https://h/p#access_token=t&x=1", "https://h/p#x=1", None, {"access_token": "t"}),
        ("https://h/p?proxy=http%3A//u%3Ap%40h", "https://h/p", None, {"proxy_secret": "http://u:p@h"}),
        ("mssql:///?odbc_connect=SERVER%3Dx%3BPWD%3Dp", "mssql:///", None, {"odbc_connect_secret": "SERVER=x;PWD=p"}),
        ("simplecache::s3://k:s@b/x", "simplecache::s3://k@b/x", "k@b", {"password": "s"}),
    ],
)
def test_odd_urls(url, shown, name, secrets):
    at = split(url)
    assert (at.url, at.name) == (shown, name)
    assert {field: secret.reveal() for field, secret in at.given.items()} == secrets


@given(users, hosts)
def test_every_name_is_one(user, host):
    at = split(f"x://{quote(user, safe='')}@{host}")
    assert at.name is None or check_name(at.name)
    assert at.credentials() is not None


def test_different_users_have_different_names():
    users = ["a", "a@b", "ä", "a b", "a%20b", "A", "a,b", "_a", "-a", "a+b"]
    assert len({split(f"x://{quote(user, safe='')}@h").name for user in users}) == len(users)


# ------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    "url",
    [
        "x://u:hunter2/more@h/db", "x://u:hun?ter2more@h/db", "x://u:hun#ter2more@h/db?token=hunter2",
        "x://u:hunter2@x/more@h/db", "x://u:12/hunter2@h", "simplecache::x://u:hunter2/more@h",
        "host=h user=u password=hunter2", "Server=h;PWD=hunter2", "x://u:hunter2%ff@h", "x://h?token=hunter2%ff",
        " memory://u:hunter2@h", "memory:/u:hunter2@h", "//u:hunter2@h", "u:hunter2@h/db", ":hunter2@h",
        "mailto:hunter2@b",
        "jdbc:x://h;password=hunter2", "x://AccountName=a;AccountKey=hunter2", "x://u%3Ahunter2@h", "x://db:80@x:hunter2",
        "x://u:hunter2@h1,v:more@h2", "https://ghp_hunter2hunter2hunter2hunter2@h", "Bearer hunter2hunter2",
        "zip://a::https://u:hunter2/more@h", '"x://u:hunter2@h"', "URL=x://u:hunter2@h/db", "\ufeffx://u:hunter2@h",
        "x//u:hunter2@h", "https://proxy/http://u:hunter2@h/x", "x:///u:hunter2@h/db", "host=h client_secret=hunter2",
        "UID=u;secret_key=hunter2", "X-Api-Key: hunter2", "x://h;client_secret=hunter2",
    ],
)  # fmt: skip
def test_a_secret_in_a_wrong_form_is_refused_and_not_shown(url):
    with pytest.raises(CredentialsError, match="d6tstore credentials set") as caught:
        split(url)
    told = "".join(traceback.TracebackException.from_exception(caught.value.__cause__ or caught.value).format())
    assert not any(part in told for part in ("hun", "more", "ter2"))
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    inner = [value for frame in frames[1:] for value in frame.f_locals.values()]  # [0] is this test
    assert "ter2" not in repr(inner)


def test_advice_leads_to_a_url_that_finds_what_was_stored():
    with_name = split("x://u:p@h/db")
    assert with_name.advice() == "Store it with: d6tstore credentials set u@h password. Then write 'x://u@h/db'."
    without = split("redis://:p@h")
    assert without.advice().endswith("set h password. Then write 'redis://h' with credentials='h'.")
    assert without.credentials().name == "h" and split("x:///?token=t").credentials().name == "place"
    assert (
        split("x://u:p@h").advice("mine")
        == "Store it with: d6tstore credentials set mine password. Then write 'x://u@h'."
    )


# --------------------------------------------------------------- keys and options

SECRET = """
    password Password passwd PWD sslpassword passphrase db_pass secret client_secret token access_token sasToken api_key
    apikey X-Api-Key access_key aws_secret_access_key secretAccessKey account_key AccountKey private_key key sig
    signature X-Amz-Signature X-Amz-Security-Token encryption_key connection_string tokens jwt pat authorization
    pw passcode password1 client_secret_value auth_key pin user_pin
"""
PLAIN = """
    user host keepalives sslmode sslkey sslcert passfile_path schema sort_key partition_keys public_key keys_dir monkey
    key_prefix token_url durable namespace turkey pattern patch signal design timeout
    bypass compass spin pwm pinned
"""


@pytest.mark.parametrize("key", SECRET.split())
def test_keys_of_secrets(key):
    assert is_secret(key)


@pytest.mark.parametrize("key", PLAIN.split())
def test_keys_of_other_things(key):
    assert not is_secret(key)


@pytest.mark.parametrize(
    ("options", "at", "field"),
    [
        ({"password": "hunter2"}, "password", "password"),
        ({"password": b"hunter2"}, "password", "password"),
        ({"password": 12345}, "password", "password"),
        ({"client": {"deep": {"Api-Key": "hunter2"}}}, "client.deep.Api-Key", "api_key"),
        ({"proxies": ["http://p", "http://u:hunter2@p"]}, "proxies[1]", "password"),
        ({"token": {"value": "hunter2"}}, "token", "token"),
        ({"dsn": "host=h password=hunter2"}, "dsn", "password"),
        ({"u": "https://h?sig=hunter2"}, "u", "sig"),
        ({"u": "x://u:hunter2/more@h"}, "u", "password"),
        ({"key_file": "-----BEGIN RSA PRIVATE KEY-----hunter2"}, "key_file", "password"),
        ({"headers": {"X": "Bearer hunter2hunter2"}}, "headers.X", "password"),
        ({"cs": "AccountName=a;AccountKey=hunter2"}, "cs", "password"),
        ({"auth": ["u", "hunter2"]}, "auth", "password"),
        ({"auth": "u:hunter2"}, "auth", "password"),
        ({"headers": ["X-Api-Key: hunter2"]}, "headers[0]", "password"),
        ({"sas": "sv=1&sig=hunter2"}, "sas", "password"),
        ({"params": [["password", "hunter2"]]}, "params[0]", "password"),
        ({"urls": {"x://u:hunter2@h"}}, "urls[0]", "password"),
        ({"dsn": b"host=h password=hunter2"}, "dsn", "password"),
        ({"hosts": {"x://u:hunter2@h": 1}}, "a key of hosts", "password"),
    ],
)
def test_secrets_in_options(options, at, field):
    assert list(secrets_in(options)) == [(at, field)]
    with pytest.raises(CredentialsError) as caught:
        refuse_secrets(options, "warehouse")
    assert "hunter2" not in str(caught.value) and f"d6tstore credentials set warehouse {field}" in str(caught.value)


def test_credentials_of_one_host_are_not_sent_to_another():
    at = split("x://etl@db.evil.com:5432/x")
    for names in (("etl@db.example.com", None), ("mine", "w@db.example.com")):
        with pytest.raises(CredentialsError, match="of another host than 'db.evil.com:5432', and are not sent"):
            at.credentials(*names)
    for name in ("warehouse", "me@db.evil.com", "me@DB.evil.com:99", "etl@db.evil.com:5432"):
        assert at.credentials(name).name == name
    assert split("x://etl@[::1]:5432").credentials("a@::1:5432").name == "a@::1:5432"
    for url, options in (("x:///db?host=evil.com", {}), ("x://db.example.com/?hostaddr=6.6.6.6", {}),
                         ("x://db.example.com/", {"endpoint_url": "http://evil.com"})):  # fmt: skip
        with pytest.raises(CredentialsError, match="are those of another host"):
            split(url).credentials("etl@db.example.com", options=options)
    with pytest.raises(CredentialsError, match="are those of another host"):
        split("x://etl@db.example.com/?host=evil.com").credentials()
    assert split("x:///db?host=/run/socket").credentials("me@h").name == "me@h"
    assert split("/folder").credentials("me@example.com").name == "me@example.com"


@pytest.mark.parametrize("key", [*SECRET.split(), "proxy", "url", "1", "-", "x" * 99])
def test_the_field_in_an_advice_is_one_that_set_takes(key):
    assert secret_words.is_field(check_field(secret_words.field_of(key)))


def test_a_chain_of_urls():
    at = split("zip://a.csv::https://u:hunter2@h/x?token=t")
    assert (at.url, at.name) == ("zip://a.csv::https://u@h/x", "u@h")
    assert {field: secret.reveal() for field, secret in at.given.items()} == {"password": "hunter2", "token": "t"}


def test_what_a_message_shows_of_a_text():
    assert place.displayed("x://u:hunter2@h") == "'x://u@h'"
    assert "hunter2" not in place.displayed("u:hunter2@h") and place.displayed("word") == "'word'"


def test_options_without_secrets():
    refuse_secrets(
        {"columns": ["key", "value"], "token": "anon", "max_tokens": 100, "comment": "basic statistics"}, None
    )
    refuse_secrets({"token": "/home/me/key.json", "auth": "iam", "index": ["key", "date"], "store_token": "true"}, None)
    options = {"use_token": True, "password": "", "token": None, "secret": {}, "a": ["x://u@h", 3], "s": {"n": 1.5}}
    refuse_secrets(options, None)
    assert list(secrets_in(options)) == []


def test_a_name_that_may_be_a_secret_is_not_shown():
    assert place.shown_name("x://u:hunter2@h") == place.shown_name(None) == place.shown_name(["a"]) == "NAME"
    assert holds_secret("x://u:p@h") and not holds_secret("x://u@h")
