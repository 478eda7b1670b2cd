"""No secret shows anywhere, whatever is done: see `leaks.py`, to which each new feature adds a line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import guarded
import keyring_file
import leaks
import pytest

from d6tstore.credentials import variable_of

HERE = Path(__file__).parent
CORE = "Zq9Vk2Lm8Rt4"  # in each secret: what is left of it, however the rest is quoted
READS = f"r@ad/{CORE}%41:ü\"'"
SECRETS = {
    "awkward": f"p@s/s:w%r d?#&+{CORE}\"'\\ü€{{0}}%s",
    "lines": f"begin\n{CORE}\nend\t.",
}
MASTER = f"master-{CORE}"


def traces(data: bytes) -> set[str]:
    """Forms in which bytes show a secret; none of them touches the core but base64, hex and other encodings."""
    found = set()
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        raw = CORE.encode(encoding)
        if raw in data:
            found.add(encoding)
        if raw.hex().encode() in data.lower():
            found.add(f"{encoding}, hex")
        if raw[::-1] in data:
            found.add(f"{encoding}, reversed")
        for skip in range(3):  # the stretch that is the same wherever it begins
            coded = base64.b64encode(bytes(skip) + raw).rstrip(b"=")[(0, 2, 3)[skip] : -1]
            if coded in data or coded.replace(b"+", b"-").replace(b"/", b"_") in data:
                found.add(f"{encoding}, base64")
    return found


def search(folder: Path, streams: dict[str, str]) -> dict[str, set[str]]:
    """Where a secret shows: file or stream -> forms."""
    places = {name: text.encode(errors="replace") for name, text in streams.items()}
    for path in folder.rglob("*"):
        places[path.relative_to(folder).as_posix()] = str(path).encode(errors="replace") + b"\0" + (
            path.read_bytes() if path.is_file() else b""
        )  # fmt: skip
    return {name: found for name, data in places.items() if (found := traces(data))}


@pytest.fixture
def server(tmp_path):
    made = guarded.Server(tmp_path / "all" / "server", {})
    yield made
    made.close()


@pytest.fixture
def leo(postgres, database):
    """A role of the database with a password, its URLs, and the name of its credentials."""
    from postgres import connect

    name = f"leo_{database.schema}"

    def with_password(secret, in_url):
        with connect(postgres.get_uri()) as cursor:
            cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD %s", [secret])
            cursor.execute(f"GRANT CREATE ON DATABASE postgres TO {name}")
        end = f"?schema={database.schema}"
        url = postgres.tcp(name, quote(secret, safe="") if in_url else "") + end
        return url, postgres.tcp(f"nobody_{name}") + end, f"{name}@127.0.0.1:{postgres.port}"

    yield with_password
    with connect(postgres.get_uri()) as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
        if cursor.fetchone():
            cursor.execute(f"DROP OWNED BY {name} CASCADE")
            cursor.execute(f"DROP ROLE {name}")


@pytest.fixture
def use(tmp_path, server, leo):
    """Use all features in a process of its own. Returns what each came to, and where a secret shows."""

    def run(secret, where, leaking=False):
        folder = tmp_path / "all"
        home = folder / "home"
        for name in ("project", "tmp"):
            (home / name).mkdir(parents=True)
        server.users = {"ann": (READS, secret)}
        name = f"ann@{server.host}"
        (home / "project" / "d6tstore.toml").write_text(
            f'[profiles.shared]\nurl = "{server.url("ann")}"\ncredentials = "reader"\nwrite_credentials = "writer"\n'
        )
        database, nobodys, leos = leo(secret, where == "URL")
        own = {f"D6TSTORE_ANN_127_0_0_1_{server.port}_PASSWORD": secret} if where == "environment" else {}
        own |= {variable_of(leos, "password"): secret} if where == "environment" else {}
        own |= keyring_file.env_of(folder / "keyring.cfg", MASTER)
        own["PYTHONPATH"] = os.pathsep.join([own["PYTHONPATH"], str(guarded.install(home / "site"))])
        own |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "TMPDIR": str(home / "tmp")}
        own |= {"LEAKS_USERS_OWN": " ".join(k for k, v in own.items() if CORE in v), "COLUMNS": "250"}
        put = {"reader": READS, "writer": secret} | ({name: secret, leos: secret} if where == "keyring" else {})
        given = {
            "url": server.url("ann", password=secret if where == "URL" else None), "name": name,
            "secrets": [secret, READS], "dead": "guarded://ann@127.0.0.1:9/", "put": put, "where": where,
            "leaks": leaking, "database": database, "nobodys": nobodys,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", str(HERE / "leaks.py")], input=json.dumps(given),
            capture_output=True, text=True, cwd=home / "project", env={**os.environ, **own}, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3_000:]
        return json.loads(done.stdout.splitlines()[-1]), search(folder, {"stdout": done.stdout, "stderr": done.stderr})

    return run


@pytest.mark.parametrize(
    ("secret", "where"),
    [("awkward", "keyring"), ("awkward", "URL"), ("lines", "environment")],
)
def test_nothing_shows_a_secret(use, secret, where):
    wrong, shown = use(SECRETS[secret], where)
    assert shown == {}
    assert wrong == {}, "what was to work failed, or the other way round: then the test looks at something else"


def test_the_search_finds_every_leak(use):
    _, shown = use(SECRETS["awkward"], "keyring", leaking=True)
    found = {Path(name).stem for name in shown if "/shown/" in name}
    elsewhere = {"nothing", "object", "file"}
    assert found - elsewhere == set(leaks.LEAKS) - elsewhere
    assert "nothing" not in found
    assert [name for name in shown if name.startswith("server/")], "in an object"
    assert "utf-16-le" in shown["home/project/left.bin"]
    assert "utf-8, base64" in shown["home/project/shown/base64.txt"]
