"""Parts, intervals and paired comparisons in the reports of a study, from its records to its page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from explore.evaluation.intervals import bootstrap
from explore.evaluation.metrics import frame_errors
from explore.report.comparisons import NOT_TESTED
from explore.report.page import _first, _later
from explore.report.plot import plot_front
from explore.report.readme import readme
from explore.report.snapshot import load_snapshot, save_snapshot
from explore.report.study_folder import read_summary
from explore.report.summarise import summarise
from explore.report.summary import Summary
from explore.report.tables import EQUAL_SAMPLES, FRONT, TRIALS, front_table, read_table, write_tables
from explore.search.results import TrainResult
from tests.helpers.studies import REFERENCE, MadeFile, write_compared_study

FILES = (
    MadeFile("fast", 160.0, 0.10),
    MadeFile("middle", 140.0, 0.30),
    MadeFile("same", 139.9, 0.40, noise=8.0),
    MadeFile("paper-XS-relu", 150.0, 0.60),
    MadeFile("slow", 120.0, 1.50),
)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    folder = tmp_path_factory.mktemp("compared") / "study"
    config, records, evaluators = write_compared_study(folder, FILES)
    found = summarise(config, records, None, {"test_frames": 200, "validation_frames": 100}, evaluators)
    save_snapshot(folder, found.snapshot)
    write_tables(found)
    return found


def test_each_figure_names_its_part_and_interval(summary: Summary) -> None:
    assert {row.part for row in summary.trials} == {"validation"} and {row.part for row in summary.exported} == {"test"}
    for name, units in ((TRIALS, "100 frames"), (FRONT, "200 frames")):
        for line in read_table(summary.folder / name):
            mm, low, high = (float(line[key]) for key in ("mpjpe_mm", "mpjpe_low_mm", "mpjpe_high_mm"))
            assert low < mm < high < mm + 20 and line["units"] == units
    cells = {row[0]: row for row in front_table(summary.exported, "litert")}
    row = next(row for row in summary.exported if row.name == "middle")
    assert cells["middle"][1] == f"140.0 ({row.mpjpe_low_mm:.1f} to {row.mpjpe_high_mm:.1f})"
    text = readme(summary)
    assert "test: 200 frames" in text and "validation: 100 frames" in text and cells["middle"][1] in text
    assert "## Exported files (test part)" in text and "## Candidates (validation part)" in text
    assert "100 validation, 200 test" in text


def test_members_of_the_front_that_cannot_be_distinguished_are_marked(summary: Summary) -> None:
    front = {row.name: row.front for row in summary.exported}
    assert front == {
        "fast": "yes", "slow": "yes", "paper-XS-relu": "",
        "middle": "yes, indistinguishable from same", "same": "yes, indistinguishable from middle",
    }  # fmt: skip
    assert {row.name: row.front for row in summary.trials} == front
    assert dict(row[:: len(row) - 1] for row in front_table(summary.exported, "litert"))["same"] == front["same"]


def test_a_front_member_with_the_same_latency_is_not_distinguished(tmp_path: Path) -> None:
    files = (MadeFile("a", 160.0, 0.100), MadeFile("b", 140.0, 0.101))
    config, records, evaluators = write_compared_study(tmp_path / "s", files)
    front = {row.name: row.front for row in summarise(config, records, None, {}, evaluators).exported}
    assert front == {"a": "yes, indistinguishable from b", "b": "yes"}, "a may be slower, and is less accurate"


def test_findings_are_supported_by_the_interval(summary: Summary, tmp_path: Path) -> None:
    (found,) = summary.findings
    assert "more accurate candidates with lower latency: 2; the" in found and "the lowest error has same" in found
    files = (MadeFile("near", 149.9, 0.1, noise=8.0), MadeFile("paper-XS-relu", 150.0, 0.6, noise=8.0))
    config, records, evaluators = write_compared_study(tmp_path / "s", files)
    near = summarise(config, records, None, {}, evaluators)
    assert "no candidate with lower latency is more accurate beyond the 95% interval" in near.findings[0]
    assert [one.verdict for one in near.iso_accuracy] == ["not distinguishable"]
    assert "at least as accurate (" not in readme(near)


def test_comparisons_are_kept_for_reports_without_the_data(summary: Summary) -> None:
    again = read_summary(summary.folder)
    assert again.snapshot.comparisons == summary.snapshot.comparisons != []
    assert again.findings == summary.findings
    assert [found.text for found in again.iso_accuracy] == [found.text for found in summary.iso_accuracy]
    assert [row.front for row in again.exported] == [row.front for row in summary.exported]
    assert len(_later(again)["comparisons"]) == len(summary.snapshot.comparisons)
    first = _first(again, live=False)
    assert first["values"]["part"].count("test") == len(FILES) and "95% bootstrap" in first["intervals"]
    json.dumps(again.as_dict(), allow_nan=False)
    config, records, evaluators = write_compared_study(summary.folder.parent / "other", FILES, with_joints=False)
    save_snapshot(config.folder, summary.snapshot)
    kept = summarise(config, records, None, {}, evaluators)
    assert kept.snapshot.comparisons == summary.snapshot.comparisons, "the joints are gone"
    assert [row.front for row in kept.exported] == [row.front for row in summary.exported]


def test_comparisons_of_earlier_files_are_not_used(summary: Summary) -> None:
    changed = [replace(row, mpjpe_mm=row.mpjpe_mm - 5 * (row.name == "same")) for row in summary.exported]
    front = {row.name: row.front for row in summary.comparisons.label_front(changed)}
    assert front["same"] == NOT_TESTED
    shown = _later(replace(summary, exported=tuple(changed)))["comparisons"]
    same = next(row.file_key for row in changed if row.name == "same")
    assert shown and not any(same in (one["a"], one["b"]) for one in shown)


def test_joints_of_another_part_are_not_compared(tmp_path: Path) -> None:
    config, records, evaluators = write_compared_study(tmp_path / "s", FILES[:2])
    swapped = {"validation": evaluators["test"], "test": evaluators["validation"]}
    assert summarise(config, records, None, {}, swapped).snapshot.comparisons == []


def test_without_joints_nothing_is_claimed(tmp_path: Path) -> None:
    config, records, evaluators = write_compared_study(tmp_path / "s", FILES, with_joints=False)
    found = summarise(config, records, None, {}, evaluators)
    assert {row.front for row in found.exported} == {"", NOT_TESTED}
    assert "by point estimate (not tested)" in found.findings[0]
    assert [one.verdict for one in found.iso_accuracy] == ["not tested"]


def test_studies_of_version_0_1_have_no_intervals(tmp_path: Path) -> None:
    found = replace(read_summary(REFERENCE), folder=tmp_path)
    text = readme(found)
    assert "both evaluated on the test part" in text and "Intervals of errors are not available" in text
    assert {row.part for row in (*found.complete, *found.exported)} == {"test"}
    assert {row.front for row in found.exported} == {"", NOT_TESTED}
    for words in ("more accurate", "on the front"):
        assert words not in text


def test_candidates_of_version_0_1_in_a_storage_belong_to_the_test_part(tmp_path: Path) -> None:
    config, records, evaluators = write_compared_study(tmp_path / "s", FILES)
    bare = {"part": "test", "mpjpe_low_mm": np.nan, "mpjpe_high_mm": np.nan, "units": ""}
    trials = tuple(replace(trial, figures=trial.figures | bare) for trial in records.trials)
    found = summarise(config, replace(records, trials=trials), None, {}, evaluators)
    assert found.candidates_part == "test" and {row.front for row in found.trials} == {"", NOT_TESTED}


def test_the_plot_draws_intervals_and_no_interpolated_line(summary: Summary) -> None:
    plot_front(summary)
    assert (summary.folder / "front.png").stat().st_size > 10_000
    assert load_snapshot(summary.folder).mean_pose_mm == 220.0


def test_two_comparisons_of_finalists_that_were_trained_at_equal_compute(tmp_path: Path) -> None:
    """`small` had more samples, and is more accurate at equal compute; after equal samples it is not."""
    folder = tmp_path / "study"
    files = (MadeFile("small", 110.0, 0.50), MadeFile("paper-S-relu", 120.0, 1.50))
    config, records, evaluators = write_compared_study(folder, files)
    config = config.model_copy(update={"equal_compute": True})
    finalists = []
    for found, mm, samples in zip(records.finalists, (130.0, 120.0), (9000, 4000), strict=True):
        stored = folder / "finalists" / found.arch_id / "litert-int8-static" / "joints.npy"
        joints, data = np.load(stored), evaluators["test"].data
        if found.name == "small":
            joints = data.joints_cam + (joints - data.joints_cam) * mm / 110.0
            (folder / "finalists" / found.arch_id / "equal-samples").mkdir()
            np.save(folder / "finalists" / found.arch_id / "equal-samples" / "torch.npy", joints)
        else:
            np.save(folder / "finalists" / found.arch_id / "torch.npy", joints)
        interval = bootstrap(frame_errors(joints, data), evaluators["test"].units)
        part = TrainResult(samples=4000, float_mpjpe_mm=mm, float_pa_mpjpe_mm=mm, float_mpjpe_interval=interval)
        changed = {"equal_samples": part, "samples": samples, "total_train_s": 100.0, "recipes": ["int8-static"]}
        finalists.append(found.model_copy(update=changed))
    records = replace(records, finalists=tuple(finalists))
    summary = summarise(config, records, None, {}, evaluators)

    (compute,), (samples,) = summary.iso_accuracy, summary.iso_accuracy_at_equal_samples
    assert compute.verdict == "at least as accurate" and compute.times == pytest.approx(3.0)
    assert samples.verdict == "less accurate" and samples.difference is not None
    assert samples.difference.value == pytest.approx(10.0, abs=0.1)
    assert [(row.name, row.samples, round(row.mpjpe_mm)) for row in summary.equal_samples] == [
        ("small", 4000, 130), ("paper-S-relu", 4000, 120),
    ]  # fmt: skip

    text = readme(summary)
    before, _, after = text.partition("## Comparison at equal samples (test part)")
    assert "Equal training compute: each network was trained for as long as" in before and compute.text in before
    assert samples.text in after.partition("## Candidates")[0] and "| small | 4000 | 130.0 (" in after
    assert "samples" in front_table(summary.exported, "litert")[0]
    lines = _first(summary, live=False)["iso_accuracy"]
    assert lines == [f"Equal training compute: {compute.text}", f"Equal samples, float networks: {samples.text}"]
    written = summary.as_dict()
    assert written["iso_accuracy"][0]["text"] == compute.text and "Equal training compute" in written["training"]
    assert written["iso_accuracy_at_equal_samples"][0]["text"] == samples.text

    save_snapshot(folder, summary.snapshot)
    write_tables(summary)
    copied = read_summary(folder)
    assert [row.mpjpe_mm for row in copied.equal_samples] == [row.mpjpe_mm for row in summary.equal_samples]
    assert copied.iso_accuracy_at_equal_samples[0].verdict == "less accurate", "tested without the storage, too"
    write_tables(replace(summary, equal_samples=()))
    assert not (folder / EQUAL_SAMPLES).exists()


def test_a_study_of_equal_samples_says_so(summary: Summary) -> None:
    assert not summary.equal_samples and not summary.iso_accuracy_at_equal_samples
    text = readme(summary)
    assert "Equal samples: each network was trained on 4000 + 6000 samples" in text
    assert "--equal-compute true" in text and "## Comparison at equal samples" not in text
