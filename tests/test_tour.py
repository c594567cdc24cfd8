"""The tour of the manual: its cells run one after the other, as in a notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import ROOT

TOUR = ROOT / "docs" / "tour.ipynb"


def test_the_cells_of_the_tour_run(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(TOUR.read_text())["cells"] if cell["cell_type"] == "code"]
    program = tmp_path / "tour.py"
    program.write_text("\n\n".join("".join(cell["source"]) for cell in cells))
    done = subprocess.run(
        [sys.executable, program], cwd=ROOT / "docs", text=True, capture_output=True, timeout=1200,
        env=os.environ | {"TMPDIR": str(tmp_path), "EDGEPOSE_BACKGROUND_LOAD": "1"},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert "paper-S-relu@64" in done.stdout and "net/litert" in done.stdout


def test_the_stored_outputs_have_no_error() -> None:
    outputs = [output for cell in json.loads(TOUR.read_text())["cells"] for output in cell.get("outputs", ())]
    assert outputs and all(output["output_type"] != "error" for output in outputs)
    assert sum("image/" in kind for output in outputs for kind in output.get("data", {})) >= 2
