"""`d6tstore pipe` on the command line: defined, pushed, pulled, looked after; bad input; for programs."""

import json
import re
import sys
import tomllib

import pytest
from command_line import invoke

import d6tstore

FLOW = """
    import d6tstore

    class Get(d6tstore.tasks.TaskJson):
        n: int = 3
        def run(self):
            self.save(list(range(self.n)))

    @d6tstore.requires(Get)
    class Train(d6tstore.tasks.TaskPickle):
        def run(self):
            self.save(sum(self.input().load()))
"""


@pytest.fixture
def call(flow, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("D6TSTORE_STORE", raising=False)
    flow(FLOW)
    return invoke


@pytest.fixture
def ann(call, tmp_path):
    """Commands of one person, whose results are in a store of their own."""
    return lambda *args, code=0: call("--store", tmp_path / "ann", *args, code=code)


@pytest.fixture
def bob(call, tmp_path):
    return lambda *args, code=0: call("--store", tmp_path / "bob", *args, code=code)


@pytest.fixture
def team(ann, tmp_path):
    """A pipe with the results of a flow."""
    ann("pipe", "add", "team", tmp_path / "shared")
    ann("run", "--quiet", "flow:Train")
    ann("pipe", "push", "team", "-m", "first")


def test_there_and_back(ann, bob, tmp_path, project):
    said = ann("pipe", "add", "team", "../shared").stdout
    assert said == f"team is defined in {project}/d6tstore.toml\n"
    assert tomllib.loads((project / "d6tstore.toml").read_text()) == {"pipes": {"team": {"url": "../shared"}}}
    assert ann("pipe", "log", "team").stdout == "nobody pushed anything yet\n"
    ann("run", "--quiet", "flow:Train")
    told = ann("pipe", "push", "team", "--preview").stdout
    assert re.fullmatch(r"(new +\w+-\w+, \d+ bytes \(only here\)\n){2}push to team would be: 2 new, \d+ bytes\n", told)
    assert not (tmp_path / "shared" / "Train").exists()
    assert "push to team: 2 new" in ann("pipe", "push", "team", "-m", "prices of March").stdout
    assert ann("pipe", "push", "team").stdout == "push to team: 2 same, 0 bytes\n"
    assert "2 results: prices of March" in ann("pipe", "log", "team", "-n", 1).stdout
    assert "2 only there" in bob("pipe", "status", "team").stdout
    assert "pull from team: 2 new" in bob("pipe", "pull", "team").stdout
    assert "2 COMPLETE" in bob("preview", "flow:Train").stdout
    assert bob("pipe", "verify", "team").stdout == "no problems found\n"


def test_named_tasks_records_and_times(ann, bob, team):
    ann("run", "--quiet", "flow:Get", "--n", "5")
    assert "1 new" in ann("pipe", "push", "team", "flow:Get", "--n", "5").stdout
    assert "pull from team: 1 new, 0 bytes" in bob("pipe", "pull", "team", "flow:Get", "--n", "5", "--no-data").stdout
    assert "EVICTED (in team)" in bob("preview", "flow:Get", "--n", "5").stdout
    assert "2 new" in bob("pipe", "pull", "team", "--at", "1").stdout
    assert "there is no push #9" in bob("pipe", "pull", "team", "--at", "9", code=2).stderr


def test_for_programs(ann, bob, team):
    told = json.loads(ann("pipe", "list", "--json").stdout)
    assert told[0].items() >= {"name": "team", "kind": "results", "role": "write", "trusted": False}.items()
    assert json.loads(bob("pipe", "status", "team", "--json").stdout)["counts"] == {"only there": 2}
    pulled = json.loads(bob("pipe", "pull", "team", "--json").stdout)
    assert pulled["counts"] == {"new": 2} and pulled["bytes"] > 0 and pulled["results"][0]["action"] == "new"
    (push,) = json.loads(bob("pipe", "log", "team", "--json").stdout)
    assert push["message"] == "first" and len(push["pushed"]) == 2
    assert json.loads(bob("pipe", "verify", "team", "--json").stdout) == []
    assert json.loads(bob("pipe", "gc", "team", "--older-than", "0", "--json").stdout)["dry_run"] is True


def test_trust(ann, bob, team, project, tmp_path):
    bob("pipe", "pull", "team")
    with d6tstore.use(d6tstore.open(tmp_path / "bob")), pytest.raises(d6tstore.errors.Denied, match="pipe trust team"):
        sys.modules["flow"].Train().output().load()
    before = (project / "d6tstore.toml").read_text()
    (project / "d6tstore.toml").write_text(f"# ours\n{before}")
    assert bob("pipe", "trust", "team").stdout.startswith("team is trusted now, by ")
    assert (project / "d6tstore.toml").read_text() == f"# ours\n{before}trusted = true\n"
    with d6tstore.use(d6tstore.open(tmp_path / "bob")):
        assert sys.modules["flow"].Train().output().load() == 3
    bob("pipe", "trust", "team", "--no")
    assert "trusted = false" in (project / "d6tstore.toml").read_text()
    assert "no [pipes.other] stands in" in bob("pipe", "trust", "other", code=2).stderr


def test_a_conflict_and_its_cure(ann, bob, team):
    bob("pipe", "pull", "team")
    for person in (ann, bob):
        person("reset", "flow:Get", "--yes")
    with d6tstore.use(d6tstore.open("../ann")):
        sys.modules["flow"].Get().save([7])
    with d6tstore.use(d6tstore.open("../bob")):
        sys.modules["flow"].Get().save([8])
    ann("pipe", "push", "team", "--keep", "ours")
    said = bob("pipe", "pull", "team", code=2).stderr
    assert "were changed on both sides" in said and 'keep="ours"' in said
    assert "1 changed" in bob("pipe", "pull", "team", "--keep", "theirs").stdout


def test_one_that_fails_is_named(ann, bob, team, tmp_path):
    (objects,) = (tmp_path / "shared" / "Get").rglob("data-*")
    objects.write_bytes(b"-" * objects.stat().st_size)
    said = bob("pipe", "pull", "team", code=1)
    assert "1 new, 1 failed" in said.stdout and "is not what its record says" in said.stderr
    assert "Get-" in ann("pipe", "verify", "team", code=1).stdout
    assert ann("pipe", "verify", "team", "--repair").stdout == "no problems found\n"
    assert "1 new" in bob("pipe", "pull", "team").stdout


def test_gc(ann, team, tmp_path):
    (tmp_path / "shared" / "Get" / "n=3-0123456789abcdef").mkdir()
    (tmp_path / "shared" / "Get" / "n=3-0123456789abcdef" / "data-0123456789abcdef.json").write_bytes(b"1")
    assert (
        "would remove 1 objects, 1 bytes. To remove them, pass --yes."
        in ann("pipe", "gc", "team", "--older-than", "0").stdout
    )
    assert "removed 1 objects" in ann("pipe", "gc", "team", "--older-than", "0", "--yes").stdout


def test_roles(ann, team, tmp_path):
    ann("pipe", "add", "theirs", tmp_path / "shared", "--role", "read")
    assert "is for reading" in ann("pipe", "push", "theirs", code=2).stderr


def test_what_is_listed(ann, tmp_path, project):
    assert ann("pipe", "list").stdout == "no pipes: d6tstore pipe add NAME URL\n"
    ann("pipe", "add", "b", tmp_path / "b", "--trusted", "--namespace", "x", "--keep-versions", "5")
    ann("pipe", "add", "a", "s3://bucket/a", "--role", "read", "--credentials", "lake", "--write-credentials", "rw")
    ann(
        "pipe",
        "add",
        "f",
        "sftp://ann@h/x",
        "--files",
        "--include",
        "*.csv",
        "--newest",
        "3",
        "--local",
        "raw",
        "--user",
    )
    lines = [line.split() for line in ann("pipe", "list").stdout.splitlines()]
    assert lines == [
        ["NAME", "KIND", "ROLE", "TRUSTED", "URL"],
        ["a", "results", "read", "False", "s3://bucket/a"],
        ["b", "results", "write", "True", str(tmp_path / "b")],
        ["f", "files", "write", "False", "sftp://ann@h/x"],
    ]
    written = tomllib.loads((project / "d6tstore.toml").read_text())["pipes"]
    assert written["a"] == {"url": "s3://bucket/a", "role": "read", "credentials": "lake", "write_credentials": "rw"}
    assert written["b"] == {"url": str(tmp_path / "b"), "trusted": True, "namespace": "x", "keep_versions": 5}


def test_from_a_subfolder(ann, project, tmp_path, monkeypatch):
    (project / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(project / "deep" / "er")
    ann("pipe", "add", "team", "./shared")
    assert tomllib.loads((project / "d6tstore.toml").read_text())["pipes"]["team"]["url"] == "deep/er/shared"
    assert str(project / "deep" / "er" / "shared") in ann("pipe", "list").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "a b", "x"], "'a b' cannot name a pipe"),
        (["add", "../x", "x"], "'../x' cannot name a pipe"),
        (["add", "x" * 65, "x"], "cannot name a pipe"),
        (["add", "db", "postgresql://ann:hunter2@h/db"], "Store it with: d6tstore credentials set ann@h password"),
        (["add", "db", "s3://b", "--credentials", "no name!"], "must be the name of credentials"),
        (["push", "team"], "there is no pipe 'team'"),
        (["push", "team", "flow:Nothing"], "module flow has no Nothing"),
        (["pusch", "team"], "there is no command 'pusch', did you mean push?"),
    ],
)
def test_bad_input(ann, words, said, project):
    result = ann("pipe", *words, code=2)
    assert said in result.stderr and "hunter2" not in result.output
    assert not (project / "d6tstore.toml").exists()


