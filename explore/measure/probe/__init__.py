"""The measuring program: its modules, and the single file assembled from them that runs on devices.

The modules of this package import numpy, a runtime and one another, and use nothing newer than Python 3.9. Their
top-level names must be distinct, because `program` joins them into one namespace. Functions that they import from
`quantize.sdk.edgepose_decoder`, which has no dependencies in this project either, are copied into it.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import resources

MODULES = ("machine", "protocol", "runtimes", "server")  # each imports only earlier ones
PROJECT = ("arch", "explore", "quantize")
SHARED = "quantize.sdk.edgepose_decoder"
HEADER = '"""The measuring program of edgepose, assembled from explore/measure/probe/. Needs numpy and a runtime."""'
STAND_INS = "InputError = WorkError = RuntimeError  # of arch.errors"


@cache
def program() -> bytes:
    """Return the source of the measuring program as one file without imports of this project."""
    parts = [HEADER, "from __future__ import annotations", STAND_INS]
    for name in MODULES:
        source = resources.files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (*PROJECT, "__future__"):
                for index in range(node.lineno - 1, node.end_lineno or node.lineno):
                    lines[index] = ""
                if node.module == SHARED:
                    parts += _functions([alias.name for alias in node.names])
        parts.append("\n".join(lines))
    return ("\n\n".join(parts) + "\n").encode()


def _functions(names: list[str]) -> list[str]:
    """Return the source of functions of `quantize.sdk.edgepose_decoder`."""
    package, _, module = SHARED.rpartition(".")
    source = resources.files(package).joinpath(f"{module}.py").read_text(encoding="utf-8")
    found = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    return [ast.get_source_segment(source, found[name]) or "" for name in names]
