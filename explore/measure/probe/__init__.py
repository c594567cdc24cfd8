"""The measuring program: its modules, and the single file assembled from them that runs on devices.

The modules of this package import numpy, a runtime and one another, and use nothing newer than Python 3.9. The decoder
of the bundles, which needs numpy alone, is the first part of the file. All top-level names must be distinct, because
`program` joins the modules into one namespace.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import resources

PARTS = (  # package and module; each imports only earlier ones
    ("quantize.sdk", "edgepose_decoder"),
    *((__name__, name) for name in ("machine", "protocol", "runtimes", "server")),
)
PROJECT = ("arch", "explore", "quantize")
HEADER = '"""The measuring program of edgepose, assembled from explore/measure/probe/. Needs numpy and a runtime."""'
STAND_INS = "InputError = WorkError = RuntimeError  # of arch.errors"


@cache
def program() -> bytes:
    """Return the source of the measuring program as one file without imports of this project."""
    parts = [HEADER, "from __future__ import annotations", STAND_INS]
    for package, name in PARTS:
        source = resources.files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (*PROJECT, "__future__"):
                for index in range(node.lineno - 1, node.end_lineno or node.lineno):
                    lines[index] = ""
        parts.append("\n".join(lines))
    return ("\n\n".join(parts) + "\n").encode()
