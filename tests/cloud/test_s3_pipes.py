"""Pipes to S3: who pushes at once, is killed, cut off, refused; objects and indexes that lie."""

import os
import threading
import zlib
from urllib.parse import unquote

import msgspec
import pytest
from pipe_people import Blob, Frame, Number, Person, Process, pull_while_computing, race, whole
from s3proxy import ACCESS_DENIED, SLOW_DOWN

from d6tstore.errors import BackendError, Damaged, Denied, ExchangeFailed, NotFound
from d6tstore.sharing import bulk, journal
from d6tstore_plugins.cloud.s3 import S3Backend


@pytest.fixture
def people(place, tmp_path):
    def made(name, keys=None, **settings):
        credentials = (place.known(keys) if keys else place.credentials).name
        return Person(tmp_path / name, f"{place.url}&lease=2", credentials=credentials, **settings)

    return made


@pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)
def test_two_push_at_once(ann, bob, place, tmp_path):
    race(ann, bob, tmp_path)


# --------------------------------------------------------------------------- killed, cut off


def puts(place, begun):
    """What was sent since, without our own housekeeping: objects, and records."""
    sent = [unquote(path).partition("?")[0] for method, path in place.proxy.requests[begun:] if method == "PUT"]
    plain = [path for path in sent if "/.d6tstore/" not in path]
    return plain, [path for path in sent if "/.d6tstore/records/" in path]


def kill_at(place, process, call, number, method, path, **options):
    """Kill a process when its request of that number is under way."""
    with place.proxy.when(method, path=path, rate=2_000) as rule:
        process.ask(call, **options)
        while len(rule.hits) < number and process.child.poll() is None:
            threading.Event().wait(0.005)
        process.kill()
    return len(rule.hits)


@pytest.mark.skipif(os.name == "nt", reason="this system has no SIGKILL")
@pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)
@pytest.mark.parametrize(
    ("number", "path"), [(1, "/Number/"), (7, "/Number/"), (1, "/records/"), (9, "/records/"), (1, "/log/")]
)
def test_killed_while_it_pushes(ann, bob, place, number, path):
    tasks = [Number(n=n) for n in range(12)]
    ann.run(*tasks)
    process = Process(ann.store.repository.default.root, ann.url, **ann.settings).ready()
    kill_at(place, process, "push", number, "PUT", path)
    whole(ann.store, ann.there)
    arrived = {entry.key for entry in ann.pipe.there.default.list("Number/")}
    begun = len(place.proxy.requests)
    done = ann.pipe.push(message="again")
    objects, records = puts(place, begun)
    sent = {path.partition(f"{place.prefix}/")[2] for path in objects}
    assert not sent & arrived and len(sent | arrived) == 12 and len(objects) == len(sent), (sent, arrived)
    assert len(records) == len(done.new)
    assert {item.action for item in ann.pipe.push_preview()} == {"same"}
    logged = journal.written_ids(ann.pipe.log())
    assert logged == {task.id: ann.record(task).write_id for task in tasks}
    assert len(bob.pipe.pull().new) == 12 and bob.store.complete(tasks)
    whole(ann.there, bob.store)


@pytest.mark.skipif(os.name == "nt", reason="this system has no SIGKILL")
@pytest.mark.parametrize(("number", "path"), [(1, "/Number/"), (8, "/Number/"), (2, "records")])
def test_killed_while_it_pulls(ann, bob, place, number, path):
    tasks = [Number(n=n) for n in range(12)]
    ann.run(*tasks)
    ann.pipe.push()
    process = Process(bob.store.repository.default.root, bob.url, **bob.settings).ready()
    kill_at(place, process, "pull", number, "GET", path)
    whole(bob.store, ann.there)
    arrived = {entry.key for entry in bob.store.repository.default.list("Number/")}
    begun = len(place.proxy.requests)
    bob.pipe.pull()
    got = {unquote(p).partition(f"{place.prefix}/")[2] for m, p in place.proxy.requests[begun:] if m == "GET"}
    assert not got & arrived and bob.store.complete(tasks)
    assert {item.action for item in bob.pipe.pull_preview()} == {"same"}
    whole(bob.store)


@pytest.mark.parametrize(
    ("method", "path", "rule"),
    [
        ("PUT", "/Blob/", {"cut_request": 100_000}),
        ("PUT", "/records/", {"cut_request": 50}),
        ("PUT", "/records/", {"cut_response": -1}),  # done, and we do not hear of it
        ("PUT", "/log/", {"cut_response": -1}),
        ("PUT", "/Number/", {"answer": SLOW_DOWN}),
    ],
)
def test_a_connection_that_is_cut_once(ann, bob, place, method, path, rule):
    """It is asked again; nothing is pushed twice, and nobody is told of a conflict with oneself."""
    tasks = [*(Number(n=n) for n in range(3)), Blob(n=1)]
    ann.run(*tasks)
    with place.proxy.when(method, path=path, times=1, **rule) as met:
        done = ann.pipe.push()
    assert met.hits and len(done.new) == 4
    whole(ann.there)
    assert [len(push.pushed) for push in ann.pipe.log()] == [4]
    with place.proxy.when("GET", path="/Blob/", times=1, cut_response=100):
        assert len(bob.pipe.pull().new) == 4
    assert bob.store.complete(tasks)


