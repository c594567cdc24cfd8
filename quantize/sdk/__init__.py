"""Decoders for apps: one file without dependencies for each language, all after docs/decoder.md.

The Python decoder is also the source of the crop and the decoding in run.py of every bundle, and of the crop in the
whole project.
"""

from __future__ import annotations

import ast
from pathlib import Path

from arch.errors import InputError, not_one_of

LANGUAGES = {  # file of the decoder by the name of the language
    "python": "edgepose_decoder.py",
    "javascript": "edgepose_decoder.js",
    "c": "edgepose_decoder.h",
    "java": "EdgeposeDecoder.java",
    "csharp": "EdgeposeDecoder.cs",
    "kotlin": "EdgeposeDecoder.kt",
    "swift": "EdgeposeDecoder.swift",
}
ALIASES = {"py": "python", "js": "javascript", "c++": "c", "cpp": "c", "c#": "csharp", "cs": "csharp", "kt": "kotlin"}
OWN = {"__future__", "quantize.sdk.edgepose_decoder"}  # modules that run.py does not import


def parse(text: str) -> tuple[str, ...]:
    """Return the languages in a comma-separated list of names or aliases, each once.

    Raises:
        InputError: an unknown language.
    """
    found = []
    for part in filter(None, text.split(",")):
        name = ALIASES.get(part.strip().lower(), part.strip().lower())
        if name not in LANGUAGES:
            raise InputError(f"sdk: {not_one_of(part.strip(), LANGUAGES)}")
        found.append(name)
    return tuple(dict.fromkeys(found))


def path(language: str) -> Path:
    """Return the source file of the decoder in one of `LANGUAGES`."""
    return Path(__file__).with_name(LANGUAGES[language])


def run_program() -> bytes:
    """Return run.py of a bundle: the Python decoder and `quantize.runner` as one file without imports of edgepose."""
    texts = [
        path("python").read_text(encoding="utf-8"),
        Path(__file__).parent.with_name("runner.py").read_text(encoding="utf-8"),
    ]
    modules: set[str] = set()
    names: dict[str, set[str]] = {}
    bodies = []
    for text in texts:
        lines = text.splitlines()
        docstring, *nodes = ast.parse(text).body
        lines[: docstring.end_lineno] = [""] * (docstring.end_lineno or 0)
        for node in nodes:
            if isinstance(node, ast.Import):
                modules.add(ast.unparse(node))
            elif isinstance(node, ast.ImportFrom):
                names.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
            else:
                continue
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or 0) - node.lineno + 1)
        bodies.append("\n".join(lines).strip("\n"))
    imports = [f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names.keys() - OWN)]
    about = f'"""{ast.get_docstring(ast.parse(texts[1]), clean=False)}"""'
    future = "from __future__ import annotations"
    return "\n\n".join([about, future, "\n".join([*sorted(modules), *imports]), *bodies, ""]).encode()
