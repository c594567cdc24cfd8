from __future__ import annotations

import pytest
import torch

from explore.evaluation.evaluator import Evaluator
from tests.helpers.training import rendered_evaluator


@pytest.fixture(scope="session")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    torch.set_num_threads(1)
    return rendered_evaluator(tmp_path_factory.mktemp("cache"))
