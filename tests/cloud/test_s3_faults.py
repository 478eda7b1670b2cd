"""S3 that refuses, fails, lies or takes its time; keys as odd as they come; processes that fork and die."""

import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor

import pandas as pd
import pytest
from s3proxy import ACCESS_DENIED, EXPIRED_TOKEN, MOVED, NOT_IMPLEMENTED, SKEWED, SLOW_DOWN, WRONG_REGION
from s3servers import Keys

import d6tstore
from d6tstore.errors import BackendError, CredentialsError, Denied, Held, NotFound, UsageError
from d6tstore.repository import Repository
from d6tstore.store import Store
from d6tstore_plugins.cloud.lease import LeaseWarning
from d6tstore_plugins.cloud.parts import part_of
from d6tstore_plugins.cloud.s3 import S3Backend

INFO = {"who": "ann", "host": "here", "pid": "1"}
DRIVERS = ["obstore", "boto3"]


@pytest.fixture(params=DRIVERS)
def backend(request, place):
    backend = place.open(driver=request.param)
    yield backend
    backend.close()


# ------------------------------------------------------------------------ rights


@pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)
@pytest.mark.parametrize("driver", DRIVERS)
def test_each_right_alone_is_denied_and_never_absent(place, driver):
    place.open(driver=driver).write("a/x", b"1")
    for right, calls in {
        "read": [lambda b: b.read("a/x"), lambda b: b.read_many(["a/x", "a/y"]), lambda b: b.open_read("a/x").read()],
        "write": [lambda b: b.write("a/x", b"2"), lambda b: b.write_many({"a/z": b"2"}), lambda b: b.delete("a/x")],
        "list": [lambda b: list(b.list("a/"))],
    }.items():
        backend = place.open(place.server.lacking[right], driver=driver)
        for call in calls:
            with pytest.raises(Denied, match="Ask for the rights"):
                call(backend)
        backend.close()
    assert place.open(driver=driver).read("a/x") == b"1"


@pytest.mark.parametrize("driver", DRIVERS)
def test_keys_that_are_not_known(place, driver):
    for keys in (Keys("nobody", "x"), Keys(place.server.keys.id, "wrong")):
        backend = place.open(keys, driver=driver)
        with pytest.raises(Denied, match="correct the credentials|Ask for the rights"):
            backend.read("a")
        for shown in (repr(backend), backend.url, pickle.dumps(backend).decode("latin1")):
            assert keys.secret not in shown or len(keys.secret) < 3


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_error_shows_a_secret(place, driver):
    keys = Keys("known", "s3cret-of-ann/+%")
    for options in ({}, {"endpoint": "no url"}, {"endpoint": "http://127.0.0.1:9"}, {"ca": "/no/such/file"}):
        with pytest.raises(Exception) as caught:
            place.open(keys, driver=driver, **options).write("a", b"1")
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        theirs = "".join(line for line in shown.format() if "tests/cloud" not in line)
        assert keys.secret not in theirs, theirs


def test_a_session_token(place):
    backend = place.open(place.server.session())
    backend.write("a", b"1")
    assert backend.read("a") == b"1"


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (EXPIRED_TOKEN, Denied, "Sign in again"),
        (SKEWED, BackendError, "clock of this machine"),
        (WRONG_REGION, BackendError, r"\?region="),
        (MOVED, BackendError, r"\?region="),
    ],
)
def test_answers_of_s3_come_with_a_cure(backend, place, answer, kind, said):
    with place.proxy.when(answer=answer):
        for call in (lambda: backend.read("a"), lambda: backend.write("a", b"1"), lambda: list(backend.list())):
            with pytest.raises(kind, match=said) as caught:
                call()
            assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_such_bucket(place, driver):
    with pytest.raises(BackendError, match="Make the bucket") as caught:
        S3Backend.open(place.url.replace(place.bucket, "no-such-bucket"), place.credentials, driver=driver)
    assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///x",
        "s3://b/x#y",
        "s3://b?colour=red",
        "s3://b?path_style=perhaps",
        "s3://b/../x",
        "s3://b?lease=0",
    ],
)
def test_urls_that_are_none(url):
    with pytest.raises(UsageError):
        S3Backend.open(url)


# ------------------------------------------------------------------------- faults


def test_a_busy_service_is_asked_again(backend, place):
    with place.proxy.when(answer=SLOW_DOWN, times=2) as rule:
        backend.write("a", b"1")
    with place.proxy.when(answer=SLOW_DOWN, times=2):
        assert backend.read("a") == b"1"
    assert len(rule.hits) == 2


