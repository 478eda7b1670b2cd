"""The S3 servers and the network that tests of the object stores stand on: each thing they can do, once."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import s3proxy
import s3servers
from botocore.exceptions import BotoCoreError, ClientError
from s3proxy import Proxy


@pytest.fixture(params=["moto", "seaweedfs"])
def server(request):
    return getattr(s3servers, request.param)()


@pytest.fixture
def bucket(server):
    with server.bucket() as name:
        yield name


@pytest.fixture
def proxy(server):
    proxy = Proxy(server)
    yield proxy
    proxy.close()


@pytest.fixture
def s3(server, proxy, bucket):
    """put, get and list, through the proxy."""
    return Calls(server.boto(url=proxy.url), bucket)


class Calls:
    def __init__(self, client, bucket):
        self.client, self.at = client, {"Bucket": bucket}

    def put(self, key, data=b"x", **options):
        return self.client.put_object(**self.at, Key=key, Body=data, **options)["ETag"]

    def get(self, key, **options):
        return self.client.get_object(**self.at, Key=key, **options)["Body"].read()

    def list(self):
        return [entry["Key"] for entry in self.client.list_objects_v2(**self.at).get("Contents", [])]


def said(call, *arguments, **options):
    """The code of the error, or None."""
    try:
        call(*arguments, **options)
    except ClientError as exc:
        return exc.response["Error"]["Code"]


@pytest.mark.parametrize("key", ["a b+c%d#e?f&g=h", "%2F%20", "ü/ñ/日本/🎉", "k" * 1024, "ü" * 512])
def test_any_key_is_written_read_and_listed(s3, key):
    s3.put(key, b"hello")
    assert s3.get(key, Range="bytes=1-3") == b"ell" and s3.list() == [key]


def test_conditional_writes_have_one_winner(server, bucket):
    tag, clients, codes = Calls(server.boto(), bucket).put("old"), [server.boto() for _ in range(4)], []

    def write(client):
        calls = Calls(client, bucket)
        codes.append(("new", said(calls.put, "new", IfNoneMatch="*")))
        codes.append(("old", said(calls.put, "old", b"y", IfMatch=tag)))

    threads = [threading.Thread(target=write, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = ["PreconditionFailed"] * 3
    assert sorted(str(code) for key, code in codes if key == "new") == ["None", *lost]
    assert sorted(str(code) for key, code in codes if key == "old") == ["None", *lost]


def test_a_multipart_upload_is_listed_and_aborted(s3):
    begun = s3.client.create_multipart_upload(**s3.at, Key="big")["UploadId"]
    s3.client.upload_part(**s3.at, Key="big", UploadId=begun, PartNumber=1, Body=b"part")
    assert [upload["Key"] for upload in s3.client.list_multipart_uploads(**s3.at)["Uploads"]] == ["big"]
    s3.client.abort_multipart_upload(**s3.at, Key="big", UploadId=begun)
    assert not s3.client.list_multipart_uploads(**s3.at).get("Uploads") and s3.list() == []


@pytest.mark.parametrize("right", s3servers.RIGHTS)
def test_each_right_alone_is_missing(server, s3, right):
    s3.put("k")
    denied = Calls(server.boto(server.lacking[right]), s3.at["Bucket"])
    codes = {"read": said(denied.get, "k"), "write": said(denied.put, "k"), "list": said(denied.list)}
    assert codes == {**dict.fromkeys(s3servers.RIGHTS), right: "AccessDenied"}


def test_wrong_keys_are_refused(server, bucket):
    for keys, code in {
        s3servers.Keys("nobody", "secret"): "InvalidAccessKeyId",
        s3servers.Keys(server.keys.id, "wrong"): "SignatureDoesNotMatch",
    }.items():
        assert said(Calls(server.boto(keys), bucket).list) == code


def test_a_session_token_is_checked():
    moto = s3servers.moto()
    with moto.bucket() as bucket:
        assert said(Calls(moto.boto(moto.session()), bucket).put, "k") is None
        assert said(Calls(moto.boto(moto.session()._replace(token="no")), bucket).put, "k") == "InvalidToken"


def test_nothing_is_left_when_the_test_process_is_killed():
    code = "import s3servers; made = s3servers.moto(); print(made.process.pid, made.room, flush=True); input()"
    begun = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with begun:
        keeper, room = begun.stdout.readline().split()
        begun.kill()
    until = time.monotonic() + 30
    while os.path.exists(room) or os.path.exists(f"/proc/{keeper}"):
        assert time.monotonic() < until
        time.sleep(0.02)


# ---------------------------------------------------------------- the proxy


def test_requests_are_counted_and_wait(s3, proxy, bucket):
    with proxy.when("GET", "slow", latency=0.2) as rule:
        s3.put("slow")
        begin = time.monotonic()
        s3.get("slow")
    assert time.monotonic() - begin >= 0.2 and rule.hits == [("GET", f"/{bucket}/slow")]
    assert proxy.requests == [("PUT", f"/{bucket}/slow"), ("GET", f"/{bucket}/slow")]


@pytest.mark.parametrize("answer", [s3proxy.SLOW_DOWN, s3proxy.EXPIRED_TOKEN, s3proxy.SKEWED])
def test_an_answer_instead_of_the_server(s3, proxy, answer):
    with proxy.when("PUT", answer=answer, times=2):
        assert [said(s3.put, "k") for _ in range(3)] == [answer.code, answer.code, None]
    with proxy.when("GET", answer=s3proxy.ACCESS_DENIED):
        assert said(s3.get, "k") == "AccessDenied" and said(s3.put, "k") is None


@pytest.mark.parametrize("answer", [s3proxy.MOVED, s3proxy.WRONG_REGION])
def test_a_client_is_sent_to_another_region(s3, proxy, answer):
    with proxy.when("GET", "/k", answer=answer, times=1) as rule:
        s3.put("k")
        assert s3.get("k") == b"x" and rule.hits  # boto goes where it is told to, and no server here minds regions


def test_a_connection_is_cut_while_sending(s3, proxy):
    with proxy.when("PUT", cut_request=100_000), pytest.raises(BotoCoreError):
        s3.put("k", b"1" * 1_000_000)
    assert s3.list() == []


def test_a_connection_is_cut_while_receiving(s3, proxy):
    s3.put("k", b"1" * 1_000_000)
    with proxy.when("GET", cut_response=100_000), pytest.raises(BotoCoreError):
        s3.get("k")
    with proxy.when("PUT", cut_response=-1), pytest.raises(BotoCoreError):
        s3.put("done")
    assert s3.list() == ["done", "k"]


def test_a_body_is_damaged(server, proxy, s3):
    plain = Calls(server.boto(url=proxy.url, response_checksum_validation="when_required"), s3.at["Bucket"])
    s3.put("k", b"0123456789")
    with proxy.when("GET", flip_response=3):
        assert plain.get("k") == b"012\xcc456789"
        pytest.raises(BotoCoreError, s3.get, "k")  # boto knows a checksum, if the server kept one
    with proxy.when("GET", truncate=4):
        assert plain.get("k") == b"0123"
    with proxy.when("PUT", flip_request=3):
        refused = said(s3.put, "bad", b"0123456789")
    assert (refused is None) == isinstance(server, s3servers.Moto)


def test_a_listing_lags(s3, proxy):
    s3.put("a")
    assert s3.list() == ["a"]
    s3.put("b")
    with proxy.when("GET", lag=True):
        assert s3.list() == ["a"] and s3.get("b") == b"x"
    assert s3.list() == ["a", "b"]


def test_nobody_listens_for_a_while(s3, proxy):
    with proxy.down():
        pytest.raises(BotoCoreError, s3.put, "k")
    s3.put("k")


def test_a_server_without_conditional_writes():
    moto = s3servers.moto()
    proxy = Proxy(moto)
    with moto.bucket() as bucket, moto.trusting(), proxy.when("PUT", drop=("if-none-match", "if-match")):
        calls = Calls(moto.boto(url=proxy.url), bucket)
        calls.put("k")
        calls.put("k", b"y", IfNoneMatch="*")
        assert calls.get("k") == b"y"
    proxy.close()


def test_a_large_body_streams(s3, proxy):
    data = memoryview(bytes(50_000_000))
    s3.put("k", data.obj)
    with proxy.when("GET", rate=200_000_000) as rule:
        body, count = s3.client.get_object(**s3.at, Key="k")["Body"], 0
        while chunk := body.read(1 << 20):
            count += len(chunk)
    assert count == len(data) and rule.hits
