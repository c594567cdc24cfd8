"""Samplers compared on public tables of evaluated networks, and on the project's own space.

On a table, a trial takes no training, so that many seeds and methods can be compared. The measure is the hypervolume
regret: the fraction of the exact front's hypervolume that the networks found lack. Observed errors choose the networks,
true errors count. Settings of the methods are chosen on some of the tables, with other seeds.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from arch.files import content_hash, sha256_file
from benchmarks import Claim
from benchmarks.search.methods import METHODS, Method, Setting
from benchmarks.search.own_space import CONFIG as OWN_CONFIG
from benchmarks.search.own_space import own_claims, own_rows
from benchmarks.search.page import page, plot
from benchmarks.search.results import Row, method_row, table_claims
from benchmarks.search.tables import TABLES, Table, regrets
from benchmarks.steps import part_of, run_steps
from explore.host import default_cache
from explore.search import samplers

CONFIG: dict[str, Any] = {
    "version": 1,  # raised when tables or methods change, so that their results are computed again
    "finished_only": False,  # write the record of the searches that have finished so far
    "seeds": 20, "stops": [10, 20, 40, 60, 80, 100, 150, 200],
    "tuning_tables": ["macro", "nb201-pixel3"], "tuning_seeds": [100, 101, 102, 103, 104], "tuning_stops": [20, 40, 60, 100],
    "tables": list(TABLES), "methods": list(METHODS), **OWN_CONFIG,
}  # fmt: skip
SAMPLER_MODULES = ("cost_aware", "choices", "gaussian_process", "improvement", "surrogate")
EQUAL = 0.01
PARTS = ("tables", "own-space")
PLOT = Path("results/bench/search.png")


def run(progress: Callable[[float], None], part: str = "", before: Iterable[Row] = ()) -> tuple[list[Row], list[Claim]]:
    """Return the rows and claims of both parts, or of one and the other's rows of a record; each row names its part.

    Rows of methods (`--set methods=[...]`), and of samplers and seeds of the own space, that were not run are kept, too.
    """
    parts = [part] if part else list(PARTS)
    found = {name: [row for row in before if row["part"] == name] for name in PARTS}
    for turn, name in enumerate(parts):
        within = part_of(progress, turn, len(parts))
        own = table_rows(within) if name == "tables" else own_rows(CONFIG, within, found[name])
        own = [{"part": name, **row} for row in own]
        found[name] = _merged(own, found[name]) if name == "tables" else own
    rows = [row for name in PARTS for row in found[name]]
    if found["tables"]:
        plot(PLOT, [row for row in found["tables"] if "table" in row])
    return rows, [*table_claims(found["tables"]), *own_claims(found["own-space"])]


def _merged(rows: list[Row], before: list[Row]) -> list[Row]:
    """Add the rows of methods that `rows` lack; return all by kind, table and method."""
    run_now = {_method(row) for row in rows}
    tables, methods = list(TABLES), list(METHODS)

    def place(row: Row) -> tuple[int, int]:
        return tables.index(row["table"]) if "table" in row else -1, methods.index(_method(row))

    return sorted([*rows, *(row for row in before if _method(row) not in run_now)], key=place)


def _method(row: Row) -> str:
    return str(row["tuned"] if "tuned" in row else row["method"])


def markdown(rows: list[Row], claims: list[Claim]) -> str:
    """Return the page of the record."""
    return page(rows, CONFIG)


def table_rows(progress: Callable[[float], None]) -> list[Row]:
    """Choose a setting for each method on the tuning tables, and run it on all tables; return the rows of both."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    methods = {
        name: METHODS[name]
        for name in CONFIG["methods"]
        if not METHODS[name].requires or importlib.util.find_spec(METHODS[name].requires)
    }
    open_table: Callable[[str], Table] = cache(lambda name: TABLES[name]())
    tuning, chosen = _tune(methods, open_table, lambda share: progress(0.2 * share))
    steps = {
        f"{table}-{name}-{seed}-{_identity(name, chosen[name], method.trials)}": partial(
            _search, open_table, table, method, chosen[name], seed, method.trials
        )
        for seed in range(CONFIG["seeds"])
        for table in CONFIG["tables"]
        for name, method in methods.items()
        if seed < method.seeds
    }
    results = run_steps(_folder(), steps, lambda share: progress(0.2 + 0.8 * share), CONFIG["finished_only"])
    rows = list(tuning)
    for table in CONFIG["tables"]:
        for name, method in methods.items():
            identity = _identity(name, chosen[name], method.trials)
            names = [f"{table}-{name}-{seed}-{identity}" for seed in range(min(CONFIG["seeds"], method.seeds))]
            found = [results[step] for step in takewhile(results.__contains__, names)]
            stops = [stop for stop in CONFIG["stops"] if stop <= method.trials]
            rows += [method_row(table, name, chosen[name].name, stops, found)] if found else []
    return rows