def test_a_listing_that_is_cut(ann, bob, place):
    """It is told, and never taken for the end of what there is."""
    tasks = [Number(n=n) for n in range(3)]
    ann.run(*tasks)
    ann.pipe.push()
    one, other = ann.pipe, bob.pipe
    for call in (one.push, other.pull, lambda: other.pull(prune=True), lambda: one.push(prune=True), one.verify):
        with place.proxy.when("GET", path="list-type", times=1, cut_response=200):
            try:
                call()
            except BackendError as exc:
                assert "list" in str(exc)
    other.pull()
    assert bob.store.complete(tasks) and ann.store.complete(tasks) and ann.there.complete(tasks)


@pytest.mark.parametrize("path", ["/Blob/", "/records/", "/log/", "list-type"])
def test_a_service_that_refuses_in_the_middle(ann, bob, place, path):
    tasks = [*(Number(n=n) for n in range(3)), Blob(n=1)]
    ann.run(*tasks)
    with place.proxy.when("GET" if path == "list-type" else "PUT", path=path, answer=ACCESS_DENIED):
        with pytest.raises((Denied, ExchangeFailed), match="AccessDenied"):
            ann.pipe.push()
    whole(ann.there)
    done = ann.pipe.push()
    assert len(done.new) + len(done.same) == 4
    assert journal.written_ids(ann.pipe.log()) == {task.id: ann.record(task).write_id for task in tasks}
    with place.proxy.when("GET", path=path, answer=ACCESS_DENIED):
        try:
            bob.pipe.pull()
        except (Denied, ExchangeFailed):
            assert path != "/log/"
    whole(bob.store)
    bob.pipe.pull()
    assert bob.store.complete(tasks)


def test_a_service_that_is_down(people, place, tmp_path):
    def driven(name):
        return people(name, driver="boto3")  # which does not wait for minutes

    ann, bob = driven("ann"), driven("bob")
    ann.run(Number(n=1), Number(n=2))
    ann.pipe.push()
    bob.pipe.pull(data=False)
    ann.run(Number(n=3))
    one, other = ann.pipe, bob.pipe
    with place.proxy.down():
        for call in (one.push, one.push_preview, other.pull, other.status, other.verify):
            with pytest.raises(BackendError, match="Is the endpoint right"):
                call()
        with pytest.raises(BackendError, match="Is the endpoint right") as raised:
            bob.load(Number(n=1))
        assert not isinstance(raised.value, NotFound)
    assert bob.load(Number(n=1))[0] == 1
    assert len(ann.pipe.push().new) == 1 and len(bob.pipe.pull().new) == 1


# ---------------------------------------------------------------------------------- rights


@pytest.mark.parametrize("place", ["moto", "seaweedfs"], indirect=True)
def test_who_may_not_write_is_refused_before_anything_is_sent(ann, people, place):
    ann.run(Number(n=1), Number(n=2))
    ann.pipe.push()
    reader = people("reader", keys=place.server.lacking["write"])
    reader.run(Number(n=3), Blob(n=1))
    begun = len(place.proxy.requests)
    with pytest.raises(Denied, match="nothing was transferred"):
        reader.pipe.push()
    assert puts(place, begun) == ([], [])
    assert len(reader.pipe.pull().new) == 2 and reader.store.complete(Number(n=1))
    assert reader.pipe.verify() == [] and len(reader.pipe.log()) == 1
    with pytest.raises(Denied):
        reader.pipe.push(prune=True)


@pytest.mark.parametrize("right", ["list", "read"])
def test_who_lacks_another_right_hears_of_it(ann, people, place, right):
    ann.run(Number(n=1))
    ann.pipe.push()
    other = people("other", keys=place.server.lacking[right])
    other.run(Number(n=2))
    for call in (other.pipe.pull, other.pipe.push, other.pipe.status):
        with pytest.raises((Denied, ExchangeFailed), match="AccessDenied|Ask for the rights"):
            call()
    assert other.record(Number(n=1)) is None


# ------------------------------------------------------------------------------------ lies


def test_an_index_that_is_a_bomb(ann, bob, place, monkeypatch):
    """A few kilobytes that unpack to gigabytes; bytes of another family; garbage: read past."""
    tasks = [Number(n=n) for n in range(40)]
    ann.run(*tasks)
    ann.pipe.push()
    backend = ann.pipe.there.default
    (index,) = list(backend._client.list(".d6tstore/index"))
    good = backend._client.get(index.key)
    forged = msgspec.msgpack.encode({"x": ("y", b"z")})
    for data in (zlib.compress(bytes(100 << 20), 9), b"", b"garbage", good[:-5], zlib.compress(forged), os.urandom(99)):
        backend._client.put(index.key, data)
        with monkeypatch.context() as patch:
            patch.setattr("d6tstore_plugins.cloud.index._LARGEST", 1 << 20)
            assert [item.action for item in bob.pipe.pull_preview()] == [
                "new"
            ] * 40  # the pipe is another one each time
    assert len(bob.pipe.pull().new) == 40 and bob.store.complete(tasks)


