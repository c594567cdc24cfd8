"""What `bench int8` says of a study judged twice, and how its record reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from arch.errors import InputError
from explore.bench import BENCHES, Claim, get
from explore.bench.fronts import bench_fronts
from explore.bench.int8_table import markdown

TRIALS = """trial,state,name,mpjpe_mm,latency_ms,float_mpjpe_mm,macs
0,complete,good,100,1.0,99,10
1,complete,slow-in-int8,98,9.0,97,12
2,complete,fast-in-int8,97,2.0,98,14
3,complete,worst,150,9.5,150,99
4,fail,failed,,,,
"""


def test_a_network_that_int8_makes_slow_leaves_the_front(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(TRIALS)
    rows, (claim,) = bench_fronts(tmp_path)
    judged = {row["network"]: (row["by_int8"], row["by_float"]) for row in rows}
    assert judged == {
        "good": (True, True),
        "slow-in-int8": (False, True),
        "fast-in-int8": (True, False),
        "worst": (False, False),
    }
    assert claim.holds and claim.measured == "1 enter, 1 leave, 1 stay"
    with pytest.raises(InputError, match=r"trials.csv: no such file; set EDGEPOSE_STUDY"):
        bench_fronts(tmp_path / "none")
    page = markdown(rows, [claim, Claim(name="x", asked="2", measured="1", holds=False)])
    assert "| x | 2 | 1 |  | **falls short** |" in page
    assert "| slow-in-int8 | 98.0 | 9.000 | 97.0 | 0.0 | off it | on the front |" in page
    assert "worst" not in page


def test_it_is_a_bench() -> None:
    module = get("int8")
    assert "int8" in BENCHES and callable(module.run) and module.CONFIG["recipes"] and callable(module.markdown)
