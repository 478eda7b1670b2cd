"""HTML forms: escaped, complete, nothing from elsewhere."""

import re
from html.parser import HTMLParser

import pytest

import d6tstore
from d6tstore import html
from d6tstore.errors import RunFailed
from d6tstore.sharing.pipe import Pipe

EVIL = "<script>alert(1)</script> & \"x\" 'y'"


class Named(d6tstore.tasks.TaskJson):
    name: str = EVIL
    count: int = 3

    def run(self):
        if self.count < 0:
            raise ValueError(EVIL)
        self.save([1], metrics={"score": 0.5})


@d6tstore.requires(Named)
class Next(d6tstore.tasks.TaskPqPandas):
    def run(self):
        import pandas as pd

        self.save(pd.DataFrame({"x": [1, 2]}))


class Outside(d6tstore.tasks.TaskJson):
    external = True


class Tags(HTMLParser):
    """What a browser makes of it: tags that are open at the end, attributes, the text."""

    VOID = {"br", "img", "meta", "link", "input"}

    def __init__(self, source):
        super().__init__()
        self.open, self.attributes, self.said, self.tags = [], [], "", set()
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data if self.open[-1:] != ["style"] else ""


def read(thing):
    source = thing if isinstance(thing, str) else thing._repr_html_()
    found = Tags(source)
    assert found.open == [] and "script" not in found.tags, source
    assert not [value for name, value in found.attributes if name in ("src", "href") or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", source)
    return found.said


def test_a_task():
    said = read(Named())
    assert "Named" in said and EVIL in said.replace("\\'", "'") and "outputsdata" in said


def test_targets(store):
    assert "has no result 'data'" in read(Named().output())
    store.run(Next())
    assert "sizeparquet" not in read(Next().output()) and "2 rows" in read(Next().output())
    assert "not here" in read(Outside().output()) or "no result" in read(Outside().output())


def test_a_record(store):
    store.run(Named())
    said = read(store.history(Named())[0])
    assert "metric score0.5" in said and "output datajson" in said and "made20" in said


def test_a_store_and_a_pipe(tmp_path):
    pipe = d6tstore.pipes.init("team", url=tmp_path / "shared", role="read")
    store = d6tstore.open(tmp_path / "store", backends={"lake": tmp_path / "lake"}, namespace="ours")
    said = read(store)
    assert all(word in said for word in ("namespaceours", "backend lake", "pipe team", f"file://{tmp_path}/store"))
    assert "roleread" in read(pipe) and "trustedno" in read(pipe)


def test_plans_and_reports(store):
    store.run(Named())
    plan = store.plan([Next(), Outside()])
    said = read(plan)
    assert (
        said.count("Next(") == 1 and "COMPLETE" in said and "PENDING never run" in said and "EXTERNAL, absent" in said
    )
    assert {value for name, value in Tags(plan._repr_html_()).attributes if name == "class"} >= {
        "mark complete", "mark pending", "mark absent",
    }  # fmt: skip
    assert "1 ran, 1 reused" in read(store.run(Next()))
    with pytest.raises(RunFailed) as raised:
        store.run(Named(count=-1))
    assert f"ValueError: {EVIL}" in read(raised.value.report)


def test_exchanges(store, tmp_path):
    store.run([Named(count=n) for n in range(25)])
    d6tstore.pipes.init("team", url=tmp_path / "shared")
    pipe = Pipe(d6tstore.context.pipes["team"], store.repository)
    said = read(pipe.push_preview())
    assert "25 new" in said and said.count("Named-") == 20 and "... 25 in all" in said
    assert "25 same" in read(pipe.push() and pipe.push())


def test_a_bar():
    said = read(html.bar(3, 4, EVIL, [EVIL]))
    assert said.count(EVIL) == 2
    assert 'aria-valuenow="75"' in html.bar(3, 4, "", []) and 'aria-valuenow="100"' in html.bar(0, 0, "", [])


def test_long_texts_are_cut():
    assert len(read(html.described("x", "", {"a": "y" * 10_000}))) < 600