def test_a_name_that_is_taken_stays(ann, project):
    ann("pipe", "add", "team", "x")
    before = (project / "d6tstore.toml").read_text()
    assert "there is a pipe 'team' already" in ann("pipe", "add", "team", "y", code=2).stderr
    assert (project / "d6tstore.toml").read_text() == before
    assert [entry.name for entry in project.iterdir() if entry.name.startswith(".d6tstore")] == []


def test_plain_files(ann, tmp_path, project):
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "a.csv").write_text("1")
    ann("pipe", "add", "vendor", tmp_path / "vendor", "--files", "--include", "*.csv")
    assert "1 new" in ann("pipe", "pull", "vendor", "*.csv").stdout
    assert (project / "pipes" / "vendor" / "a.csv").read_text() == "1"
    assert "have no log" in ann("pipe", "log", "vendor", code=2).stderr
    assert "give one pattern" in ann("pipe", "pull", "vendor", "a", "b", code=2).stderr
    assert json.loads(ann("pipe", "verify", "vendor", "--json").stdout)["counts"] == {"same": 1}


def test_options_of_the_other_kind(ann, team, tmp_path):
    (tmp_path / "vendor").mkdir()
    ann("pipe", "add", "vendor", tmp_path / "vendor", "--files")
    of_results = ["pull vendor --at 3", "pull vendor --no-data", "verify vendor --repair", "push vendor -m x"]
    for words in [*of_results, "push team --mode all", "pull team --mode new"]:
        assert "is of pipes of " in ann("pipe", *words.split(), code=2).stderr, words


def test_what_is_zero_is_said(ann, project):
    ann("pipe", "add", "team", "x", "--keep-versions", "0")
    assert tomllib.loads((project / "d6tstore.toml").read_text())["pipes"]["team"]["keep_versions"] == 0


def test_a_pipe_of_files_in_a_profile(call, project, tmp_path):
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "a.csv").write_text("1")
    (project / "d6tstore.toml").write_text(
        f'[profiles.w]\nurl = "x"\n[profiles.w.pipes.vendor]\nurl = "{tmp_path}/vendor"\nkind = "files"\n'
    )
    assert "1 new" in call("--profile", "w", "pipe", "pull", "vendor", "*.csv").stdout
