"""Stories C: a data engineer hands over to a data scientist, through whatever place both reach.

`examples/handover` is the same with two projects and two processes; SFTP as a vendor's folder is in `tests/cloud`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from msgspec.structs import replace

import d6tstore
from d6tstore.access import Remote
from d6tstore.errors import Conflict, Denied, ExternalAbsent
from d6tstore.plan import State
from d6tstore.sharing.pipe import Pipe

PLACES = ["folder", "s3", "postgres", "sqlite", "duckdb"]
TABLES = ("postgres", "sqlite", "duckdb")
ENGINEER = """
    from pathlib import Path
    import pandas as pd
    import d6tstore

    class Prices(d6tstore.tasks.TaskPqPandas):
        '''Prices of a market, by day.'''
        market: str = "north"

        def raw_files(self):
            return [Path(f"{self.market}.csv")]

        def run(self):
            self.save(pd.read_csv(f"{self.market}.csv"))

    @d6tstore.requires(Prices)
    class Features(d6tstore.tasks.TaskPqPandas):
        window: int = 2

        def run(self):
            mean = self.input().load().price.rolling(self.window).mean()
            self.save(mean.dropna().to_frame("mean"), metrics={"rows": len(mean)})
"""


@pytest.fixture
def engineer(flow, project):
    """The engineer's module, with raw data of two markets."""
    raw("north", 1, 2, 3)
    raw("south", 5, 6, 7)
    return flow(ENGINEER, "engineer")


def raw(market, *prices):
    rows = [f"{day},{price},100" for day, price in enumerate(prices)]
    Path(f"{market}.csv").write_text("\n".join(["day,price,volume", *rows]) + "\n")


@pytest.fixture
def stores(tmp_path):
    """Enter the store of one of the two: `with stores("engineer"): ...`."""
    with contextlib.ExitStack() as stack:
        made = {}

        def enter(who):
            if who not in made:
                made[who] = stack.enter_context(contextlib.closing(d6tstore.open(tmp_path / who)))
            return d6tstore.use(made[who])

        yield enter


def url(request, tmp_path, monkeypatch, place):
    """The place of the pipe."""
    if place == "s3":
        from s3servers import moto

        server, made = moto(), moto().bucket()
        bucket = made.__enter__()
        request.addfinalizer(lambda: made.__exit__(None, None, None))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.keys.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.keys.secret)
        return f"s3://{bucket}/team?endpoint={server.url}&region=us-east-1"
    if place == "postgres":
        return request.getfixturevalue("database").url
    return {
        "folder": str(tmp_path / "team"), "sqlite": f"sqlite:///{tmp_path}/team.db",
        "duckdb": f"duckdb:///{tmp_path}/team.duckdb",
    }[place]  # fmt: skip


@pytest.fixture(params=PLACES)
def pipe(request, tmp_path, monkeypatch):
    """The pipe of both, for the store that is current."""
    made = d6tstore.pipes.init("team-features", url=url(request, tmp_path, monkeypatch, request.param))
    yield made
    made.remote.backend.close()


@pytest.fixture
def folder_pipe(tmp_path):
    return d6tstore.pipes.init("team-features", url=tmp_path / "team")


def test_1_the_engineer_looks_what_is_new_and_pushes(pipe, engineer, stores):
    north, south = engineer.Features(market="north"), engineer.Features(market="south")
    with stores("engineer"):
        d6tstore.run(north)
        preview = pipe.push_preview()
        assert {item.id for item in preview.new} == {north.id, engineer.Prices().id} and preview.bytes > 0
        assert "push to team-features would be: 2 new" in str(preview) and pipe.records("Features") == []
        assert pipe.push(message="prices of March").bytes == preview.bytes

        raw("north", 1, 2, 4)
        d6tstore.run([north, south])
        preview = pipe.push_preview()
        assert len(preview.new) == 2 and len(preview.changed) == 2 and not preview.same
        pipe.push(message="and of April")
        assert len(pipe.push_preview().same) == 4 and pipe.push().bytes == 0
        assert [push.message for push in pipe.log()] == ["and of April", "prices of March"]
    with stores("another engineer"):
        raw("north", 9, 9, 9)
        d6tstore.run(north)
        conflicts = pipe.push_preview().conflicts
        assert {item.id for item in conflicts} == {north.id, engineer.Prices().id}
        assert "here by" in conflicts[0].reason and "there by" in conflicts[0].reason
        with pytest.raises(Conflict):
            pipe.push()


