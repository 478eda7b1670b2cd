"""Commands that look into a store: ls, load, log; piped, in a terminal, with bad input; and --json of all others."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import time

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from command_line import invoke
from test_cli import D6TSTORE, error, shell_env, terminal

import d6tstore
from d6tstore import record
from d6tstore.cli import cli
from d6tstore.record import Output, Record

FLOW = """
    import pandas as pd
    import d6tstore

    class Prices(d6tstore.tasks.TaskPqPandas):
        n: int = 30
        def run(self):
            print("a task prints this")
            self.save(pd.DataFrame({
                "city": [["Rome", "Oslo", "5"][i % 3] for i in range(self.n)],
                "price": [float(i) for i in range(self.n)],
                "day": pd.date_range("2024-01-01", periods=self.n),
            }))

    @d6tstore.requires(Prices)
    class Train(d6tstore.tasks.TaskPickle):
        model: str = "ols"
        def run(self):
            self.save({"model": self.model}, metrics={"score": 1 / 3, "kind": "a"})

    @d6tstore.requires(Prices)
    class Indexed(d6tstore.tasks.TaskCSVPandas):
        def run(self):
            self.save(self.input().load().set_index("city"))

    class Both(d6tstore.tasks.TaskJson):
        persist = {"numbers": "json", "text": "text", "raw": "bytes", "array": "numpy"}
        def run(self):
            import numpy
            text = "one\\ntwo \\x1b[31m"
            self.save({"numbers": {"é": [1, 2]}, "text": text, "raw": b"\\0\\1", "array": numpy.arange(3)})

    class Steering(d6tstore.tasks.TaskPqPandas):
        def run(self):
            self.save(pd.DataFrame({"text": ["\\x1b[31mred"]}))

    class Failing(d6tstore.tasks.TaskJson):
        def run(self):
            raise ValueError("no")

    print("the module prints this")
