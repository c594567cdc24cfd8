"""What a search minimises and limits: names, units, devices, bounds in closed form, and the predictor that screens."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, preset
from explore.config import parse
from explore.measure.predictor import fit
from explore.pareto import select_along_front
from explore.search.config import SearchConfig
from explore.search.costs import objectives
from explore.search.costs.minimum import smallest
from explore.search.costs.quantities import QUANTITIES, parse_limit
from tests.helpers.measure import CONDITIONS, predictor_rows
from tests.helpers.search import TINY_SPACE

PI, PHONE = "ssh://pi@raspberry?python=~/v/bin/python", "web://127.0.0.1:8000?token=a-word-of-mine"
MOBILE = Space.named("mobile").at(64)
FIGURES = {
    "mpjpe_mm": 100.0, "latency_ms": 2.0, objectives.latency_key(PI): 20.0, objectives.latency_key(PHONE): 9.0,
    "macs": 60_000_000, "params": 1_500_000, "bytes": 2_000_000, "memory": 500_000,
}  # fmt: skip


def test_values_are_in_the_order_of_the_objectives_with_the_error_first() -> None:
    config = SearchConfig(objectives=("peak-memory", "size", "mpjpe", "params", f"latency@{PI}"))
    assert objectives.objectives(config)[0] == "mpjpe_mm"
    assert objectives.values(config, FIGURES) == [100.0, 500_000, 2_000_000, 1_500_000, 20.0]
    assert not objectives.measures_here(config) and objectives.addresses(config) == (PI,)
    assert objectives.values(SearchConfig(), FIGURES) == [100.0, 2.0] and objectives.measures_here(SearchConfig())


def test_a_limited_device_is_measured_and_is_no_objective() -> None:
    config = SearchConfig(limits=(f"latency@{PHONE}=8ms", "mpjpe=12cm"))
    assert objectives.objectives(config) == ("mpjpe_mm", "latency_ms")
    assert objectives.addresses(config) == ("local", PHONE)
    excess = objectives.constraints(config, FIGURES)
    assert excess[f"limit latency@{PHONE}"] == pytest.approx(1 / 8) and excess["limit mpjpe"] == pytest.approx(-1 / 6)
    assert not objectives.is_within_limits(config, FIGURES)
    assert objectives.is_within_limits(SearchConfig(limits=("size=2MB", "macs=60M", "latency=2000us")), FIGURES)


@pytest.mark.parametrize(
    ("text", "value"),
    {
        "latency=20": 20.0,
        "latency=1.5s": 1500.0,
        "macs=80M": 8e7,
        "macs=80000000": 8e7,
        "macs=1.2g": 1.2e9,
        "macs=0.5L": 0.5 * cost(preset("paper-L@64")).macs,
        "macs=2": 2 * cost(preset("paper-L@64")).macs,
        "params=250k": 250e3,
        "size=2MiB": 2 * 2**20,
        "size=300 kb": 3e5,
        "peak-memory=.5MB": 5e5,
        "mpjpe=100": 100.0,
    }.items(),
)
def test_units_of_limits(text: str, value: float) -> None:
    assert parse_limit(text).value(64) == pytest.approx(value)
    assert parse_limit(parse_limit(text).text).value(64) == pytest.approx(value)


def test_the_usual_limit_of_macs_holds_until_another_is_given() -> None:
    assert SearchConfig(limits=("latency=20ms",)).limits == ("latency=20ms", "macs=0.5L")
    assert SearchConfig.model_validate({"limits": {"size": "2MB", "macs": "1.2G"}}).limits == ("macs=1.2G", "size=2MB")
    assert SearchConfig().mac_limit == pytest.approx(0.5 * cost(preset("paper-L@64")).macs)


def test_options_of_version_0_1_are_taken_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    old = {"devices": ["local", PI, PHONE], "max_ms": f"{PI}=15,local=3", "max_cost": 0.25, "limits": ["size=2MB"]}
    config = parse(SearchConfig, old, "config.yaml")
    assert config.objectives == ("mpjpe", "latency", f"latency@{PHONE}"), (
        "a further device with a limit is only limited"
    )
    assert config.limits == ("latency=3ms", f"latency@{PI}=15ms", "macs=0.25L", "size=2MB")
    notices = capsys.readouterr().err.splitlines()
    assert [line.split("'")[1] for line in notices] == ["devices", "max_ms", "max_cost"]
    assert "now called 'limits'" in notices[1]


def test_a_study_with_the_usual_objectives_keeps_its_hash() -> None:
    plain = SearchConfig()
    assert {"objectives", "predictor"} & plain.identity().keys() == set()
    assert SearchConfig(objectives=("mpjpe", "macs")).hash != plain.hash
    assert SearchConfig(predictor="p.json").hash == plain.hash


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": ("mpjpe", "latancy")}, "did you mean 'latency'?"),
        ({"objectives": ("mpjpe",)}, "mpjpe alone has no front"),
        ({"objectives": ("macs", "latency")}, "mpjpe is missing"),
        ({"objectives": ("mpjpe", "latency", "latency@local")}, "named twice"),
        ({"objectives": ("mpjpe", f"latency@{PI}", f"latency@{PI}&hostkeys=yes")}, "named twice"),
        ({"objectives": ("mpjpe", "macs@pi")}, "macs is the same on every device"),
        ({"objectives": ("mpjpe", "latency@")}, "no DEVICE"),
        ({"limits": ("sise=2MB",)}, "did you mean 'size'?"),
        ({"limits": ("size",)}, "write NAME=VALUE"),
        ({"limits": ("size=2",)}, "no unit; write size=2MB (B, kB, MB, GB, KiB, MiB)"),
        ({"limits": ("latency=fast",)}, "'fast' is not a number above 0"),
        ({"limits": ("latency=-1ms",)}, "'-1ms' is not a number above 0"),
        ({"limits": ("latency=2min",)}, "'min' is not a unit of latency (us, ms, s)"),
        ({"limits": ("params=0.5L",)}, "'L' is not a unit of params"),
        ({"limits": ("size=2MB", "size=3MB")}, "has another limit"),
        ({"max_ms": ("local=fast",)}, "limits"),
    ],
)
def test_wrong_names_and_units(changes: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(SearchConfig, changes, "command line")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("command line: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": ("mpjpe", "latency@toaster")}, "toaster: unknown device"),
        ({"objectives": ("mpjpe", "latency@web")}, "its address must not change"),
        ({"predictor": "nowhere.json"}, "nowhere.json"),
        (
            {"limits": ("macs=1M",)},
            "macs=1M: no network of space mobile is below it; the smallest has about 1.3 M MACs",
        ),
        ({"limits": ("size=50kB",)}, "size=50kB: no network"),
        ({"limits": ("params=20k",)}, "params=20k: no network"),
        ({"limits": ("peak-memory=1kB", "macs=80M")}, "peak-memory=1kB: no network"),
    ],
)
def test_what_cannot_be_searched_for(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    config = SearchConfig.model_validate({"results": str(tmp_path), **changes})
    with pytest.raises(InputError) as caught:
        objectives.check_objectives(config, MOBILE)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_limits_that_exclude_each_other(tmp_path: Path) -> None:
    """Of two networks, one has fewer MACs and the other fewer parameters."""
    dimensions = {"stem_stride": [1, 2], "intermediate_channels": {"values": [128], "when": {"stem_stride": [1]}}}
    space = Space.model_validate({"name": "two", "base": {"activation": "relu"}, "dimensions": dimensions}).at(64)
    light, few = (space.suggest({"stem_stride": stride, "intermediate_channels": 128}.get) for stride in (1, 2))  # type: ignore[arg-type]
    config = SearchConfig(results=str(tmp_path), limits=(f"macs={cost(few).macs}", f"params={cost(light).params}"))
    with pytest.raises(InputError, match="within all of them, although each alone can be met"):
        objectives.check_limits(config, space)
    objectives.check_limits(config.model_copy(update={"limits": config.limits[:1]}), space)


@pytest.mark.parametrize("name", [name for name, one in QUANTITIES.items() if one.closed_form])
def test_the_smallest_network_is_the_smallest_of_all(name: str) -> None:
    from quantize.recipes import recipe

    form, int8 = QUANTITIES[name].closed_form, recipe("int8-static")
    assert form is not None

    def value(arch: Arch) -> float:
        return form(arch, int8)

    tiny = Space.model_validate({**TINY_SPACE, "dimensions": {k: {"values": v} for k, v in _dimensions().items()}}).at(
        64
    )
    points = itertools.product(*(dimension.values for dimension in tiny.dimensions.values()))
    every = [tiny.arch(tiny.base | dict(zip(tiny.dimensions, point, strict=True))) for point in points]
    assert len(every) == 96 and smallest(tiny, value) == min(map(value, every))


def _dimensions() -> dict[str, list[Any]]:
    return TINY_SPACE["dimensions"] | {"concat": ["none", "skip", "residual"], "decoder_width": [32, 64]}  # type: ignore[operator]


def _with_reference(folder: Path, ms: float) -> None:
    reference = folder / "s" / "reference" / "reference.json"
    reference.parent.mkdir(parents=True)
    reference.write_text(json.dumps({"litert": {"median_ms": ms}}))


def test_the_predictor_screens_what_is_well_above_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    made = fit(predictor_rows(60, 10), CONDITIONS)
    made.save(path)
    small, large = preset("paper-XS-relu@64"), preset("paper-L-relu@64")
    most = float(made.ms([small])[0]) * 1.05
    config = SearchConfig(
        results=str(tmp_path), study="s", predictor=str(path), limits=(f"latency={most}ms", "macs=2L")
    )
    objectives.check_objectives(config, MOBILE)
    _with_reference(tmp_path, 0.25)
    assert objectives.limit_check(config, "int8-static")(small) == ("", "")
    reason, stage = objectives.limit_check(config, "int8-static")(large)
    assert "predicted, above the limit latency=" in reason and stage == "predictor"
    assert objectives.limit_check(config.model_copy(update={"predictor": ""}), "int8-static")(large) == ("", "")
    assert objectives.limit_check(SearchConfig(results=str(tmp_path)), "int8-static")(large) == (
        "macs 273.3 M MACs, above the limit macs=0.5L",
        "cost",
    )
    for changes, words in (
        ({"objectives": ("mpjpe", "macs"), "limits": ("macs=2L",)}, "neither an objective nor limited"),
        ({"input_size": 128}, "input_size"),
        ({"quantization": "float"}, "recipe"),
        ({"limits": ("latency=0.001ms", "macs=2L")}, "latency=0.001ms: no network of space mobile"),
    ):
        with pytest.raises(InputError, match=words):
            objectives.check_objectives(config.model_copy(update=changes), MOBILE)


def test_a_limit_of_latency_is_bounded_by_the_reference_network(tmp_path: Path) -> None:
    config = SearchConfig(results=str(tmp_path), study="s", limits=("latency=0.001ms",))
    objectives.check_limits(config, MOBILE)  # nothing is known about this machine
    _with_reference(tmp_path, 0.25)
    with pytest.raises(InputError, match=r"latency=0\.001ms: no network of space mobile"):
        objectives.check_limits(config, MOBILE)
    objectives.check_limits(config.model_copy(update={"limits": ("latency=0.05ms",)}), MOBILE)


def test_costs_known_before_training(tmp_path: Path) -> None:
    _with_reference(tmp_path, 0.25)
    config = SearchConfig(
        results=str(tmp_path), study="s", objectives=("mpjpe", "latency", "macs", "size", "peak-memory")
    )
    small, large = preset("paper-XS-relu@64"), preset("paper-L-relu@64")
    costs = objectives.known_costs(config, "int8-static")
    spent = cost(large)
    assert costs(small)[0] == pytest.approx(0.25), "the reference network's own"
    assert costs(large)[0] == pytest.approx(0.25 * (spent.macs / cost(small).macs) ** 0.9)
    assert costs(large)[1:] == [spent.macs, spent.weight_bytes_int8, spent.peak_activation_bytes_int8]
    assert objectives.known_costs(config, "float")(large)[2] == spent.weight_bytes_float


def test_finalists_of_three_objectives_begin_with_the_best_of_each() -> None:
    points = np.array([[1, 9, 9], [9, 1, 9], [9, 9, 1], [5, 5, 5], [8, 8, 8], [9, 9, 9]], float)
    chosen = select_along_front(points, 4)
    assert set(chosen[:3]) == {0, 1, 2} and chosen[3] == 3