def test_denied_is_not_asked_again(backend, place):
    with place.proxy.when(answer=ACCESS_DENIED) as rule, pytest.raises(Denied):
        backend.read("a")
    assert len(rule.hits) == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_nobody_says_who_we_are(place, driver, monkeypatch):
    for where in (place.url, place.url.partition("&region")[0]):
        with pytest.raises(CredentialsError, match="d6tstore credentials set NAME access_key"):
            S3Backend.open(where, driver=driver)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("named", [True, False])
def test_a_profile_that_is_not_there(place, driver, named):
    with pytest.raises(BackendError, match=r"\(nope\).*list-profiles"):
        S3Backend.open(f"{place.url}&profile=nope", place.credentials if named else None, driver=driver)


def test_variables_of_the_rust_client_are_not_those_of_ours(place, monkeypatch):
    for name, value in (("ENDPOINT", "http://127.0.0.1:1"), ("SKIP_SIGNATURE", "true"), ("REGION", "nowhere-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", place.proxy.url)  # as boto3 has it
    url = f"s3://{place.bucket}/x"
    for driver in DRIVERS:
        backend = S3Backend.open(url, place.credentials, driver=driver)
        backend.write("a", b"1")
        assert backend.read("a") == b"1"
        backend.close()


@pytest.mark.parametrize(
    ("bucket", "region", "endpoint"),
    [
        ("data", "cn-north-1", "https://data.s3.cn-north-1.amazonaws.com.cn"),
        ("data", "eu-west-1", "https://data.s3.eu-west-1.amazonaws.com"),
        ("dotted.data", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
    ],
)
def test_both_clients_ask_the_same_service(bucket, region, endpoint):
    backend = S3Backend(f"s3://{bucket}/x?region={region}&anonymous=true")
    assert backend._client._store.config["endpoint"] == endpoint
    backend.close()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signals to threads")
def test_ctrl_c_ends_the_wait_for_a_mute_service(place):
    backend = place.open()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell may have told us to ignore it
    with place.proxy.when(latency=120), contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGINT, before)
        begun = time.monotonic()
        threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            backend.read("a")
        assert time.monotonic() - begun < 60


def test_a_sign_in_that_is_over_is_told_with_its_cure(place, monkeypatch, tmp_path):
    sso = {"start_url": "https://x.awsapps.com/start", "region": "us-east-1", "account_id": "1", "role_name": "x"}
    told = [f"sso_{name} = {value}" for name, value in sso.items()]
    told = ["[profile sso]", *told, "[profile process]", "credential_process = false", ""]
    (tmp_path / "config").write_text("\n".join(told))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for profile in ("sso", "process"):
        for driver in DRIVERS:
            with pytest.raises(CredentialsError, match="aws sso login"):
                S3Backend.open(f"{place.url}&profile={profile}", driver=driver)


def test_closing_waits_for_what_is_under_way(backend, place):
    backend.write("a", b"12")
    found = []
    with place.proxy.when("GET", latency=1) as rule:
        reader = threading.Thread(target=lambda: found.append(backend.read("a")), daemon=True)
        reader.start()
        while not rule.hits:
            threading.Event().wait(0.01)
        backend.close()
        reader.join(20)
    assert found == [b"12"] and backend.read("a") == b"12"


def test_nobody_listens(place):
    backend = place.open(driver="boto3")
    with place.proxy.down(), pytest.raises(BackendError, match="Is the endpoint right"):
        backend.read("a")


@pytest.mark.parametrize("size", [100_000, 20 << 20])
def test_a_connection_that_is_cut(backend, place, size, tmp_path):
    data = os.urandom(1 << 20) * (size >> 20) if size > 1 << 20 else os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    backend.write("a", b"before")
    with place.proxy.when("PUT", cut_request=50_000, times=1) as rule:
        backend.write("a", tmp_path / "file")
    assert rule.hits
    with place.proxy.when("GET", cut_response=50_000, times=1) as rule:
        assert backend.read("a") == data
    assert rule.hits


def test_a_body_that_ends_early_is_not_taken_for_whole(backend, place):
    backend.write("a", b"x" * 100_000)
    with place.proxy.when("GET", path="/a$", truncate=50_000):
        try:
            assert len(backend.read("a")) == 50_000  # as the service says: records tell the size
        except BackendError:
            pass


@pytest.mark.parametrize("place", ["seaweedfs"], indirect=True)
def test_bytes_that_change_on_the_way_up_are_refused(backend, place):
    backend.write("a", b"before")
    with place.proxy.when("PUT", flip_request=50_000), pytest.raises(BackendError):
        backend.write("a", b"x" * 100_000)
    assert backend.read("a") == b"before"


@pytest.mark.parametrize("place", ["seaweedfs"], indirect=True)  # to moto all uploads began in 2010
def test_parts_of_uploads_that_never_ended_are_cleaned(backend, place):
    client = place.server.boto()
    client.create_multipart_upload(Bucket=place.bucket, Key=f"{place.prefix}/a/x")
    assert backend.clean(time.time() - 3600) == []
    assert list(backend.clean(time.time() + 3600)) == ["a/x"]
    assert "Uploads" not in client.list_multipart_uploads(Bucket=place.bucket)


UPLOADING = """
from d6tstore.credentials import Credentials
from d6tstore_plugins.cloud.s3 import S3Backend
S3Backend.open({url!r}, Credentials({name!r}), driver={driver!r}).write("a/x", __import__("pathlib").Path({file!r}))
"""


@pytest.mark.skipif(os.name == "nt", reason="this system has no SIGKILL")
@pytest.mark.parametrize("place", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize("driver", DRIVERS)
def test_who_is_killed_while_it_uploads_leaves_what_was_there(place, driver, tmp_path):
    backend = place.open()
    backend.write("a/x", b"before")
    (tmp_path / "file").write_bytes(os.urandom(1 << 20) * 60)
    program = UPLOADING.format(url=place.url, name=place.credentials.name, driver=driver, file=str(tmp_path / "file"))
    with place.proxy.when("PUT", path="partNumber", rate=4 << 20) as rule:
        child = subprocess.Popen([sys.executable, "-c", program])
        while not rule.hits and child.poll() is None:
            threading.Event().wait(0.05)
        child.kill()
        assert child.wait() == -9 and rule.hits
    assert backend.read("a/x") == b"before" and [entry.key for entry in backend.list()] == ["a/x"]
    store = Store(Repository(backend))
    store.gc(older_than=-60)  # the clock of the server may be behind
    client = place.server.boto()
    assert "Uploads" not in client.list_multipart_uploads(Bucket=place.bucket)
    assert backend.read("a/x") == b"before"


@pytest.mark.parametrize("size", [1, 8 << 20, 5 << 30, (5 << 30) + 1, 80 << 30, 5 << 40])
def test_large_objects_have_no_more_parts_than_s3_takes(size):
    part = part_of(size)
    assert -(-size // part) <= 10_000 and 5 << 20 <= part <= 5 << 30


# --------------------------------------------------------------------------- keys

ODD = [
    "a b", "a+b", "a%b", "a%20b", "a%2Fb", "a#b", "a?b", "a&b=c", "ü😀", "ab:c", "[x]{y}|^`<>\"'", "~", "*", "..x",
    "/".join(["x" * 200] * 4) + "/" + "y" * 100,
]  # fmt: skip


@pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)
def test_odd_keys(backend, place):
    with getattr(place.server, "trusting", contextlib.nullcontext)():  # moto cannot check listings of such prefixes
        _odd_keys(backend, place)


def _odd_keys(backend, place):
    backend.write_many({key: key.encode() for key in ODD})
    assert backend.read_many(ODD) == {key: key.encode() for key in ODD}
    assert {entry.key for entry in backend.list()} == set(ODD)
    with backend.open_read("a%20b") as file:
        assert file.seek(1) == 1 and file.read(3) == b"%20"
    client = place.server.boto()
    stored = {e["Key"] for e in client.list_objects_v2(Bucket=place.bucket)["Contents"]}
    assert stored == {f"{place.prefix}/{key}" for key in ODD}, "others see the keys as they are"
    for key in ODD:
        backend.delete(key)
    assert list(backend.list()) == []


def test_keys_of_others_that_no_store_has_are_left_out(backend, place):
    client = place.server.boto()
    backend.write_many({"a/x": b"1", "b": b"2"})
    for key in ("a//b", "a/../c", "a/x\\y", "a/folder/"):
        client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/{key}", Body=b"")
    assert sorted(entry.key for entry in backend.list()) == ["a/x", "b"]
    assert [entry.key for entry in backend.list("a/")] == ["a/x"]


def test_a_file_is_of_one_object_even_if_another_takes_its_place(backend):
    backend.write("a", b"1" * 200_000)
    with backend.open_read("a") as file:
        assert file.read(10) == b"1" * 10
        backend.write("a", b"2" * 200_000)
        with pytest.raises(BackendError):
            file.seek(100_000), file.read()


def test_a_file_is_read_by_few_requests(backend, place):
    data = os.urandom(1 << 20) * 40
    backend.write("a", data)
    with backend.open_read("a") as file:
        begun = len(place.proxy.requests)
        assert file.read() == data and len(place.proxy.requests) - begun <= 3  # in ranges, at once
        assert file.seek(-5, 2) == len(data) - 5 and file.read() == data[-5:]


def test_more_than_a_page_of_keys(place):
    backend = place.open()
    backend.write_many({f"many/{number}": b"" for number in range(1_203)})
    assert len(list(backend.list("many/"))) == 1_203
    assert len(backend.stat([f"many/{number}" for number in range(5_000)])) == 1_203


# -------------------------------------------------------------------------- claims


def test_a_claim_is_renewed_while_it_is_held(place):
    first, second = place.open(lease=1), place.open(lease=1)
    with first.claim("k", INFO):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            with pytest.raises(Held) as caught, second.claim("k", {"who": "bob"}):
                pass
            assert caught.value.info == INFO
            threading.Event().wait(0.2)
    with second.claim("k", INFO):
        pass
    assert list(first.list()) == [], "claims are no objects"


def test_a_service_without_conditional_writes_has_no_claims_and_says_so(place):
    with place.server.trusting(), place.proxy.when("PUT", drop=("if-none-match", "if-match")):
        first, second = place.open(), place.open()
        with pytest.warns(LeaseWarning, match="no conditional writes.*All results are right"), first.claim("k", INFO):
            with pytest.warns(LeaseWarning), second.claim("k", INFO):
                pass
    with place.proxy.when("PUT", answer=NOT_IMPLEMENTED):
        third = place.open(driver="boto3")
        with pytest.warns(LeaseWarning), third.claim("k", INFO):
            pass


def test_a_claim_that_was_lost_is_not_taken_back(place):
    first, second = place.open(lease=1), place.open(lease=1)
    with first.claim("k", INFO):
        at = ".d6tstore/claims/k.json"
        first._client.put(at, json.dumps({"info": {"who": "bob"}, "seconds": 60.0}).encode())
        threading.Event().wait(1.0)
    with pytest.raises(Held) as caught, second.claim("k", INFO):
        pass
    assert caught.value.info == {"who": "bob"}


def test_who_was_away_leaves_the_claim_of_somebody_else_alone(place):
    first, second, third = (place.open(lease=1) for _ in range(3))
    ours = first.claim("k", INFO)
    ours.__enter__()
    first._leases._wake.set()  # as if it were suspended
    theirs = None
    for _ in range(50):
        try:
            theirs = second.claim("k", {"who": "bob"})
            theirs.__enter__()
            break
        except Held:
            threading.Event().wait(0.1)
    ours.__exit__(None, None, None)
    with pytest.raises(Held) as caught, third.claim("k", INFO):
        pass
    assert caught.value.info == {"who": "bob"}
    theirs.__exit__(None, None, None)
    with third.claim("k", INFO):
        pass


def test_a_renewal_that_stalls_keeps_no_other(place):
    first, second = place.open(lease=1), place.open(lease=1)
    with first.claim("stalls", INFO), first.claim("k", INFO):
        with place.proxy.when("PUT", path="/claims/stalls", latency=4, times=1):
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                with pytest.raises(Held), second.claim("k", {"who": "bob"}):
                    pass
                threading.Event().wait(0.2)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_child_leaves_the_claim_of_its_parent_alone(place, driver):
    first, second = place.open(driver=driver), place.open()
    with first.claim("k", INFO):
        pid = os.fork()
        if not pid:
            first._leases._release(".d6tstore/claims/k.json")
            os._exit(0)
        os.waitpid(pid, 0)
        with pytest.raises(Held), second.claim("k", INFO):
            pass


def test_a_claim_whose_answer_was_lost_is_ours_all_the_same(place, backend):
    with backend.claim("tried", INFO):
        pass
    with place.proxy.when("PUT", path="/claims/k", cut_response=-1, times=1) as rule:
        with backend.claim("k", INFO):
            assert rule.hits


# ----------------------------------------------------------------------- processes


class Number(d6tstore.tasks.TaskJson):
    n: int

    def run(self):
        self.save(self.n * 2)


@d6tstore.requires(Number)
class Frame(d6tstore.tasks.TaskPqPandas):
    def run(self):
        self.save(pd.DataFrame({"n": range(self.input().load()), "m": 1.5}))


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_a_flow_in_processes_and_threads(place, kind):
    store = d6tstore.Store(d6tstore.store.Repository(place.open()))
    with d6tstore.use(store):
        d6tstore.run([Frame(n=n) for n in range(1, 4)], workers=3)
        with ProcessPoolExecutor(2, multiprocessing.get_context(kind)) as pool:
            report = d6tstore.run([Frame(n=n) for n in range(1, 9)], executor=pool)
        assert len(report.ran) == 10
        assert Frame(n=8).output().load(columns=["n"], where=[("n", ">", 13)])["n"].tolist() == [14, 15]
        assert d6tstore.run([Frame(n=n) for n in range(1, 9)]).ran == []
        assert store.verify() == []


def test_forked_children_use_another_client(place):
    backend = place.open()
    backend.write("a", b"1")
    pid = os.fork()
    if not pid:
        try:
            backend.write("child", backend.read("a"))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert backend.read("child") == b"1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pickle.loads(pickle.dumps(backend)).read("child") == b"1"
