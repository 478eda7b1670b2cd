"""Roles in Postgres, made by the SQL that stands in docs/roles.md.

What can go wrong: a reader who cannot see what is pushed later, or whose push gets half of the way; a second writer who
cannot replace what the first one made; one who is refused late, or in words that help nobody.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pandas as pd
import pytest
from postgres import connect

import d6tstore
from d6tstore.credentials import variable_of
from d6tstore.errors import D6tstoreError, Denied, ExchangeFailed
from d6tstore_plugins.sql.backend import BackendWarning

PAGE = (Path(__file__).parents[2] / "docs/roles.md").read_text()
FILE = re.compile(r'^```sql title="([^"]+)"\n(.*?)^```$', re.M | re.S)
NAMES = re.compile(r"\b(team_writers|team_readers|team|emma|ben|carl|sam)\b")


class Prices(d6tstore.tasks.TaskPqPandas):
    files = ["prices.csv"]

    def run(self):
        self.save(pd.read_csv("prices.csv"))


@d6tstore.requires(Prices)
class Model(d6tstore.tasks.TaskJson):
    def run(self):
        self.save(int(self.input().load().price.sum()))


class Later(d6tstore.tasks.TaskPqPandas):
    def run(self):
        self.save(pd.DataFrame({"x": [1]}))


class Team:
    """A schema with roles as on the page, under names that no other test has."""

    def __init__(self, postgres, folder):
        self.admin, self._folder, self._suffix = postgres.get_uri(), folder, uuid.uuid4().hex[:8]
        for _, text in FILE.findall(PAGE):
            self.run(text.replace("DATABASE results", "DATABASE postgres"))

    def run(self, text):
        """Run SQL as an administrator."""
        with connect(self.admin) as cursor:
            cursor.execute(NAMES.sub(self.name, text))

    def name(self, of):
        return f"{of if isinstance(of, str) else of[1]}_{self._suffix}"

    def url(self, who):
        return f"{self.admin.replace('postgres:@', self.name(who) + '@')}&schema={self.name('team')}"

    def pipe(self, who, **settings):
        """The pipe as somebody has it in a store of their own, which becomes the current one."""
        d6tstore.init(self._folder / who)
        return d6tstore.pipes.init("team", url=self.url(who), **settings)

    def ask(self, who, query):
        with connect(self.url(who).partition("&schema")[0]) as cursor:
            cursor.execute(f'SET search_path = "{self.name("team")}"')
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else None


@pytest.fixture
def team(postgres, tmp_path):
    prices(10, 20)
    return Team(postgres, tmp_path)


def prices(*values):
    Path("prices.csv").write_text("\n".join(["price", *map(str, values)]))


def everything(team):
    return team.ask("emma", "SELECT key, version FROM d6tstore_objects ORDER BY key")


def test_a_reader_takes_all_and_reads_frames_as_tables(team):
    pipe = team.pipe("emma")
    d6tstore.run([Model(), Later()])
    pipe.push()
    pipe = team.pipe("sam", role="read")
    assert len(pipe.pull().new) == 3 and Model().output().load() == 30
    assert d6tstore.run([Model(), Later()]).ran == [] and pipe.verify() == []
    assert len(pipe.log()) == 1 and pipe.status().same == list(pipe.status())
    assert team.ask("sam", "SELECT sum(price) FROM prices") == [(30,)]
    relations = dict(team.ask("sam", "SELECT family, relation FROM results WHERE relation IS NOT NULL"))
    assert team.ask("sam", f"SELECT x FROM {relations['Later']}") == [(1,)]


def test_a_reader_is_refused_before_anything_is_sent(team):
    pipe = team.pipe("emma")
    d6tstore.run(Model())
    pipe.push()
    pipe, before = team.pipe("sam"), everything(team)
    d6tstore.run(Later())
    with pytest.raises(Denied, match="may not be written, nothing was transferred: .*permission denied"):
        pipe.push()
    assert everything(team) == before
    for statement in ("DELETE FROM d6tstore_objects", "CREATE TABLE mine (x int)"):
        with pytest.raises(Exception, match="permission denied"):
            team.ask("sam", statement)


def test_a_reader_who_is_first_is_told_that_nothing_is_there(team):
    with pytest.raises(Denied, match="permission denied"):
        team.pipe("sam")


def test_a_second_writer_replaces_what_the_first_one_made(team):
    pipe = team.pipe("emma")
    d6tstore.run(Model())
    pipe.push()
    pipe = team.pipe("ben")
    pipe.pull()
    prices(10, 25)
    d6tstore.run([Model(), Later()])
    done = pipe.push()
    assert len(done.changed) == 2 and len(done.new) == 1
    assert team.ask("sam", "SELECT sum(price) FROM prices") == [(35,)]
    assert team.ask("sam", "SELECT x FROM later") == [(1,)]
    for values in ((1,), (2,), (3,)):  # more than are kept: tables that emma made go
        prices(*values)
        d6tstore.run(Model())
        pipe.push()
    Later().invalidate()
    pipe.push(prune=True)
    pipe.gc(dry_run=False, older_than=0)
    pipe = team.pipe("emma")
    assert len(pipe.pull().changed) == 2 and Model().output().load() == 3
    assert pipe.verify() == []
    owners = team.ask("sam", "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = current_schema()")
    assert owners == [(team.name("team_writers"),)]


def test_the_role_may_stand_in_the_url(team):
    team.run("ALTER ROLE emma IN DATABASE postgres RESET role")
    d6tstore.init("./emma")
    d6tstore.run(Model())
    d6tstore.pipes.init("team", url=f"{team.url('emma')}&options=-crole%3D{team.name('team_writers')}").push()
    pipe = team.pipe("ben")
    assert len(pipe.pull().new) == 2
    prices(5)
    d6tstore.run(Model())
    assert len(pipe.push().changed) == 2


def test_a_schema_is_handed_over(postgres, tmp_path):
    team = Team(postgres, tmp_path)
    prices(10, 20)
    team.run("ALTER SCHEMA team OWNER TO emma; ALTER ROLE emma IN DATABASE postgres RESET role")
    pipe = team.pipe("emma")
    d6tstore.run(Model())
    pipe.push()
    team.run(re.search(r"```sql\n(REASSIGN .*?)```", PAGE, re.S)[1])
    assert len(team.pipe("sam").pull().new) == 2
    pipe = team.pipe("ben")
    pipe.pull()
    prices(5)
    d6tstore.run(Model())
    assert len(pipe.push().changed) == 2


def test_the_login_that_writes_is_used_for_nothing_else(team, postgres, monkeypatch):
    for who in ("sam", "emma"):
        team.run(f"ALTER ROLE {who} PASSWORD 'of {who}'")
        monkeypatch.setenv(
            variable_of(f"{team.name(who)}@127.0.0.1:{postgres.port}", "password"), f"of {team.name(who)}"
        )
    url = f"{postgres.tcp(team.name('sam'))}?schema={team.name('team')}"
    first = team.pipe("emma")
    d6tstore.run(Model())
    first.push()
    d6tstore.init("./both")
    pipe = d6tstore.pipes.init("both", url=url, write_credentials=f"{team.name('emma')}@127.0.0.1:{postgres.port}")
    assert len(pipe.pull().new) == 2
    d6tstore.run(Later())
    assert len(pipe.push_preview().new) == 1 and len(pipe.push().new) == 1
    assert team.ask("sam", "SELECT x FROM later") == [(1,)]

    monkeypatch.delenv(variable_of(f"{team.name('emma')}@127.0.0.1:{postgres.port}", "password"))
    d6tstore.init("./one")
    pipe = d6tstore.pipes.init("one", url=url, write_credentials=f"{team.name('emma')}@127.0.0.1:{postgres.port}")
    pipe.pull()
    prices(5)
    d6tstore.run(Model())
    before = everything(team)
    with pytest.raises(D6tstoreError):
        pipe.push()
    assert everything(team) == before


GRANTED = """
    CREATE ROLE carl LOGIN;
    GRANT team_readers TO carl;
    GRANT CREATE ON SCHEMA team TO carl;
    GRANT INSERT, UPDATE, DELETE ON team.d6tstore_objects, team.d6tstore_chunks, team.d6tstore_claims TO carl;
"""
LETTING_READ = """
    ALTER DEFAULT PRIVILEGES FOR ROLE carl IN SCHEMA team GRANT SELECT ON TABLES TO team_readers, team_writers;
"""


@pytest.mark.parametrize("letting_read", [False, True])
def test_who_only_has_grants_can_push_but_is_in_the_way_of_others(team, letting_read):
    pipe = team.pipe("emma")
    d6tstore.run(Model())
    pipe.push()
    team.run(GRANTED + (LETTING_READ if letting_read else ""))
    pipe = team.pipe("carl")
    pipe.pull()
    for value in (25, 1, 2, 3):
        prices(value)
        d6tstore.run([Model(), Later()])
        with pytest.warns(BackendWarning, match="must be owner of"):
            pipe.push()
    assert pipe.verify() == []
    (problem,) = pipe.gc(dry_run=False, older_than=0).problems  # what emma made
    assert "must be owner of table" in problem.problem
    pipe = team.pipe("emma")
    if letting_read:
        assert len(pipe.pull().problems) == 0
    else:
        with pytest.raises(ExchangeFailed, match="permission denied for table"):
            pipe.pull()
    assert Model().output().load() == 3