def _tune(
    methods: dict[str, Method], open_table: Callable[[str], Table], progress: Callable[[float], None]
) -> tuple[list[Row], dict[str, Setting]]:
    """Return a row for each setting, and the best setting of each method on the tuning tables.

    Settings within EQUAL of the lowest regret count as equally good; the fastest of them is chosen.
    """
    tuned = {name: method for name, method in methods.items() if len(method.settings) > 1}
    seeds = {name: CONFIG["tuning_seeds"][: method.tuning_seeds] for name, method in tuned.items()}
    steps = {
        f"{table}-{name}-{seed}-{_identity(name, setting, method.tuning_trials)}": partial(
            _search, open_table, table, method, setting, seed, method.tuning_trials
        )
        for table in CONFIG["tuning_tables"]
        for name, method in tuned.items()
        for setting in method.settings
        for seed in seeds[name]
    }
    results = run_steps(_folder(), steps, progress, CONFIG["finished_only"])
    rows: list[Row] = []
    chosen = {name: method.settings[0] for name, method in methods.items()}
    for name, method in tuned.items():
        places = [CONFIG["stops"].index(stop) for stop in CONFIG["tuning_stops"] if stop <= method.tuning_trials]
        own = []
        for setting in method.settings:
            identity = _identity(name, setting, method.tuning_trials)
            names = [f"{table}-{name}-{seed}-{identity}" for table in CONFIG["tuning_tables"] for seed in seeds[name]]
            found = [results[step] for step in names if step in results]
            if len(found) < len(names):
                continue
            regrets_at = [[each[place] for place in places] for one in found for each in one["regrets"].values()]
            row: dict[str, Any] = {
                "tuned": name,
                "setting": setting.name,
                "seeds": len(seeds[name]),
                "regret": round(float(np.mean(regrets_at)), 4),
            }
            own.append(row | {"cpu_s": round(float(np.mean([one["cpu_s"] for one in found])), 2)})
        if not own:
            continue
        equal = [row for row in own if row["regret"] <= (1 + EQUAL) * min(row["regret"] for row in own)]
        best = min(equal, key=lambda row: row["cpu_s"])["setting"]
        chosen[name] = next(setting for setting in method.settings if setting.name == best)
        rows += [row | {"chosen": row["setting"] == best} for row in own]
    return rows, chosen


def _search(
    open_table: Callable[[str], Table], name: str, method: Method, setting: Setting, seed: int, trials: int
) -> dict[str, Any]:
    """Run one search; return the regret after each stop, by reference point, and its CPU time."""
    table = open_table(name)
    started = time.process_time()
    networks = method.run(table, seed, trials, **setting.options)
    seconds = time.process_time() - started
    stops = [stop for stop in CONFIG["stops"] if stop <= trials]
    return {"regrets": regrets(table, networks, seed, stops), "cpu_s": round(seconds, 3)}


def _folder() -> Path:
    return default_cache() / "bench-search"


def _identity(name: str, setting: Setting, trials: int) -> str:
    """Return a hash of what a method's result depends on, its implementation included."""
    code: Any = optuna.__version__
    if name == "cost-aware":
        code = [sha256_file(Path(samplers.__file__).with_name(f"{module}.py")) for module in SAMPLER_MODULES]
    return content_hash([CONFIG["version"], CONFIG["stops"], name, setting.options, trials, code])
