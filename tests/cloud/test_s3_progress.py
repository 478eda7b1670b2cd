"""Slow transfers to and from S3 are told of, by both clients."""

import os

import pytest

import d6tstore
from d6tstore.repository import Repository
from d6tstore.store import Store

SIZE = 24 << 20


class Blob(d6tstore.tasks.TaskBytes):
    def run(self):
        self.save(os.urandom(SIZE))


@pytest.mark.parametrize("driver", ["obstore", "boto3"])
def test_a_slow_transfer_is_told_of(place, driver, monkeypatch, tmp_path):
    heard = []
    store = Store(Repository(place.open(driver=driver), progress=heard.append))
    with place.proxy.when("PUT", path="partNumber", rate=4 << 20):
        store.run(Blob())
    assert heard and {each.direction for each in heard} == {"up"} and {each.total for each in heard} == {SIZE}
    assert [each.done for each in heard] == sorted(each.done for each in heard)
    assert heard[-1].done == SIZE and heard[-1].key.startswith("Blob/") and 0 < heard[-1].rate < 1e9
    heard.clear()
    monkeypatch.setenv("D6TSTORE_CACHE", str(tmp_path / "elsewhere"))
    with place.proxy.when("GET", path="(?<!records)/Blob/", rate=8 << 20), d6tstore.use(store):
        assert len(Blob().output().load()) == SIZE
    assert heard and {each.direction for each in heard} == {"down"} and heard[-1].done == SIZE
    store.close()
