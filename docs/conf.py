"""How Sphinx builds the site: `scripts/docs`. The pages stay plain Markdown, which GitHub shows as well.

The source folder is the whole checkout, so that links between pages, README and examples are all checked.
"""

from __future__ import annotations

import builtins
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

sys.path.insert(0, str(Path(__file__).parents[1]))

import d6tstore
from d6tstore.cli import cli

project = "d6tstore"
version = release = d6tstore.__version__
html_title = f"d6tstore {version}"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "benchmarks/*.md", "docker/*.md", "examples/**/*.md"]
exclude_patterns = [".*", "site", "dist", "data", "**/data", "examples/template"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # `page.md#a-heading`, as on GitHub; one that is not there is a warning
suppress_warnings = ["myst.header", "misc.highlighting_failure"]  # how pages look is no error

default_role = "code"  # `x` in a docstring, as in Markdown
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Class attributes", "params_style")]
add_function_parentheses = False

html_theme = "furo"
html_copy_source = html_show_sourcelink = html_show_sphinx = html_show_copyright = False

WIDTH = 84  # characters of a line of code that a page shows without scrolling
log = logging.getLogger(__name__)
ENTRY = re.compile(r"^- \[[^\]]+\]\(([^)#:]+)\.(?:md|rst)\)", re.M)
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.M | re.S)
OURS = "Backend|Format|Pipe|FilesPipe|Plan|Record|Report|Store|TableBackend|Target|Task|d6tstore"
NAMED = re.compile(rf"(?<![`:])`((?:{OURS})\.(?!toml)\w+)(?:\(\))?`(?!`)")


def order(app: Any, docname: str, source: list[str]) -> None:
    """The lists of links in docs/index.md are the order of the pages, its headings the captions."""
    if docname == root_doc:
        for caption, section in SECTION.findall(source[0]):
            pages = "\n".join(ENTRY.findall(section))
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def commands(app: Any, docname: str, source: list[str]) -> None:
    """The help of every command goes into its page, as a terminal shows it."""
    if docname == "docs/reference/commands":
        source[0] += "\n".join(helps(cli, "d6tstore", None))


def helps(command: click.Command, name: str, parent: click.Context | None) -> list[str]:
    """Headings and help of a command and of those in it."""
    context = command.make_context(
        name, [], parent, resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    )
    told = [f"\n## {context.command_path}\n", "```text", command.get_help(context), "```\n"]
    inner = command.commands if isinstance(command, click.Group) else {}
    return told + [line for key, each in inner.items() for line in helps(each, key, context)]


def name_ours(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """`Store.run` in a docstring is a link, and a warning if the reference has no such thing."""
    lines[:] = [NAMED.sub(r":py:meth:`\1`", line) for line in lines]


def unlink_builtins(app: Any, doctree: nodes.document) -> None:
    """The type `bytes` in a signature is no link to an attribute of that name."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node["reftype"] == "class" and hasattr(builtins, node["reftarget"]):
            node.replace_self(node.children)


def resolve(app: Any, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Find `Pipe.push` wherever it is defined; a class attribute is described with its class."""
    if node.get("reftype") != "meth":
        return None
    objects = env.domains.python_domain.objects
    owner, _, member = node["reftarget"].rpartition(".")
    for wanted in (node["reftarget"], owner if hasattr(getattr(d6tstore, owner, None), member) else ""):
        for full, entry in objects.items():
            if wanted and f".{full}".endswith(f".{wanted}"):
                return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content)
    log.warning("the reference has no %s", node["reftarget"], location=node)
    return None


def lacking(app: Any, env: Any) -> None:
    """A public name that the reference does not have is a warning."""
    objects = env.domains.python_domain.objects
    for name in d6tstore.__all__:
        if not inspect.ismodule(getattr(d6tstore, name)) and f"d6tstore.{name}" not in objects:
            log.warning("the reference lacks d6tstore.%s", name)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", order)
    app.connect("source-read", commands)
    app.connect("autodoc-process-docstring", name_ours)
    app.connect("doctree-read", unlink_builtins)
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", lacking)
