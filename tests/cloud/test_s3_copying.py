"""Copies of results from and to S3, through a network that fails."""

import pandas as pd
import pytest
from s3proxy import ACCESS_DENIED

import d6tstore
from d6tstore.repository import Repository
from d6tstore.store import Store


class Number(d6tstore.tasks.TaskJson):
    n: int = 0

    def run(self):
        self.save({"n": self.n})


class Frame(d6tstore.tasks.TaskPqPandas):
    def run(self):
        self.save(pd.DataFrame({"i": range(700_000), "x": [hash(str(i)) / 7 for i in range(700_000)]}))


TASKS = [Frame(), *(Number(n=n) for n in range(40))]


@pytest.fixture
def remote(place):
    with place.server.trusting():
        store = Store(Repository(place.open(), cache=0))
        yield store
        store.close()


@pytest.fixture
def here(tmp_path):
    store = d6tstore.open(tmp_path / "here")
    store.run(TASKS)
    return store


def test_there_and_back(place, here, remote, tmp_path):
    assert not here.copy_to(remote).problems
    assert remote.complete(TASKS) and remote.run(TASKS).ran == [] and remote.verify() == []
    begun = len(place.proxy.requests)
    assert {each.action for each in here.copy_to(remote)} == {"same"}
    assert len(place.proxy.requests) - begun < 20, "what is there is not asked for one by one"
    back = d6tstore.open(f"sqlite:///{tmp_path}/back.db")
    assert not remote.copy_to(back).problems
    assert back.complete(TASKS)
    with d6tstore.use(here):
        expected = Frame().output().load()
    with d6tstore.use(back):
        assert Frame().output().load().equals(expected)


def test_bytes_that_change_on_the_way_are_refused(place, here, remote, tmp_path):
    assert not here.copy_to(remote).problems
    back = d6tstore.open(tmp_path / "back")
    with place.proxy.when("GET", path="(?<!records)/Frame/", flip_response=3):
        (problem,) = remote.copy_to(back).problems
    assert problem.id == Frame().id and "is not what its record says" in problem.problem
    assert not back.complete(Frame()) and back.complete(TASKS[1:])


def test_what_was_interrupted_goes_on(place, here, remote):
    with place.proxy.when("PUT", path="records/", answer=ACCESS_DENIED):
        assert len(here.copy_to(remote).problems) == len(TASKS)
    begun = len(place.proxy.requests)
    assert not here.copy_to(remote).problems
    sent = [path for method, path in place.proxy.requests[begun:] if method == "PUT" and "/.d6tstore/" not in path]
    assert sent == [], "objects went before"
    assert remote.complete(TASKS)