def test_an_index_with_forged_records(ann, bob, place):
    """Its tags are right, its records are not: what comes is compared with what they say, and the origin is ours."""
    tasks = [Number(n=n) for n in range(40)]
    ann.run(*tasks)
    ann.pipe.push()
    client = ann.pipe.there.default._client
    (index,) = list(client.list(".d6tstore/index"))
    known = msgspec.msgpack.decode(zlib.decompress(client.get(index.key)))
    key = ann.record(tasks[0]).key
    told = msgspec.json.decode(known[key][1])
    told["outputs"]["data"]["key"] = "../../x"
    known[key] = [known[key][0], msgspec.json.encode(told)]
    client.put(index.key, zlib.compress(msgspec.msgpack.encode(known)))
    with pytest.raises(ExchangeFailed, match="damaged or forged") as raised:
        bob.pipe.pull()
    assert [item.id for item in raised.value.exchange.problems] == [tasks[0].id] and bob.store.complete(tasks[1:])


def test_objects_that_are_far_larger(ann, bob, place):
    ann.run(Number(n=1), Number(n=2))
    ann.pipe.push()
    bob.pipe.pull(data=False)
    key = ann.record(Number(n=1)).outputs["data"].key
    ann.pipe.there.default.write(key, bytes(30 << 20))
    before = place.proxy.sent
    with pytest.raises(Damaged, match=r"has 31,457,280 bytes, its record says"):
        bob.load(Number(n=1))
    with pytest.raises(ExchangeFailed, match="has 31457280 bytes"):
        bob.pipe.pull()
    assert [problem.id for problem in bob.pipe.verify()] == [Number(n=1).id]
    assert place.proxy.sent - before < 1 << 20, "it was read"
    assert ann.pipe.verify(repair=True) == [] and bob.load(Number(n=1))[0] == 1


def test_bytes_that_change_on_the_way(ann, bob, place):
    ann.run(Number(n=1), Blob(n=1), Frame(rows=100))
    ann.pipe.push()
    with place.proxy.when("GET", path="(?<!records)/(Number|Blob|Frame)/", flip_response=3):
        with pytest.raises(ExchangeFailed, match="is not what its record says") as raised:
            bob.pipe.pull()
    assert len(raised.value.exchange.problems) == 3
    bob.pipe.pull(data=False)
    with place.proxy.when("GET", path="(?<!records)/(Number|Blob|Frame)/", flip_response=3):
        for task in (Number(n=1), Frame(rows=100)):
            with pytest.raises(Damaged):
                bob.load(task)
    assert bob.load(Frame(rows=100), columns=["i"], where=[("i", "<", 2)]).i.tolist() == [0, 1]
    assert len(bob.pipe.pull().restored) == 2


def test_loaded_later_by_many_at_once(ann, bob, place):
    tasks = [Number(n=n) for n in range(6)]
    ann.run(*tasks)
    ann.pipe.push()
    bob.pipe.pull(data=False)
    processes = [Process(bob.store.repository.default.root, bob.url, **bob.settings).ready() for _ in range(2)]
    for process in processes:
        process.ask("load", n=list(range(6)), times=3)
    for process in processes:
        assert process.answer()["loaded"] == sorted(list(range(6)) * 3)
        process.end()
    whole(bob.store)


def test_gc_between_objects_and_records(ann, place, monkeypatch):
    """What it takes is sent again."""
    tasks = [Number(n=n) for n in range(4)]
    ann.run(*tasks)
    there, collected, create = ann.there, [], bulk.create

    def racing(*given):
        if not collected:
            collected.append(there.gc(older_than=-3600).keys)
        return create(*given)

    monkeypatch.setattr(bulk, "create", racing)
    assert len(ann.pipe.push().new) == 4 and collected[0]
    whole(ann.there)


def test_a_pull_while_the_same_is_computed(ann, place, monkeypatch):
    """Into a store with claims and conditional writes."""
    name = place.credentials.name
    bob = Person(place.url.replace("?", "/bob?"), place.url, {"credentials": name}, credentials=name)
    pull_while_computing(ann, bob, monkeypatch)


def test_what_both_replace_stays_in_the_history(ann, bob, monkeypatch):
    """The one who is too late leaves what the other one keeps."""
    task = Number(n=1)
    ann.run(task)
    ann.pipe.push()
    bob.pipe.pull()
    before = ann.record(task).write_id
    for person in (ann, bob):
        person.run(task, force=task)
    swap, begun = S3Backend.compare_and_swap, []

    def racing(self, key, expected, data):
        if "/records/" in key and not begun:
            begun.append(key)
            ann.pipe.push()
        return swap(self, key, expected, data)

    monkeypatch.setattr(S3Backend, "compare_and_swap", racing)
    with pytest.raises(ExchangeFailed, match="changed by somebody else meanwhile"):
        bob.pipe.push()
    assert begun and [old.write_id for old in ann.there.history(task)] == [ann.record(task).write_id, before]
