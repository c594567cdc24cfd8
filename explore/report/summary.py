"""What a study found, in memory: the rows of its tables and the facts that all of its reports show."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from arch.space import PRESET_PREFIXES, Arch
from explore.data import evaluated_set
from explore.host import started_by
from explore.pareto import hypervolume_history
from explore.redact import redacted
from explore.report.columns import column
from explore.report.comparisons import Comparisons, dominates
from explore.report.iso_accuracy import IsoAccuracy, Point, at_iso_accuracy, spread
from explore.report.predictions import Predictions
from explore.report.reproduce import search_options
from explore.report.rows import AnyRow, ExportedRow, Row, TrialRow
from explore.report.snapshot import Snapshot
from explore.search.budget.plan import PLANNED, read_stored
from explore.search.config import SearchConfig, double
from explore.search.costs.quantities import parse_limit, quantity
from explore.train.config import PASSES


@dataclass(frozen=True)
class Summary:
    """What a study found. Missing parts are empty; `notes` name them.

    settings: the configuration as plain values, with present key names
    environment: machine, versions, data and training time
    certificates: by bundle
    run_minutes: duration of the run that wrote this summary
    equal_samples: the finalists after equal samples, if they are trained at equal compute
    references: the user's own models to compare with, on the page
    problems: what could not be read or made
    """

    folder: Path
    settings: dict[str, Any]
    environment: dict[str, Any]
    trials: tuple[TrialRow, ...]
    exported: tuple[ExportedRow, ...]
    certificates: dict[str, dict[str, Any]]
    snapshot: Snapshot
    predictions: Predictions
    run_minutes: float | None = None
    references: tuple[Row, ...] = ()
    equal_samples: tuple[ExportedRow, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @cached_property
    def complete(self) -> list[TrialRow]:
        return [row for row in self.trials if row.state == "complete"]

    @cached_property
    def states(self) -> dict[str, int]:
        """Number of trials by state."""
        return dict(Counter(row.state for row in self.trials))

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """Column keys of the remote devices and of the emulated processors."""
        return tuple(dict.fromkeys(key for row in (*self.trials, *self.exported) for key in row.remote))

    @property
    def objectives(self) -> tuple[str, ...]:
        """Column keys of the objectives, the error first; error and latency if the settings are of another version."""
        return tuple(quantity(name).column for name in self.settings.get("objectives") or ("mpjpe", "latency"))

    @property
    def costs(self) -> tuple[str, ...]:
        """Column keys of the objectives besides the error."""
        return self.objectives[1:]

    @property
    def limits(self) -> dict[str, float]:
        """Limits by column key, in the unit of the key."""
        limits = map(parse_limit, self.settings.get("limits") or ())
        return {limit.quantity.column: limit.value(self.settings["input_size"]) for limit in limits}

    @property
    def latency_note(self) -> str:
        """A note on latencies that are not measured; empty if all are."""
        rows = (*self.complete, *self.exported)
        predicted = [row for row in rows if not all(map(row.is_measured, row.sources))]
        loaded = any("measured under load" in row.sources.values() for row in rows)
        unknown = [row for row in self.exported if row.latency_ms != row.latency_ms]
        counts = [f"the latency of {len(predicted)} of {len(rows)} rows is not measured, but marked with ~"] * bool(
            predicted
        )
        counts += [f"{len(unknown)} exported files have no latency"] * bool(unknown)
        away = any(not row.is_measured(key) for row in predicted for key in row.sources if key != "latency_ms")
        lines = []
        if counts:
            lines.append(
                f"Other processes kept the machine busy{', or a device did not respond' if away else ''}: "
                f"{'; '.join(counts)}. On an idle machine, run the same search with --remeasure."
            )
        if loaded:
            lines.append("Latencies were measured with EDGEPOSE_BACKGROUND_LOAD, beside any other processes.")
        return " ".join(lines)

    @cached_property
    def comparisons(self) -> Comparisons:
        """Differences of files' errors on the same frames."""
        return Comparisons.of(self.snapshot.comparisons)

    @property
    def has_equal_compute(self) -> bool:
        """Whether finalists were trained at equal compute, not on equal samples."""
        return bool(self.settings.get("equal_compute"))

    @property
    def training_note(self) -> str:
        """The training of the exported networks, which says whether compute or samples are equal."""
        candidate, final = self.settings["candidate"]["samples"], self.settings["final"]["samples"]
        if not self.has_equal_compute:
            return (
                f"Equal samples: each network was trained on {candidate} + {final} samples, those of its candidate "
                "included. A search with --budget, or with --equal-compute true, compares at equal training compute, too."
            )
        times = [row.train_s for row in self.exported if row.train_s == row.train_s]
        measured = f" (measured: {min(times):.0f} to {max(times):.0f} s)" if times else ""
        return (
            f"Equal training compute: each network was trained for as long as the most expensive one takes for "
            f"{candidate} + {final} samples{measured}, smaller networks therefore on more samples, but not on more than "
            f"{PASSES} passes over rendered frames. Longer training can change the order."
        )

    @cached_property
    def iso_accuracy(self) -> list[IsoAccuracy]:
        """How the exported files of the study's own runtime compare with each baseline."""
        return self._at_iso_accuracy(self.exported)

    @cached_property
    def iso_accuracy_at_equal_samples(self) -> list[IsoAccuracy]:
        """The same after equal samples, where exported files are those of equal training compute."""
        return self._at_iso_accuracy(self.equal_samples)

    def _at_iso_accuracy(self, compared: Sequence[ExportedRow]) -> list[IsoAccuracy]:
        points: tuple[list[Point], list[Point]] = ([], [])
        rows = {}
        several = len({row.recipe for row in compared}) > 1
        for row in compared:
            figures = (row.mpjpe_mm, row.latency_ms, row.ratio_low, row.ratio_high)  # a prediction has no interval
            if row.runtime == self.settings.get("runtime") and all(figure > 0 for figure in figures):
                point = Point(
                    name=f"{row.name} {row.recipe}" if several else row.name,
                    mm=row.mpjpe_mm,
                    ms=row.latency_ms,
                    spread=spread(row.ratio_low, row.ratio_high),
                    mm_low=row.mpjpe_low_mm,
                    mm_high=row.mpjpe_high_mm,
                    key=row.file_key,
                )
                points[row.baseline].append(point)
                rows[row.file_key] = row
        own, others = points
        return at_iso_accuracy(
            own, others, self.snapshot.mean_pose_mm, lambda a, b: self.comparisons.difference(rows[a.key], rows[b.key])
        )

    @cached_property
    def findings(self) -> list[str]:
        """Which baselines a candidate dominates in all objectives under the same training budget."""
        return [self._finding(row) for row in self.complete if row.baseline]

    def _finding(self, baseline: TrialRow) -> str:
        about = f"{baseline.name}, {baseline.mpjpe_text} mm, {self._costs_text(baseline)}"
        lower = [row for row in self.complete if dominates(row, baseline, self.costs) and not row.baseline]
        titles = " and ".join(column(key).title for key in self.costs)
        if not lower:
            return f"{about}: no candidate has a lower error and lower {titles}."
        differences = [self.comparisons.difference(row, baseline) for row in lower]
        better = [row for row, found in zip(lower, differences, strict=True) if found is not None and found.high < 0]
        if all(found is None for found in differences):
            words = f"candidates with lower {titles} and a lower error by point estimate (not tested)"
        elif not better:
            return (
                f"{about}: no candidate with lower {titles} is more accurate beyond the 95% interval of the difference."
            )
        else:
            words = f"more accurate candidates with lower {titles}"
        shown = better or lower
        best = min(shown, key=lambda row: (row.mpjpe_mm, row.get(self.costs[0])))
        recipe = f" {best.recipe}" if len({row.recipe for row in self.complete}) > 1 else ""
        return (
            f"{about}: {words}: {len(shown)}; the lowest error has {best.name}{recipe}, {best.mpjpe_text} mm, "
            f"{self._costs_text(best)}."
        )

    def _costs_text(self, row: Row) -> str:
        """Return the objectives besides the error, with their units; ~ marks predictions."""
        return ", ".join(
            f"{'' if row.is_measured(one.column) else '~'}{one.text(row.get(one.column))}"
            for one in map(quantity, self.settings.get("objectives", ("mpjpe", "latency"))[1:])
        )

    @property
    def candidates_part(self) -> str:
        return "validation" if any(row.part == "validation" for row in self.complete) else "test"

    @property
    def parts_note(self) -> str:
        """Which part of the data figures belong to."""
        if self.candidates_part == "validation":
            first = evaluated_set(str(self.settings.get("data", "")))
            tested = (self.settings.get("dataset") or {}).get("test_on") or first
            validation, test = (
                f"{part} part of {name}" if name else f"{part} part"
                for part, name in (("validation", first), ("test", tested))
            )
            note = self.environment.get("test_note", "")
            return f"Candidates are evaluated on the {validation}, exported files on the {test}{note and f' ({note})'}."
        return (
            "Candidates and exported files are both evaluated on the test part, on which version 0.1 also chose them."
        )

    @property
    def interval_note(self) -> str:
        """What the intervals are, or that there are none."""
        found = {
            f"{row.part}: {row.units}": None
            for row in (*self.complete, *self.exported)
            if row.has_interval and row.units
        }
        if not found:
            return "Intervals of errors are not available for this study, so that differences of errors are not tested."
        return (
            f"In brackets: 95% bootstrap interval of the MPJPE over independent units ({', '.join(found)}). Files are "
            "compared by a paired bootstrap on the same frames."
        )

    @property
    def candidates_mean_pose_mm(self) -> float | None:
        """Error of the mean-pose baseline on the part that candidates are evaluated on."""
        on_validation = self.candidates_part == "validation"
        return self.snapshot.validation_mean_pose_mm if on_validation else self.snapshot.mean_pose_mm

    @cached_property
    def history(self) -> list[tuple[float, float]]:
        """(minute, hypervolume) after each candidate, in the order in which they ended.

        Hypervolume: mm x decades of the first other objective, between the front of these two and the error of the
        mean-pose baseline at the largest cost of a candidate.
        """
        cost = self.costs[0]
        ended = sorted(
            (self.snapshot.minutes[int(row.trial)], row.mpjpe_mm, float(row.get(cost)))
            for row in self.complete
            if row.trial in self.snapshot.minutes and row.mpjpe_mm > 0 and row.get(cost) > 0
        )
        if not ended:
            return []
        ceiling = self.candidates_mean_pose_mm or max(mm for _, mm, _ in ended)
        volumes = hypervolume_history([(mm, ms) for _, mm, ms in ended], ceiling)
        return [(minute, volume) for (minute, _, _), volume in zip(ended, volumes, strict=True)]

    @property
    def notes(self) -> list[str]:
        """What the reports lack and why."""
        notes = list(self.problems)
        ids = {row.arch_id for row in (*self.complete, *self.exported) if row.arch_id}
        if unknown := ids - self.snapshot.networks.keys():
            notes.append(f"stages of {len(unknown)} networks are unknown: page/study.json is not in this folder")
        if not self.snapshot.importances:
            notes.append("parameter importances are unknown: too few trials, or page/study.json is not in this folder")
        if not self.predictions.people:
            notes.append("predictions are not shown: page/people.json is not in this folder")
        return notes

    @property
    def best(self) -> Path | None:
        """The bundle to try first: of those whose checks passed, the one with the lowest error.

        Networks of the search come before baselines, and the study's first runtime before others. None: no bundle
        passed its checks.
        """
        passed = [
            row for row in self.exported if row.bundle and not row.checks_failed and (self.folder / row.bundle).is_dir()
        ]
        first = self.exported[0].runtime if self.exported else ""
        found = min(passed, key=lambda row: (row.baseline, row.runtime != first, row.mpjpe_mm), default=None)
        return self.folder / found.bundle if found else None

    @property
    def next_step(self) -> str:
        """The command to try next, or why there is none."""
        if self.best is None:
            return f"no bundle passed all checks; see the certificates in {self.folder / 'index.html'}"
        return f"{started_by()} predict PHOTO --bbox x,y,w,h --model {shlex.quote(str(self.best))}"

    @property
    def more(self) -> str:
        """The options that resume the search with more trials: all that differ from the defaults."""
        without = {"trials"}
        more = f"--trials {2 * self.settings['trials']}"
        if self.settings["budget"] != "none" and (stored := read_stored(self.folder)):
            without = {"budget", *(key for key in PLANNED if key not in stored.plan.given)}
            more = f"--budget {double(self.settings['budget'])}"
        if Path(self.settings["results"]).resolve() == Path(SearchConfig().results).resolve():
            without = without | {"results"}
        return f"{search_options(self.settings, without)} {more}".strip()

    def as_dict(self) -> dict[str, Any]:
        """Return the findings as JSON values; missing figures are null."""

        return {
            "folder": str(self.folder),
            "mean_pose_mm": self.snapshot.mean_pose_mm,
            "validation_mean_pose_mm": self.snapshot.validation_mean_pose_mm,
            "parts": self.parts_note,
            "intervals": self.interval_note,
            "latencies": self.latency_note,
            "objectives": self.objectives,
            "exported": [_without_nan(asdict(row)) for row in self.exported],
            "trials": [_without_nan(asdict(row)) for row in self.trials],
            "baselines": list(dict.fromkeys(row.name for row in self.complete if row.baseline)),
            "findings": self.findings,
            "training": self.training_note,
            "iso_accuracy": _values_of(self.iso_accuracy),
            "equal_samples": [_without_nan(asdict(row)) for row in self.equal_samples],
            "iso_accuracy_at_equal_samples": _values_of(self.iso_accuracy_at_equal_samples),
            "next": self.next_step,
            "run_minutes": self.run_minutes,
            "train_minutes": self.environment.get("train_minutes"),
        }


