"""Plans over many tasks by few requests; an index that lags, lies or is not there changes no plan."""

import json

import pytest
from s3proxy import ACCESS_DENIED

import d6tstore
from d6tstore.repository import Repository
from d6tstore.store import Store
from d6tstore_plugins.cloud.index import FEW

MANY = 150
RUNS = []


class Number(d6tstore.tasks.TaskJson):
    n: int

    def run(self):
        RUNS.append(self.n)
        self.save({"n": self.n})


def opened(place, **options):
    return Store(Repository(place.open(**options)))


@pytest.fixture
def tasks(place):
    """Many complete tasks on S3, which somebody computed elsewhere."""
    made = d6tstore.open("memory://")
    tasks = [Number(n=n) for n in range(MANY)]
    with d6tstore.use(made):
        made.run(tasks)
    source, target = made.repository.default, place.open()
    target.write_many(source.read_many([entry.key for entry in source.list() if not entry.key.startswith(".d6tstore")]))
    target.write_many(source.read_many([entry.key for entry in source.list(".d6tstore")]))
    target.close()
    return tasks


def index_of(place):
    return f"{place.prefix}/.d6tstore/index/Number.z"


def requests(place, plan):
    begun = len(place.proxy.requests)
    assert plan()
    return len(place.proxy.requests) - begun


def complete(store, tasks):
    plan = store.plan(tasks)
    return all(plan.settled(task.id) for task in tasks)


@pytest.mark.parametrize("driver", ["obstore", "boto3"])
def test_a_plan_over_many_tasks_asks_few_requests(place, tasks, driver):
    first = opened(place, driver=driver)
    assert requests(place, lambda: complete(first, tasks)) > MANY, "there is no index yet"
    assert requests(place, lambda: complete(first, tasks)) <= 8
    other = opened(place, driver=driver)
    assert requests(place, lambda: complete(other, tasks)) <= 8
    assert requests(place, lambda: len(other.compare(tasks)) == MANY) <= 20


def test_the_index_is_never_the_truth(place, tasks):
    complete(opened(place), tasks)
    with d6tstore.use(opened(place)):
        d6tstore.invalidate_upstream([Number(n=3)])
        changed = Number(n=4).output().record()
        d6tstore.run(Number(n=4), force=True)
    again = opened(place)
    plan = again.plan(tasks)
    assert not plan.settled(Number(n=3).id)
    assert plan.nodes[Number(n=4).id].record.write_id != changed.write_id
    assert all(plan.settled(task.id) for task in tasks if task.n != 3)


@pytest.mark.parametrize("damage", [b"", b"no index", b"x" * 100_000])
def test_an_index_that_is_damaged_is_made_anew(place, tasks, damage):
    complete(opened(place), tasks)
    client = place.server.boto()
    client.put_object(Bucket=place.bucket, Key=index_of(place), Body=damage)
    assert complete(opened(place), tasks)
    assert requests(place, lambda: complete(opened(place), tasks)) <= 10
    client.delete_object(Bucket=place.bucket, Key=index_of(place))
    assert complete(opened(place), tasks)


def test_who_may_not_write_does_without(place, tasks):
    with place.proxy.when("PUT", answer=ACCESS_DENIED):
        assert complete(opened(place), tasks)
        store = opened(place)
        assert complete(store, tasks)
        assert requests(place, lambda: complete(store, tasks)) <= 8, "this process knows them"


def test_a_run_leaves_an_index(place):
    with place.server.trusting():
        store = opened(place)
        few, many = [Number(n=n) for n in range(FEW)], [Number(n=n) for n in range(FEW + 40)]
        store.run(few, workers=8)
        assert not exists(place)
        store.run(many, workers=8)
        assert exists(place)
        other = opened(place)
        assert requests(place, lambda: complete(other, many)) <= 6


def exists(place):
    client = place.server.boto()
    return client.list_objects_v2(Bucket=place.bucket, Prefix=index_of(place))["KeyCount"] == 1


def test_a_listing_that_lags_changes_no_result(place):
    RUNS.clear()
    with place.server.trusting():
        store, tasks = opened(place), [Number(n=n) for n in range(FEW + 20)]
        assert not complete(store, tasks)
        with place.proxy.when("GET", path="list-type", lag=True):
            store.run(tasks, workers=8)
            assert len(RUNS) == len(tasks)
            assert complete(store, tasks), "we know what we wrote"
            other = opened(place)
            other.run(tasks, workers=8)
            assert len(RUNS) == len(tasks), "who begins to compute asks for the record itself"
        with d6tstore.use(other):
            assert [task.output().load() for task in tasks] == [{"n": task.n} for task in tasks]


def test_what_goes_between_the_listing_and_our_asking_is_gone(place, tasks, monkeypatch):
    store = opened(place)
    assert complete(store, tasks)
    other, client = opened(place), store.repository.default._client
    other.run(Number(n=5), force=True)
    get_many = client.get_many

    def racing(keys):
        other.invalidate(Number(n=5))
        return get_many(keys)

    monkeypatch.setattr(client, "get_many", racing)
    keys = [entry.key for entry in client.list(".d6tstore/records/Number")]
    found = store.repository.default.read_many(keys)
    assert len(found) == MANY - 1 and not [key for key in found if Number(n=5).hash in key]


def test_what_we_removed_is_gone_whatever_a_listing_shows(place, tasks):
    store = opened(place)
    assert complete(store, tasks)
    with place.proxy.when("GET", path="list-type", lag=True):
        assert complete(store, tasks)
        store.invalidate(Number(n=5))
        assert not store.plan(tasks).settled(Number(n=5).id)


def test_more_of_others_than_of_ours_is_not_listed(place, tasks, monkeypatch):
    monkeypatch.setattr("d6tstore_plugins.cloud.index._PAGE", 20)
    store, few = opened(place), tasks[: FEW + 1]
    assert requests(place, lambda: complete(store, few)) <= 2 * len(few) + 10


def test_nothing_else_sees_the_index(place, tasks):
    store = opened(place)
    complete(store, tasks)
    keys = [entry.key for entry in store.repository.default.list(".d6tstore/")]
    assert len(keys) == MANY and json.loads(store.repository.default.read(keys[0]))
    assert not store.gc(older_than=0).keys and store.verify(tasks[:2]) == []
    assert exists(place)
