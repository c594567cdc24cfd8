"""Faulty YAML and JSON files: one line with the file and the fault. `test_commands` tries every command that reads them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from arch.documents import MAX_BYTES, load_document, load_mapping, load_written
from arch.errors import InputError
from explore.options import from_options
from explore.search.config import SearchConfig

FAULTS = {  # of any hand-written YAML file: content, expected message
    "": "empty; write",
    "# seed: 1\n": "empty; write",
    "{}": "empty; write",
    "false": "not a mapping; write",
    "0": "not a mapping; write",
    "[]": "not a mapping; write",
    "''": "not a mapping; write",
    "seed: 1\nseed: 2": "line 2: seed: given twice",
    "a: {b: 1, b: 1}": "line 1: b: given twice",
    "1: x": "line 1: the key '1' is not text",
    "yes: x": "line 1: the key 'yes' is not text",
    "null: x": "line 1: the key 'null' is not text",
    "[a, b]: x": "line 1: the key is not text",
    "? {a: b}\n: x": "line 1: the key is not text",
    "a: .nan": "a: nan is not a finite number",
    "a: {b: [1, -.inf]}": r"a\.b\[1\]: -inf is not a finite number",
    "a: 1e999\nb: 1.0e+999": "b: inf is not a finite number",
    "a: " + "9" * 30: "a: an integer of more than 64 bits",
    "a: " + "9" * 5000: "line 1: a number of 5000 characters",
    "a: 1" + ":1" * 5000: "line 1: a number of 10001 characters",
    "x" * 1000 + ": 1": r"x{80}\.\.\.: |Field required",
    "a: " + "[" * 30 + "]" * 30: "nested more than 20 levels",
    "a: " + "[" * 5000: "nested more than 20 levels",
    "a: &x [1]\nb: *x": r"line 2: \*x is an alias",
    "a: &x [*x]": r"line 1: \*x is an alias",
    "a: &x {b: 1}\nc: {<<: *x}": "'merge'|is an alias",
    "a: !!binary aGk=": "line 1: a value of the type 'binary'",
    "a: !!set {b}": "line 1: a value of the type 'set'",
    "a: !!python/object:os.system x": "a value of the type 'python/object:os.system'",
    "a: !!bool maybe": "not YAML",
    "a: [1": "not YAML",
    "a: 1\n---\nb: 1": "not YAML",
    "a: \x00": "not YAML",
    "a: '" + "x" * MAX_BYTES + "'": "larger than 50 kB",
}
JSON_FAULTS = {
    "": "not JSON",
    '{"a": 1, "a": 2}': "a: given twice",
    '{"a": NaN}': "a: nan is not a finite number",
    '{"a": 1e999}': "a: inf is not a finite number",
    '{"a": ' + "9" * 5000 + "}": "Exceeds the limit",
    "[" * 40_000: "nested more than 20 levels",
    "[]": "not a mapping; write",
}


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"x", b'{"a": ' + b"9" * 5000 + b"}"])
def test_damaged_files_of_this_project(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"budget\.json: damaged \(.*; restore it, or delete it and run again$"):
        load_written(path)


def configured(path: str) -> SearchConfig:
    return from_options(argparse.Namespace(config=path), SearchConfig)


@pytest.mark.parametrize("content", FAULTS, ids=lambda content: content[:20])
def test_faults_of_yaml(content: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=FAULTS[content]) as caught:
        configured(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < 1000


@pytest.mark.parametrize("content", JSON_FAULTS, ids=lambda content: content[:20])
def test_faults_of_json(content: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(InputError, match=JSON_FAULTS[content]):
        load_mapping(path, "the keys a and b")


def test_valid_content_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 2026-13-45\n'1': [1, 2.5, true, null, text]\nb: {c: -9223372036854775808}\n")
    assert load_document(path, "") == {"a": "2026-13-45", "1": [1, 2.5, True, None, "text"], "b": {"c": -(2**63)}}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_numbers_of_options_are_finite(value: str) -> None:
    args = argparse.Namespace(config=None, **{"candidate.learning_rate": value})
    with pytest.raises(InputError, match=r"command line: candidate\.learning_rate: "):
        from_options(args, SearchConfig)
