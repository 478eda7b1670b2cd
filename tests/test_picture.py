"""Pictures of plans: SVG and Mermaid, small and folded, with names that need care."""

import re
import sys
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

import d6tstore
from d6tstore.cli import cli
from d6tstore.errors import PluginError, UsageError

SVG = "{http://www.w3.org/2000/svg}"


class Get(d6tstore.tasks.TaskJson):
    year: int = 2024

    def run(self):
        self.save(1)


class Outside(d6tstore.tasks.TaskJson):
    external = True


class Train(d6tstore.tasks.TaskJson):
    text: str = "&amp; <b> \"x\" 'y' \\n & é } ] --> end"
    many: int = 1

    def requires(self):
        return {"get": [Get(year=2024 + i) for i in range(self.many)], "out": Outside()}

    def run(self):
        self.save(1)


def drawn(picture):
    """Texts of nodes, titles of edges, and classes, as an XML parser reads them."""
    root = ET.fromstring(picture.svg)
    nodes = [g for g in root.iter(f"{SVG}g") if (g.get("class") or "").startswith("node")]
    texts = {g.find(f"{SVG}title").text: [t.text for t in g.iter(f"{SVG}text")] for g in nodes}
    edges = [g.find(f"{SVG}title").text for g in root.iter(f"{SVG}g") if g.get("class") == "edge"]
    return texts, edges, {g.get("class") for g in nodes}


def test_a_few_tasks(store):
    store.run(Get())
    picture = store.graph(Train())
    texts, edges, classes = drawn(picture)
    assert texts["n0"] == ["Get", "year=2024", "✓ COMPLETE"] and texts["n1"] == ["Outside", "✗ EXTERNAL, absent"]
    assert texts["n2"][0] == "Train" and texts["n2"][-1] == "▶ PENDING"
    assert "&amp; <b>" in texts["n2"][1] and "é" in texts["n2"][1] and "&" in texts["n2"][1]
    assert sorted(edges) == ["n0->n2", "n1->n2"] and classes == {"node complete", "node absent", "node pending"}
    assert "http" not in picture.svg.replace("http://www.w3.org", "") and "<script" not in picture.svg


def test_mermaid(store):
    store.run(Get())
    lines = store.graph(Train()).mermaid.splitlines()
    assert lines[0] == "flowchart TB" and lines[1] == '  n0["Get<br/>year=2024<br/>✓ COMPLETE"]:::complete'
    label = re.fullmatch(r'  n2\["(.*)"\]:::pending', lines[3])[1]
    assert not re.search(r'["<>]', label.replace("<br/>", "")) and "#38;amp#59; #60;b#62;" in label
    assert "  n0 --> n2" in lines and "  n1 --> n2" in lines and lines[-1].startswith("  classDef ")


def test_many_tasks_are_folded(store):
    store.run([Get(year=2024 + i) for i in range(10)])
    picture = store.graph(Train(many=499))
    texts, edges, _ = drawn(picture)
    assert texts == {
        "n0": ["499 Get", "▶ 489 PENDING", "✓ 10 COMPLETE"],
        "n1": ["Outside", "✗ 1 EXTERNAL, absent"],
        "n2": ["Train", "▶ 1 PENDING"],
    }
    assert sorted(edges) == ["n0->n2", "n1->n2"] and ">499<" in picture.svg
    assert len(picture.svg) < 10_000


def test_a_file(store, tmp_path):
    picture = store.graph(Get())
    assert picture.save(tmp_path / "flow.svg").read_text().startswith("<svg") and repr(picture) == "Picture(1 nodes)"
    assert picture.save(str(tmp_path / "flow.mmd")).read_text() == f"{picture.mermaid}\n"
    with pytest.raises(UsageError, match=r"'flow.png' is neither .svg nor .mmd"):
        picture.save(tmp_path / "flow.png")
    with pytest.raises(UsageError, match="cannot be written"):
        picture.save(tmp_path / "nowhere" / "flow.svg")
    assert sorted(file.name for file in tmp_path.iterdir() if "flow" in file.name or file.name[0] == ".") == [
        "flow.mmd", "flow.svg",
    ]  # fmt: skip
    assert (tmp_path / "flow.svg").stat().st_mode & 0o044
    assert picture._repr_svg_() == picture.svg


def test_without_graphviz(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(PluginError, match=r"pip install 'd6tstore\[graph\]'"):
        _ = store.graph(Get()).svg
    assert store.graph(Get()).mermaid


def test_on_the_command_line(flow, monkeypatch, project):
    monkeypatch.setattr(sys, "path", list(sys.path))
    flow("import d6tstore\nclass A(d6tstore.tasks.TaskJson):\n    n: int = 1\n    def run(self): self.save(1)")
    result = CliRunner().invoke(cli, ["graph", "flow:A", "--n", "2"])
    assert result.exit_code == 0 and 'n0["A<br/>n=2<br/>▶ PENDING"]' in result.stdout
    result = CliRunner().invoke(cli, ["graph", "flow:A", "-o", "a.svg"])
    assert (result.exit_code, result.stdout) == (0, "") and (project / "a.svg").read_text().startswith("<svg")
    assert CliRunner().invoke(cli, ["graph", "flow:A", "-o", "a.gif"]).exit_code == 2
