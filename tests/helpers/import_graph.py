"""Import graph of the packages, read from their source with `ast`; nothing is imported.

`python -m tests.helpers.import_graph` prints the graph as Markdown, `--write` updates docs/concepts.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.helpers import ROOT

PAGE = ROOT / "docs" / "concepts.md"
BEGIN, END = "<!-- import graph: begin -->\n", "<!-- import graph: end -->\n"

Graph = dict[str, set[str]]  # importing name -> imported names


def modules(root: Path = ROOT, packages: Iterable[str] = ("arch", "quantize", "explore")) -> dict[str, Path]:
    """Return the file of each module below `packages` by its dotted name."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(files: Mapping[str, Path]) -> Graph:
    """Return the modules among `files` that each module imports, including lazy and type-only imports."""
    graph: Graph = {name: set() for name in files}
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph[name].update(alias.name for alias in node.names if alias.name in files)
            elif isinstance(node, ast.ImportFrom):
                source = _absolute(name, path, node)
                for alias in node.names:
                    submodule = f"{source}.{alias.name}"
                    graph[name].update({submodule if submodule in files else source} & files.keys())
        graph[name].discard(name)
    return graph


def _absolute(name: str, path: Path, node: ast.ImportFrom) -> str:
    """Return the dotted name of the module after `from`; relative imports are resolved."""
    if not node.level:
        return node.module or ""
    parts = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])


def package_of(module: str) -> str:
    """Return `arch`, `quantize`, `benchmarks`, or `explore.X` for everything below it."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "explore" else parts[0]


def package_graph(graph: Graph) -> Graph:
    """Return the graph of packages; imports within a package are left out."""
    packages: Graph = {package_of(module): set() for module in graph}
    for module, targets in graph.items():
        packages[package_of(module)] |= {package_of(target) for target in targets} - {package_of(module)}
    return packages


def cycles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components with more than one member, each sorted."""
    reach = {name: _reachable(graph, name) for name in graph}
    found = {
        tuple(sorted({name} | {other for other in reach[name] if name in reach[other]}))
        for name in graph
        if name in reach[name]
    }
    return [list(component) for component in sorted(found)]


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    stack = list(graph[start])
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack += graph[name]
    return seen


def imports_between(graph: Graph, source: str, target: str) -> list[str]:
    """Return every import from below `source` into `target`, as `module imports module`; `source` may be ''."""

    def below(module: str, package: str) -> bool:
        return not package or module == package or module.startswith(f"{package}.")

    return [
        f"{module} imports {imported}"
        for module, targets in sorted(graph.items())
        if below(module, source) and not below(module, target)
        for imported in sorted(targets)
        if below(imported, target)
    ]


def markdown(packages: Graph) -> str:
    """Return the graph of packages as a Mermaid drawing and a table.

    The drawing leaves out an import that a longer path implies; the table has all of them.
    """
    short = {name: name.removeprefix("explore.") for name in packages}
    reach = {name: _reachable(packages, name) for name in packages}
    lines = ["```mermaid", "graph TD"]
    for name in sorted(packages):
        implied = {far for near in packages[name] if name not in reach[near] for far in reach[near]}
        lines += [f"  {short[name]} --> {short[target]}" for target in sorted(packages[name] - implied)]
    lines += ["```", "", "| package | imports |", "|---|---|"]
    for name in sorted(packages):
        targets = ", ".join(f"`{target}`" for target in sorted(packages[name]))
        lines.append(f"| `{name}` | {targets or 'nothing of this project'} |")
    return "\n".join(lines) + "\n"


def shown(page: str) -> str:
    """Return the part of docs/concepts.md between the markers."""
    return page.partition(BEGIN)[2].partition(END)[0]


def main(argv: list[str]) -> int:
    """Print the graph, or write it into docs/concepts.md; an argument may name another clone's root."""
    root = Path(next((text for text in argv if text != "--write"), ROOT))
    graph = import_graph(modules(root))
    text = markdown(package_graph(graph))
    if "--write" in argv:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(page.replace(BEGIN + shown(page) + END, BEGIN + text + END), encoding="utf-8")
        return 0
    print(text)
    for kind, found in (("module", cycles(graph)), ("package", cycles(package_graph(graph)))):
        print(f"{kind} cycles: " + ("; ".join(" <-> ".join(component) for component in found) or "none"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
