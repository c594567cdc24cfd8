"""Rules of the import graph, type-only and lazy imports included."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import import_graph

PACKAGES = ("arch", "quantize", "explore")
GRAPH = import_graph.import_graph(import_graph.modules(packages=(*PACKAGES, "benchmarks")))

# (importing, imported): an import below the first of something below the second is an error.
FORBIDDEN = [
    ("arch", "quantize"),
    ("arch", "explore"),
    ("quantize", "explore"),
    *((package, "benchmarks") for package in PACKAGES),
    ("explore.search", "explore.report"),
    ("explore.estimate", "explore.search"),
    ("explore.predict", "explore.measure"),
    ("", "explore.commands"),
    ("explore.pareto", "arch"),
    ("explore.pareto", "quantize"),
    ("explore.pareto", "explore"),
]
DISPATCHER = "explore.cli imports explore.commands"  # the list of commands, which explore.cli runs


def test_no_module_cycles() -> None:
    assert import_graph.cycles(GRAPH) == []


def test_no_package_cycles() -> None:
    assert import_graph.cycles(import_graph.package_graph(GRAPH)) == []


@pytest.mark.parametrize(("source", "target"), FORBIDDEN, ids=lambda name: name or "any")
def test_no_forbidden_import(source: str, target: str) -> None:
    found = import_graph.imports_between(GRAPH, source, target)
    assert [line for line in found if line != DISPATCHER] == []


def test_concepts_page_shows_the_graph() -> None:
    graph = import_graph.import_graph(import_graph.modules())
    expected = import_graph.markdown(import_graph.package_graph(graph))
    shown = import_graph.shown(import_graph.PAGE.read_text(encoding="utf-8"))
    assert shown == expected, "docs/concepts.md: outdated graph; run: python -m tests.helpers.import_graph --write"


def test_all_kinds_of_import_and_cycle_are_found(tmp_path: Path) -> None:
    files = {
        "arch/__init__.py": "",
        "arch/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from arch.b import thing\n",
        "arch/b.py": "def f():\n    from . import c\n",
        "arch/c.py": "import arch.a\n",
        "explore/search/__init__.py": "from .run import go\n",
        "explore/search/run.py": "from arch import a\nfrom explore.report import page\n",
        "explore/report/__init__.py": "",
        "explore/report/page.py": "from ..search import leases\n",
        "explore/search/leases.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    graph = import_graph.import_graph(import_graph.modules(tmp_path))
    assert graph["explore.search"] == {"explore.search.run"}
    assert import_graph.cycles(graph) == [["arch.a", "arch.b", "arch.c"]]
    packages = import_graph.package_graph(graph)
    assert import_graph.cycles(packages) == [["explore.report", "explore.search"]]
    assert import_graph.imports_between(graph, "explore.search", "explore.report") == [
        "explore.search.run imports explore.report.page"
    ]