def _values_of(compared: list[IsoAccuracy]) -> list[dict[str, Any]]:
    return [_without_nan(asdict(found)) | {"text": found.text} for found in compared]


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Return values for JSON: NaN as None, also in dicts within."""
    return {
        key: _without_nan(value) if isinstance(value, dict) else None if value != value else value
        for key, value in values.items()
    }


def label_rows(
    rows: Iterable[AnyRow], networks: dict[str, Arch], baselines: Collection[str] | None = None
) -> tuple[AnyRow, ...]:
    """Set `network` of rows whose network is known, and `baseline` (see `summarise`)."""

    def label(row: AnyRow) -> AnyRow:
        known = row.name.startswith(PRESET_PREFIXES) if baselines is None else row.name in baselines
        arch = networks.get(row.arch_id)
        return replace(row, baseline=known, network=architecture(arch) if arch else row.network)

    return tuple(label(row) for row in rows)


def settings_of(config: SearchConfig) -> dict[str, Any]:
    """Return the configuration as plain values, without passwords, and with its hash."""
    return config.model_dump(mode="json") | {"storage": redacted(config.storage), "hash": config.hash}


def architecture(arch: Arch) -> str:
    """Return a network in a few words."""
    concat = {"none": "no concat", "skip": "skip concat", "residual": "residual concat"}[arch.concat]
    depth = f"x{arch.depth_bins}" if arch.head == "volumetric" else ""
    return (
        f"{arch.encoder} {arch.width:g}, stem stride {arch.stem_stride}, intermediate {arch.intermediate_channels}, "
        f"{concat}, {arch.decoder_conv} decoder {arch.decoder_width}, {arch.head} {arch.heatmap_size}{depth}, "
        f"{arch.activation}"
    )
