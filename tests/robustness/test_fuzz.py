"""Fuzz tests of configurations, spaces, networks, recipes, manifests and annotations.

Any content gives a valid object or an InputError of one line, within a time limit. `-m slow` runs thousands of cases.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import ROOT

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arch.errors import InputError
from arch.files import content_hash
from arch.search_space import Space
from arch.space import named_arch
from explore.data import open_dataset
from explore.options import from_options
from explore.predict import BUNDLED
from explore.search.config import SearchConfig
from quantize import manifest
from quantize.recipes import recipe
from tests.helpers.layouts import custom, human36m, mpii, mscoco, muco, mupots

LIMIT_S = 20  # of one case, on a busy machine
COUNTS = [20, pytest.param(1000, marks=pytest.mark.slow)]  # of cases

numbers = st.one_of(
    st.integers(-3, 300),
    st.sampled_from(
        [0, -1, 1 << 31, 1 << 63, 10**30, -(10**400), 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf")]
    ),
    st.floats(),
)
plain = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=8), st.sampled_from(["../x", "\x00", "\x1b[31m", "\ud800"])
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)
edits = st.lists(
    st.tuples(st.integers(0, 2**32), st.sampled_from(["set", "drop", "copy", "swap"]), values), min_size=1, max_size=3
)


def places(content: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document."""
    found: list[tuple[Any, Any]] = []
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        found += [(content, key), *places(content[key])]
    return found


def edited(content: Any, changes: list[tuple[int, str, Any]]) -> Any:
    """Return a copy of a document with some of its values replaced, dropped, repeated or exchanged."""
    content = json.loads(json.dumps(content))
    for seed, action, value in changes:
        chosen = random.Random(seed)
        if not (all_places := places(content)):
            break
        container, key = chosen.choice(all_places)
        if action == "drop":
            del container[key]
        elif action == "copy" and isinstance(container, list):
            container.append(container[key])
        elif action == "swap":
            other, place = chosen.choice(all_places)
            container[key] = json.loads(json.dumps(other[place]))
        else:
            container[key] = value
    return content


def check(read: Callable[[str], object], path: Path) -> None:
    """Read a file: a result, or an InputError of one short line."""
    try:
        read(str(path))
    except InputError as error:
        assert "\n" not in str(error) and 0 < len(str(error)) < 3000, error


# ---- what is read ----

SPACE = yaml.safe_load((ROOT / "arch" / "spaces" / "mobile.yaml").read_text())
DOCUMENTS: dict[str, tuple[Callable[[str], object], Any]] = {
    "config": (
        lambda path: from_options(argparse.Namespace(config=path), SearchConfig),
        json.loads(SearchConfig().model_dump_json()),
    ),
    "space": (Space.load, SPACE),
    "arch": (
        named_arch,
        {"encoder": "mobilenet_v2", "width": 0.5, "heatmap_size": 16, "input_size": 64, "depths": [1] * 7},
    ),
    "recipe": (recipe, {"weights": "int8", "activations": "int8", "calibration_images": 10, "float_first": 1}),
}
MANIFEST = json.loads((BUNDLED / "manifest.json").read_text())
LAYOUTS = {"custom": custom, "human36m": human36m, "mpii": mpii, "mscoco": mscoco, "muco": muco, "mupots": mupots}


def cases(count: int) -> Any:
    return settings(
        max_examples=count,
        deadline=timedelta(seconds=LIMIT_S),
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents(kind: str, count: int, tmp_path: Path) -> None:
    read, content = DOCUMENTS[kind]
    path = tmp_path / "mine.yaml"

    @cases(count)
    @given(edits)
    def run(changes: list[tuple[int, str, Any]]) -> None:
        path.write_text(yaml.safe_dump(edited(content, changes), sort_keys=False), errors="replace")
        check(read, path)

    @cases(count // 2)
    @given(st.one_of(values, st.binary(max_size=200), st.text(alphabet="ab:-[]{}&*!|>'\"\n #?,%@1.~", max_size=60)))
    def run_any(content: Any) -> None:
        path.write_bytes(
            content
            if isinstance(content, bytes)
            else content.encode(errors="surrogatepass")
            if isinstance(content, str)
            else yaml.safe_dump(content).encode(errors="replace")
        )
        check(read, path)

    run()
    run_any()


@pytest.mark.parametrize("count", COUNTS)
def test_manifests(count: int, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"

    @cases(count)
    @given(edits)
    def run(changes: list[tuple[int, str, Any]]) -> None:
        content = edited({key: value for key, value in MANIFEST.items() if key != "checksum"}, changes)
        content["checksum"] = content_hash(content, 16)
        path.write_text(json.dumps(content))
        check(lambda place: manifest.parse(Path(place)), path)

    run()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_annotations(name: str, count: int, tmp_path: Path) -> None:
    path = LAYOUTS[name](tmp_path / name, 3)
    split = "test" if name == "mupots" else "train"
    files = sorted(path.parent.glob(f"{path.name.removesuffix('data.json')}*"))
    contents = [file.read_text() for file in files]

    @cases(count)
    @given(st.integers(0, len(files) - 1), edits)
    def run(index: int, changes: list[tuple[int, str, Any]]) -> None:
        try:
            files[index].write_text(json.dumps(edited(json.loads(contents[index]), changes)))
            check(lambda _: open_dataset(f"{name}:{tmp_path / name}", split), files[index])
        finally:
            files[index].write_text(contents[index])

    run()