"""


@pytest.fixture(autouse=True)
def written(flow, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    return flow(FLOW)


@pytest.fixture
def call(written):
    return invoke


@pytest.fixture
def filled(call):
    """A store in ./data with results."""
    call("run", "flow:Train", "--model", "svm", "flow:Train", "flow:Indexed", "flow:Both")


# -------------------------------------------------------------------------- ls


def test_ls_of_families(call, filled):
    lines = call("ls").stdout.splitlines()
    assert lines[0].split() == ["FAMILY", "RESULTS", "BYTES", "NEWEST"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["Both", "1"],
        ["Indexed", "1"],
        ["Prices", "1"],
        ["Train", "2"],
    ]
    told = json.loads(call("ls", "--json").stdout)
    assert [(f["name"], f["results"]) for f in told] == [("Both", 1), ("Indexed", 1), ("Prices", 1), ("Train", 2)]
    sizes = [each["bytes"] for each in json.loads(call("ls", "Train", "--json").stdout)]
    assert told[3]["bytes"] == sum(sizes) and told[3]["newest"].startswith("20")


def test_ls_of_a_family_newest_first(call, filled):
    lines = call("ls", "Train").stdout.splitlines()
    assert lines[0].split() == ["PARAMETERS", "TIME", "BY", "SECONDS", "ROWS", "BYTES", "METRICS"]
    assert [line.split()[0] for line in lines[1:]] == ["model='ols',", "model='svm',"]
    assert lines[1].endswith("score=0.333333, kind=a")
    assert len(call("ls", "Train", "-n", "1").stdout.splitlines()) == 2
    assert call("ls", "flow:Train").stdout == call("ls", "Train").stdout
    newest, oldest = json.loads(call("ls", "Train", "--json").stdout)
    assert newest["parameters"] == {"model": "ols", "n": 30} and newest["time"] > oldest["time"]
    assert newest["metrics"] == {"score": 1 / 3, "kind": "a"} and newest["rows"] is None
    (prices,) = json.loads(call("ls", "Prices", "--json").stdout)
    assert prices["rows"] == 30 and prices["id"] == d6tstore.context.current_family if False else prices["rows"] == 30


def test_ls_of_nothing(call):
    assert re.fullmatch(r"file://\S+/data has no results\n", call("ls").stdout)
    assert json.loads(call("ls", "--json").stdout) == []
    assert "has no results of 'Train'. It has no results at all." in error(call("ls", "Train", code=2))


def test_ls_of_a_typo_and_of_a_path(call, filled):
    assert "no results of 'Trian', did you mean Train? It has results of Both" in error(call("ls", "Trian", code=2))
    assert "has no results of '../data'" in error(call("ls", "../data", code=2))


def test_ls_shows_no_control_characters(call, filled, project):
    (file,) = (project / "data/.d6tstore/records/Prices").iterdir()
    file.write_bytes(
        file.read_bytes().replace(b'"author":"', b'"author":"\\u001b[31m\\u202e').replace(b'"n":', b'"\\u001b":')
    )
    shown = [CliRunner().invoke(cli, ["ls", "Prices"], color=True).output]  # else click would take them out
    file.write_bytes(file.read_bytes().replace(b'"\\u001b":', b'"n":'))
    shown.append(CliRunner().invoke(cli, ["log", "flow:Prices"], color=True).output)
    assert "1 version" in shown[1] and "METRICS" in shown[0]
    assert "\x1b" not in "".join(shown) and "\u202e" not in "".join(shown)


def test_ls_leaves_out_what_is_damaged_and_verify_finds_it(call, filled, project):
    (file,) = (project / "data/.d6tstore/records/Prices").iterdir()
    assert call("ls").stderr == ""
    file.write_text("{")
    listed = call("ls")
    assert "Prices   0        0" in listed.stdout
    assert listed.stderr == "1 record is damaged and not listed: d6tstore verify names them\n"
    (prices,) = [each for each in json.loads(call("ls", "--json").stdout) if each["name"] == "Prices"]
    assert (prices["results"], prices["damaged"]) == (0, 1)
    assert call("ls", "Prices").stderr == listed.stderr
    assert json.loads(call("ls", "Prices", "--json").stdout) == []
    (problem,) = json.loads(call("verify", "--json", code=1).stdout)
    assert problem["key"].startswith(".d6tstore/records/Prices/") and "damaged" in problem["problem"]


def test_ls_knows_namespaces_apart(call, project):
    for namespace in ("", "mine"):
        with d6tstore.use(d6tstore.open("./data", namespace=namespace)) as store:
            import flow

            store.run(flow.Prices(n=len(namespace)))
    (project / "d6tstore.toml").write_text('[profiles.mine]\nurl = "data"\nnamespace = "mine"\n')
    assert call("ls", "Prices").stdout.splitlines()[1].startswith("n=0")
    assert call("--profile", "mine", "ls", "Prices").stdout.splitlines()[1].startswith("n=4")


@pytest.mark.parametrize("args", [(), ("Many",)])
def test_ls_of_ten_thousand_results_is_quick(call, args):
    store = d6tstore.open("./data")
    items = {}
    for i in range(10_000):
        hash = record.task_hash("Many", {"i": i})
        output = Output(f"Many/i={i}-{hash}/data-{hash}.json", "json", "c" * 32, "c" * 32, 10)
        made = Record(version=1, family="Many", module="m", hash=hash, params={"i": i}, code="c",
                      outputs={"data": output}, time=record.now(), write_id=hash)  # fmt: skip
        items[made.key] = record.encode(made)
    store.repository.default.write_many(items)
    began = time.process_time()
    shown = call("ls", *args).stdout
    assert time.process_time() - began < 10  # 1 to 2 s on an idle machine
    assert "10,000" in shown if not args else len(shown.splitlines()) == 10_001


# ------------------------------------------------------------------------- log


def test_log_shows_versions_edits_and_what_was_dismissed(call, filled, flow):
    flow(FLOW.replace('{"model": self.model}', '{"model": self.model, "new": 1}'))
    call("run", "flow:Train")
    flow(FLOW.replace('{"model": self.model}', '{"model": self.model, **{"new": 1}}'))
    call("accept", "flow:Train")
    shown = call("log", "flow:Train").stdout
    assert shown.startswith("Train(model='ols', n=30): 2 versions\n")
    assert re.search(r"  current  \d{4}-\S+  \S+@\S+  \S+ s  write id [0-9a-f]{16}  content [0-9a-f]+", shown)
    assert "code accepted, was" in shown and "replaced 20" in shown
    current, kept = json.loads(call("log", "flow:Train", "--json").stdout)[0]["versions"]
    assert current["current"] and not kept["current"] and kept["restorable"] and kept["replaced"]
    assert current["accepted"][0]["code"] != current["code"] and current["content"] != kept["content"]
    call("reset", "flow:Train", "--yes")
    assert "will not be restored" in call("log", "flow:Train").stdout


def test_log_of_nothing(call):
    assert call("log", "flow:Train").stdout.endswith("Train(model='ols', n=30): no versions\n")
    assert error(call("log", code=2)).startswith("which task?")


def test_a_version_of_the_log_can_be_loaded(call, filled, written):
    (version,) = json.loads(call("log", "flow:Train", "--json").stdout)[0]["versions"]
    with d6tstore.use(d6tstore.open("./data")):
        assert written.Train().output().load(version=version["write_id"]) == {"model": "ols"}


def test_load_of_a_kept_version(call, filled, flow, project):
    (version,) = json.loads(call("log", "flow:Train", "--json").stdout)[0]["versions"]
    flow(FLOW.replace('{"model": self.model}', '{"model": "new"}'))
    call("run", "flow:Train")
    load = ("load", "flow:Train", "--version", version["write_id"])
    assert call(*load, "--repr").stdout == "{'model': 'ols'}\n"
    assert call("load", "flow:Train", "--repr").stdout == "{'model': 'new'}\n"
    call(*load, "--to", "old.pkl")
    assert pickle.loads((project / "old.pkl").read_bytes()) == {"model": "ols"}
    assert "has no version 'none'; kept: " in call("load", "flow:Train", "--version", "none", "--repr", code=2).stderr


# ------------------------------------------------------------------------ load


def test_load_of_a_frame_in_a_pipe_is_csv(call, filled):
    shown = call("load", "flow:Prices").stdout
    frame = pd.read_csv(io.StringIO(shown), parse_dates=["day"])
    assert len(frame) == 30 and list(frame.columns) == ["city", "price", "day"] and frame.price[29] == 29.0
    assert (
        call("load", "flow:Prices", "--head", "2", "--columns", "price, city").stdout
        == "price,city\n0.0,Rome\n1.0,Oslo\n"
    )
    assert call("load", "flow:Indexed", "--head", "1").stdout == "city,price,day\nRome,0.0,2024-01-01\n"
    assert call("load", "flow:Prices", "--head", "0").stdout == "city,price,day\n"
    rows = json.loads(call("load", "flow:Prices", "--head", "1", "--json").stdout)
    assert rows == [{"city": "Rome", "price": 0.0, "day": "2024-01-01T00:00:00"}]


@pytest.mark.parametrize(
    "conditions, prices",
    [
        (["price > 27"], [28, 29]),
        (["price>=28"], [28, 29]),
        (["price = 3"], [3]),
        (["price != 3", "price <5", "city == Rome"], [0]),
        (["city == '5'", "price < 6"], [2, 5]),
        (["city = 5", "price < 3"], [2]),
        (["city in Rome, 5", "price < 4"], [0, 2, 3]),
        (["price not in [0,1,2]", "price <= 3"], [3]),
        (["day >= 2024-01-30"], [29]),
        (["city == None"], []),
    ],
)
def test_load_where(call, filled, conditions, prices):
    options = [part for condition in conditions for part in ("--where", condition)]
    shown = call("load", "flow:Prices", *options, "--columns", "price").stdout.split()
    assert [float(price) for price in shown[1:]] == prices


@pytest.mark.parametrize(
    "options, said",
    [
        (["--where", "price"], "'price' is no condition. Write it as 'price > 5'"),
        (["--where", "cost > 5"], "cost"),
        (["--where", "price > much"], "price"),
        (["--columns", "cost"], "cost"),
        (["--output", "x"], "has no output 'x'. It has data."),
        (["--head", "-1"], "Invalid value for '--head'"),
    ],
)
def test_load_of_a_part_that_is_none(call, filled, options, said):
    assert said in call("load", "flow:Prices", *options, code=2).stderr


def test_load_of_other_values(call, filled):
    load = ("load", "flow:Both", "--output")
    assert call(*load, "numbers").stdout == '{\n  "\\u00e9": [\n    1,\n    2\n  ]\n}\n'
    assert call(*load, "text").stdout == "one\ntwo \x1b[31m"  # in a pipe as it is
    assert CliRunner().invoke(cli, [*load, "raw"]).stdout_bytes == b"\0\1"
    assert "a ndarray has no text. Show it with --repr" in call(*load, "array", code=2).stderr
    assert call(*load, "array", "--repr").stdout == "array([0, 1, 2])\n"
    assert "several outputs: pass --output with one of numbers, text" in call("load", "flow:Both", code=2).stderr


def test_load_runs_the_code_of_a_pickle_only_when_told(call, filled):
    said = call("load", "flow:Train", code=2).stderr
    assert "Train(model='ols', n=30) is an object (pickle)" in said and "--repr" in said and "--to FILE.pkl" in said
    assert call("load", "flow:Train", "--repr").stdout == "{'model': 'ols'}\n"


def test_load_refuses_an_untrusted_pickle_but_copies_its_file(call, filled, project):
    for file in (project / "data/.d6tstore/records/Train").iterdir():
        file.write_bytes(file.read_bytes().replace(b'"write_id"', b'"origin":"stranger","write_id"'))
    assert "came from 'stranger', which is not trusted" in call("load", "flow:Train", "--repr", code=2).stderr
    assert "came from stranger" in call("log", "flow:Train").stdout
    call("load", "flow:Train", "--to", "model.pkl")
    assert pickle.loads((project / "model.pkl").read_bytes()) == {"model": "ols"}


def test_load_of_what_is_not_there(call):
    assert "has no result 'data'" in call("load", "flow:Train", code=2).stderr
    assert "one task at a time" in call("load", "flow:Train", "flow:Both", code=2).stderr
    assert "which task?" in call("load", code=2).stderr


READERS = {
    "csv": lambda p: pd.read_csv(p, parse_dates=["day"]), "parquet": pd.read_parquet, "feather": pd.read_feather,
    "xlsx": pd.read_excel, "json": lambda p: pd.read_json(p).assign(day=lambda f: pd.to_datetime(f.day)),
}  # fmt: skip


@pytest.mark.parametrize("ending", READERS)
def test_load_to_a_file_of_each_kind(call, filled, project, ending):
    done = call("load", "flow:Prices", "--where", "price > 20", "--to", f"out.{ending}")
    assert done.stdout == "" and re.search(rf"wrote out.{ending}, [\d,]+ bytes\n", done.stderr)
    frame = READERS[ending](project / f"out.{ending}")
    cities, days = [["Rome", "Oslo", "5"][i % 3] for i in range(21, 30)], pd.date_range("2024-01-22", periods=9)
    expected = pd.DataFrame({"city": cities, "price": np.arange(21.0, 30.0), "day": days})
    frame["city"] = frame.city.astype(str)
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)
    assert sorted(os.listdir(project)) == sorted(["data", "flow.py", "pyproject.toml", f"out.{ending}"] + [
        name for name in os.listdir(project) if name == "__pycache__"])  # fmt: skip


def test_load_to_the_ending_of_the_object_copies_its_bytes(call, filled, project, written):
    call("load", "flow:Prices", "--to", "whole.parquet")
    with d6tstore.use(d6tstore.open("./data")):
        assert (project / "whole.parquet").read_bytes() == written.Prices().output().path.read_bytes()
    call("load", "flow:Both", "--output", "array", "--to", "a.npy")
    assert np.load(project / "a.npy").tolist() == [0, 1, 2]
    call("load", "flow:Both", "--output", "numbers", "--to", "n.txt")
    assert json.loads((project / "n.txt").read_text()) == {"é": [1, 2]}


@pytest.mark.parametrize(
    "task, options, said",
    [
        ("Prices", ["--to", "out.sas"], "the ending says what is written. Give one of .parquet, .csv"),
        ("Prices", ["--to", "nowhere/out.csv"], "cannot be written: No such file or directory"),
        ("Prices", ["--to", "kept.csv"], "kept.csv is there already. Choose another name, or pass --replace."),
        ("Prices", ["--to", "data", "--replace"], "is there already"),
        ("Train", ["--to", "out.csv"], "is no frame but a dict: it does not go into .csv"),
        ("Both", ["--output", "array", "--to", "out.json"], "JSON cannot hold it"),
        ("Prices", ["--to", "out.csv", "--where", "cost = 1"], "cost"),
    ],
)
def test_load_to_a_file_that_cannot_be(call, filled, project, task, options, said):
    (project / "kept.csv").write_text("mine")
    assert said in call("load", f"flow:{task}", *options, code=2).stderr
    left = {path.name for path in project.iterdir()} - {"__pycache__"}
    assert left == {"data", "flow.py", "pyproject.toml", "kept.csv"} and (project / "kept.csv").read_text() == "mine"


def test_load_to_a_file_replaces_it_when_told(call, filled, project):
    (project / "kept.csv").write_text("mine")
    (project / "kept.csv").chmod(0o640)
    call("load", "flow:Prices", "--head", "1", "--to", "kept.csv", "--replace")
    assert (project / "kept.csv").read_text().startswith("city,price")
    assert (project / "kept.csv").stat().st_mode & 0o777 == 0o640


def test_load_to_a_file_is_all_or_nothing(call, filled, project, monkeypatch):
    """Interrupted while it writes: what was there is whole, and no debris."""
    from d6tstore.commands import presenting

    def interrupted(text):
        def fill(to):
            to.write(b"half")
            raise KeyboardInterrupt

        return fill

    (project / "kept.csv").write_text("mine")
    monkeypatch.setattr(presenting, "_text", interrupted)
    assert "interrupted" in call("load", "flow:Prices", "--to", "kept.csv", "--replace", code=130).stderr
    assert (project / "kept.csv").read_text() == "mine"
    assert {path.name for path in project.iterdir()} - {"__pycache__"} == {
        "data",
        "flow.py",
        "pyproject.toml",
        "kept.csv",
    }


def test_what_modules_print_is_no_part_of_what_is_loaded(filled):
    done = subprocess.run([*D6TSTORE, "load", "flow:Prices", "--head", "1"], capture_output=True, text=True,
                          env=shell_env(), check=True)  # fmt: skip
    assert done.stdout == "city,price,day\nRome,0.0,2024-01-01\n" and "the module prints this" in done.stderr


def test_a_frame_goes_through_a_pipe_as_it_is(call):
    call("run", "flow:Steering")
    assert call("load", "flow:Steering").stdout == "text\n\x1b[31mred\n"
    with terminal("load", "flow:Steering") as (process, read):
        assert " [31mred" in read() and "\x1b" not in read()


# ------------------------------------------------------------------ in a terminal


def test_load_in_a_terminal_is_a_table_of_the_first_rows(filled):
    with terminal("load", "flow:Prices") as (process, read):
        shown = read()
        assert process.wait(30) == 0
    lines = shown.replace("\r", "").splitlines()
    assert lines[1].split() == ["city", "price", "day"] and lines[-1] == "[20 of 30 rows x 3 columns]"
    assert lines[2].split() == ["0", "Rome", "0.0", "2024-01-01"]


def test_text_in_a_terminal_steers_it_not(filled):
    with terminal("load", "flow:Both", "--output", "text") as (process, read):
        assert "two  [31m" in read() and "\x1b" not in read()
    with terminal("load", "flow:Both", "--output", "numbers") as (process, read):
        assert '"é"' in read()
    with terminal("load", "flow:Both", "--output", "raw") as (process, read):
        assert "a bytes has no text" in read() and process.wait(30) == 2


def test_ls_and_log_in_a_terminal(filled):
    with terminal("ls", "Train") as (process, read):
        assert "model='svm', n=30" in read() and process.wait(30) == 0
    with terminal("log", "flow:Train") as (process, read):
        assert "1 version" in read() and process.wait(30) == 0


# ----------------------------------------------------------------- --json of all


def leaves(command=cli, path=()):
    for name, each in command.commands.items():
        if isinstance(each, click.Group):
            yield from leaves(each, (*path, name))
        else:
            yield " ".join((*path, name)), each


def test_every_command_has_json_and_an_example():
    commands = dict(leaves())
    lacking = {name for name, c in commands.items() if not any("--json" in p.opts for p in c.params)}
    assert lacking == {"demo"}, "which tells a story"
    assert [name for name, c in commands.items() if "Example" not in (c.help or "")] == []


def groups(command=cli):
    yield command
    for each in command.commands.values():
        if isinstance(each, click.Group):
            yield from groups(each)


def test_no_help_is_cut_short():
    for group in groups():
        with click.Context(group, terminal_width=80) as context:
            assert "..." not in group.get_help(context).partition("Commands:")[2]


def test_json_of_graph_export_and_completion(call, project):
    drawn = json.loads(call("graph", "flow:Train", "--json").stdout)
    assert [node["lines"][0] for node in drawn["nodes"]] == ["Prices", "Train"]
    assert drawn["edges"] == [{"from": "n0", "to": "n1", "inputs": 1}]
    written = json.loads(call("graph", "flow:Train", "--json", "-o", "flow.mmd").stdout)
    assert written == {"file": "flow.mmd", "bytes": (project / "flow.mmd").stat().st_size}
    told = json.loads(call("export", "flow:Train", "--json").stdout)
    assert told["classes"] == ["flow:Train"] and told["source"] == call("export", "flow:Train").stdout
    assert "_D6TSTORE_COMPLETE" in json.loads(call("completion", "bash", "--json").stdout)["source"]


def test_json_of_load_to_a_file(call, filled, project):
    done = call("load", "flow:Prices", "--to", "out.csv", "--json")
    assert json.loads(done.stdout) == {"file": "out.csv", "bytes": (project / "out.csv").stat().st_size}


def test_json_of_pipes(call, project):
    (project / "here.csv").write_text("a\n")
    (project / "drop").mkdir()
    (project / "drop/other.csv").write_text("b\n")
    added = json.loads(call("pipe", "add", "vendor", "./drop", "--files", "--json").stdout)
    assert added == {"pipe": "vendor", "file": str(project / "d6tstore.toml")}
    assert json.loads(call("pipe", "trust", "vendor", "--json").stdout)["trusted"]
    brought = json.loads(call("pipe", "import", "vendor", "here.csv", "--json").stdout)
    assert len(brought["files"]) == 1 and brought["folder"] == str(project / "pipes/vendor")
    for what in (["delete", "vendor", "*.csv"], ["orphans", "vendor"]):
        told = json.loads(call("pipe", *what, "--json").stdout)
        assert told["dry_run"] and told["moved"] == 1 and (project / "pipes/vendor/here.csv").exists()
    gone = json.loads(call("pipe", "delete", "vendor", "*.csv", "--json", "--yes").stdout)
    assert not gone["dry_run"] and not (project / "pipes/vendor/here.csv").exists()


def test_json_of_frames_is_exact(call, flow):
    flow("""
        import numpy as np
        import pandas as pd
        import d6tstore

        class Frame(d6tstore.tasks.TaskPqPandas):
            def run(self):
                self.save(pd.DataFrame({
                    "x": [1e-12, 0.1 + 0.2, float("nan")], "n": [2**53 + 1, 1, 2], "raw": [b"\\xff", b"", None],
                    "at": pd.to_datetime(["2024-01-01T00:00:00.123456789", None, None]), "é": ["a", None, "c"],
                    "list": [[1, 2], [], None],
                }, index=pd.Index(["r", "s", "t"], name="k")))

        class Twice(d6tstore.tasks.TaskPqPandas):
            def run(self):
                self.save(pd.DataFrame([[1, 2]], columns=["a", "a"]))

        class Clash(d6tstore.tasks.TaskPqPandas):
            def run(self):
                self.save(pd.DataFrame({"k": [1]}, index=pd.Index([1], name="k")))

        class Odd(d6tstore.tasks.TaskJson):
            def run(self):
                self.save({"a": float("nan"), "b": [1, float("inf")]})
    """)
    call("run", "flow:Frame", "flow:Twice", "flow:Clash", "flow:Odd")
    shown = json.loads(call("load", "flow:Frame", "--json").stdout)
    assert shown[0] == {
        "k": "r", "x": 1e-12, "n": 2**53 + 1, "raw": "ff", "at": "2024-01-01T00:00:00.123456789", "é": "a",
        "list": [1, 2],
    }  # fmt: skip
    assert shown[1]["x"] == 0.1 + 0.2 and shown[1]["é"] is None
    assert shown[2]["x"] is shown[2]["at"] is shown[2]["raw"] is None
    call("load", "flow:Frame", "--to", "f.json")
    with open("f.json", encoding="utf-8") as file:
        assert json.load(file) == shown
    assert "several columns are named a" in error(call("load", "flow:Twice", "--json", code=2))
    for ending in ("json", "xlsx"):
        assert "the index is named as a column is" in error(call("load", "flow:Clash", "--to", f"c.{ending}", code=2))
    assert json.loads(call("load", "flow:Odd", "--json").stdout) == {"a": "nan", "b": [1, "inf"]}
    assert "is not in the range" in call("load", "flow:Frame", "--head", "9" * 30, code=2).stderr


def test_json_is_one_document_whatever_tasks_start(project):
    (project / "loud.py").write_text(
        "import d6tstore, os, subprocess\n"
        "class Loud(d6tstore.tasks.TaskJson):\n"
        "    def run(self):\n"
        "        subprocess.run(['echo', 'a child'])\n"
        "        os.write(1, b'a descriptor')\n"
        "        self.save(1)\n"
    )
    done = subprocess.run([*D6TSTORE, "run", "loud:Loud", "--quiet", "--json"], capture_output=True, text=True,
                          env=shell_env())  # fmt: skip
    assert json.loads(done.stdout)["tasks"][0]["action"] == "ran"
    assert "a child" in done.stderr and "a descriptor" in done.stderr


@pytest.mark.parametrize("words", [["run", "flow:Prices", "--force", "all"], ["preview", "flow:Train"], ["ls"],
                                   ["load", "flow:Prices"], ["ls", "--json"]])  # fmt: skip
def test_with_stdout_closed(filled, words):
    command = " ".join(shlex.quote(word) for word in [*D6TSTORE, *words])
    done = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, text=True, env=shell_env())
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "words", [["ls"], ["ls", "--json"], ["load", "flow:Prices"], ["--help"], ["graph", "flow:Train"]]
)
def test_output_on_a_full_disk(filled, words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*D6TSTORE, *words], stdout=full, stderr=subprocess.PIPE, text=True, env=shell_env())
    told = done.stderr.replace("the module prints this\n", "")
    assert (done.returncode, told) == (1, "Error: what it prints cannot be written: No space left on device.\n")


def test_json_of_run_preview_and_why(call):
    told = json.loads(call("preview", "flow:Train", "--json").stdout)
    prices, train = told["tasks"]
    assert prices["state"] == "PENDING" and prices["reason"] == "never run" and prices["will_run"]
    assert train["inputs"] == [prices["id"]] and told["forecast"]["tasks"] == 2
    ran = json.loads(call("run", "flow:Train", "--json", "--quiet").stdout)
    assert [(t["action"], t["error"]) for t in ran["tasks"]] == [("ran", None), ("ran", None)]
    assert ran["tasks"][1]["task"] == "Train(model='ols', n=30)" and ran["seconds"] > 0
    (why,) = json.loads(call("why", "flow:Train", "--json").stdout)
    assert why["state"] == "COMPLETE" and why["details"]
    failed = call("run", "flow:Failing", "--json", code=1)
    (outcome,) = json.loads(failed.stdout)["tasks"]
    assert outcome["action"] == "failed" and outcome["error"] == "ValueError('no')"
    assert 'raise ValueError("no")' in failed.stderr


def test_json_of_upkeep(call, filled, flow):
    assert json.loads(call("accept", "flow:Train", "--json").stdout) == {"accepted": []}
    assert json.loads(call("verify", "--json").stdout) == []
    copied = json.loads(call("copy", "./other", "--json", "--yes").stdout)
    assert not copied["dry_run"] and {each["action"] for each in copied["results"]} == {"copied"}
    assert json.loads(call("copy", "./other", "--json").stdout)["dry_run"]
    assert json.loads(call("reset", "flow:Train", "--yes", "--json").stdout) == {"forgot": ["Train(model='ols', n=30)"]}
    gone = json.loads(call("gc", "--older-than", "0", "--json").stdout)
    assert gone["dry_run"] and len(gone["keys"]) == 2 and gone["bytes"] > 0 and gone["problems"] == []
    assert len(json.loads(call("reset", "--all", "--yes", "--json").stdout)["forgot"]) == 4
    (shown,) = json.loads(call("show", "flow:Train", "--json").stdout)
    assert shown["record"] is None


def test_json_of_profiles_and_credentials(call, project, monkeypatch):
    (project / "d6tstore.toml").write_text(
        '[profiles.prod]\nurl = "data"\ncredentials = "warehouse"\ncheck = "content"\n[profiles.bad]\nurll = "x"\n'
    )
    monkeypatch.setenv("D6TSTORE_WAREHOUSE_PASSWORD", "hunter2")
    prod, bad = json.loads(call("profile", "list", "--json").stdout)
    assert prod["place"] == str(project / "data") and prod["problem"] == "" and "urll" in bad["problem"]
    told = json.loads(call("profile", "show", "prod", "--json").stdout)
    assert told["values"] == {"url": str(project / "data"), "credentials": "warehouse", "check": "content"}
    (known,) = json.loads(call("credentials", "list", "--json").stdout)
    assert known == {
        "name": "warehouse", "field": "password", "used_by": ["profile prod"],
        "source": "environment variable D6TSTORE_WAREHOUSE_PASSWORD",
    }  # fmt: skip
    (tested,) = json.loads(call("credentials", "test", "prod", "--json").stdout)
    assert tested == {"place": "profile prod", "ok": True, "problem": None}
    plugins = json.loads(call("plugins", "--json").stdout)
    assert {"group": "formats", "name": "json", "error": None}.items() <= next(
        p for p in plugins if p["name"] == "json"
    ).items()