def test_2_the_scientist_builds_on_it_with_and_without_the_code(pipe, engineer, stores):
    class Features(engineer.Features):
        external = True

    @d6tstore.requires(Features)
    class WithCode(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(list(self.input().load()["mean"]))

    class Without(d6tstore.tasks.TaskJson):
        def requires(self):
            return d6tstore.external("team-features", "Features", market="north", window=2)

        def run(self):
            self.save(list(self.input().load()["mean"]))

    with stores("engineer"):
        d6tstore.run(engineer.Features())
        expected = engineer.Features().output().load()
        pipe.push()
    with stores("scientist"):
        assert d6tstore.preview(WithCode())[Features()].state is State.EXTERNAL
        with pytest.raises(ExternalAbsent, match="d6tstore pipe pull team-features"):
            Features().output().load()
        pipe.pull()
        assert Features().complete() and engineer.Features().complete()
        pd.testing.assert_frame_equal(Features().output().load(), expected)
        assert d6tstore.run([WithCode(), Without()]).ran == [WithCode(), Without()]
        assert WithCode().output().load() == Without().output().load() == [1.5, 2.5]
        assert d6tstore.run([WithCode(), Without()]).ran == []


def test_3_new_data_make_exactly_what_depends_on_it_stale(pipe, engineer, stores):
    class Prices(engineer.Prices):
        external = True

    class Features(engineer.Features):
        external = True

    @d6tstore.requires(Prices)
    class Volume(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(int(self.input().load().volume.sum()))

    @d6tstore.requires(Features)
    class Model(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(float(self.input().load()["mean"].sum()))

    @d6tstore.requires(Model)
    class Report(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(str(self.input().load()))

    shared = [engineer.Features(market=market) for market in ("north", "south")]
    mine = [cls(market=market) for market in ("north", "south") for cls in (Volume, Report)]

    def publish(**options):
        with stores("engineer"):
            d6tstore.run(shared, **options)
            pipe.push()

    def ran():
        with stores("scientist"):
            pipe.pull()
            forecast = set(d6tstore.preview(mine).pending)
            done = set(d6tstore.run(mine).ran)
            assert done <= forecast  # what comes out the same stops it there
            return {repr(task).partition("(")[0] + " " + task.market for task in done}

    publish()
    assert ran() == {f"{name} {market}" for name in ("Volume", "Model", "Report") for market in ("north", "south")}
    raw("south", 5, 6, 8)
    publish()
    assert ran() == {"Model south", "Report south", "Volume south"}
    Path("north.csv").write_text(Path("north.csv").read_text().replace("1,2,100", "1,2,150"))
    publish()
    assert ran() == {"Volume north"}  # the features do not use it
    publish(force=True)
    assert ran() == set()  # the same content


def test_4_the_scientist_gives_back_and_a_reader_is_refused(pipe, engineer, stores):
    class Features(engineer.Features):
        external = True

    @d6tstore.requires(Features)
    class Model(d6tstore.tasks.TaskJson):
        def run(self):
            self.save(len(self.input().load()))

    with stores("engineer"):
        d6tstore.run(engineer.Features())
        pipe.push()
    with stores("scientist"):
        pipe.pull()
        d6tstore.run(Model())
        reader = Pipe(Remote(pipe.name, replace(pipe.remote.access, role="read"), pipe.remote.backend))
        for refused in (reader.push, lambda: reader.verify(repair=True), lambda: reader.gc(dry_run=False)):
            with pytest.raises(Denied, match="for reading"):
                refused()
        assert reader.verify() == [] and reader.gc().keys == [] and len(reader.push_preview().new) == 1
        assert pipe.records("Model") == [] and len(pipe.log()) == 1
        assert [item.id for item in pipe.push(message="a model").new] == [Model().id]
    with stores("engineer"):
        assert [item.id for item in pipe.pull().new] == [Model().id]
        assert d6tstore.external("team-features", "Model").output().load() == 2


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_5_a_vendors_folder(place, request, tmp_path, monkeypatch):
    at = url(request, tmp_path, monkeypatch, place)
    vendor = d6tstore.open(at).repository.default  # anything that writes files will do
    for month in ("01", "02", "03"):
        vendor.write(f"in/prices-2026-{month}.csv", f"{month};1\n".encode())
    vendor.write("in/notes.txt", b"not for us")
    pipe = d6tstore.pipes.files("vendor", url=at, include="in/*.csv", newest=2, role="read")
    assert [file.name for file in pipe.pull_preview() if file.state == "new"] == [
        "in/prices-2026-02.csv", "in/prices-2026-03.csv",
    ]  # fmt: skip
    assert pipe.pull().moved == {"in/prices-2026-02.csv", "in/prices-2026-03.csv"}
    assert pipe.pull().moved == set()

    class Rows(d6tstore.tasks.TaskJson):
        def raw_files(self):
            return pipe.paths()

        def run(self):
            self.save([path.read_text() for path in pipe.paths()])

    d6tstore.init(tmp_path / "store")
    d6tstore.run(Rows())
    assert d6tstore.run(Rows()).ran == []
    vendor.write("in/prices-2026-03.csv", b"03;2 corrected\n")
    assert pipe.pull().moved == {"in/prices-2026-03.csv"}
    assert d6tstore.run(Rows()).ran == [Rows()]
    assert Rows().output().load() == ["02;1\n", "03;2 corrected\n"]
    with pytest.raises(Denied, match="for reading"):
        pipe.push()
    vendor.close()


def test_5_a_large_intermediate_need_not_be_here(pipe, engineer, stores):
    with stores("engineer") as store:
        d6tstore.run(engineer.Features())
        pipe.push()
        kept = engineer.Prices().output().load()
        store.repository.default.delete(engineer.Prices().output().record().outputs["data"].key)
        assert engineer.Features().complete() and d6tstore.run(engineer.Features()).ran == []
    with stores("scientist") as store:
        pipe.pull(engineer.Features())  # the object of Features only; of what it needs the record
        assert d6tstore.run(engineer.Features()).ran == [] and engineer.Features().complete()
        lying = store.repository.default
        assert not lying.exists(engineer.Prices().output().record().outputs["data"].key)
        pd.testing.assert_frame_equal(engineer.Prices().output().load(), kept)
        assert lying.exists(engineer.Prices().output().record().outputs["data"].key)


def test_6_somebody_without_the_code_imports_an_exported_module(folder_pipe, engineer, stores, tmp_path):
    with stores("engineer"):
        d6tstore.run(engineer.Features(market="south"))
        folder_pipe.push()
    command = [sys.executable, "-m", "d6tstore.cli", "export", "engineer:Features", "--pipe", "team-features"]
    source = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "rolling" not in source and "Prices of a market, by day." in source
    other = tmp_path / "scientist"
    other.mkdir()
    (other / "shared_tasks.py").write_text(source)
    (other / "d6tstore.toml").write_text(f'[pipes.team-features]\nurl = "{tmp_path / "team"}"\n')
    code = (
        "import d6tstore, shared_tasks; d6tstore.init(); task = shared_tasks.Features(market='south');"
        "print(task.complete()); d6tstore.pipes.get_pipe().pull(task); print(task.complete());"
        "print(list(task.output().load()['mean']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=other, capture_output=True, text=True, env=os.environ)
    assert done.stdout.splitlines() == ["False", "True", "[5.5, 6.5]"], done.stderr
