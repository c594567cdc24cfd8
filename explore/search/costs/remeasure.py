"""Measure the latency of all exported files of a finished study again, for studies that shared their machine.

Nothing is trained or exported. All files of a runtime are measured together, interleaved with the reference network.
Before them, the candidates are measured whose latency was predicted.
"""

from __future__ import annotations

import time

from arch.errors import InputError
from explore.evaluation.evaluator import Evaluators
from explore.host import try_lock
from explore.progress import Display
from explore.search.budget.plan import with_stored_plan
from explore.search.config import SearchConfig
from explore.search.context import open_context
from explore.search.costs.latency import busy_mark, measures_like_reference
from explore.search.costs.unmeasured import measure_candidates, measure_finalists
from explore.search.results import finalist_results
from explore.search.run import Outcome
from explore.search.storage import fingerprint
from explore.search.study import baselines, open_study, references


def remeasure(config: SearchConfig, display: Display) -> Outcome:
    """Measure the exported files of a finished study again; update results and manifests.

    Raises:
        InputError: no finished study of this configuration, another search runs it, or another kind of machine.
        Disturbed: other processes disturbed the measurement.
    """
    started, config = time.time(), with_stored_plan(config)
    if not finalist_results(config.folder):
        raise InputError(f"--remeasure: {config.folder} has no finalists; run `search` without it first")
    alone = try_lock(config.folder / "locks" / "parent.lock")
    if alone is None:
        raise InputError(f"{config.folder}: another search runs this study; wait for it")
    with alone, display:
        fingerprint.leave(config)
        if not measures_like_reference(config):
            raise InputError(
                f"{config.folder}: its reference network was measured on another kind of machine; run --remeasure there"
            )
        display.stage("data")
        with open_context(
            config,
            0,
            lambda stage, done, total: None,
            data_progress=lambda done, total: display.update(done / max(1, total)),
        ) as context:
            display.stage("latency")
            busy_mark(config).unlink(missing_ok=True)
            measure_candidates(context)
            display.update(0.5)
            measure_finalists(context)
        space = fingerprint.space_of(config)
        others = baselines(config, space) | references(config, space)
    data = Evaluators(context.evaluator, context.test)
    return Outcome(config, open_study(config), data, others, time.time() - started)
