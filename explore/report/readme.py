"""README.md of a study."""

from __future__ import annotations

import shlex
from pathlib import Path

from explore.report.columns import column
from explore.report.summary import Summary
from explore.report.tables import equal_samples_table, front_table, to_markdown
from explore.search.config import SearchConfig

ROOT = Path(__file__).resolve().parents[2]  # of the clone

NOTHING_COMPARED = (
    "Nothing is compared, because that needs a file of the search and one of a baseline (`--references`), both with a "
    "measured latency."
)


def readme(summary: Summary) -> str:
    """Return the README of a study as Markdown."""
    settings, environment = summary.settings, summary.environment
    threads = settings["measure"]["threads"]
    tables = "\n\n".join(
        f"### {runtime}\n\n{to_markdown(front_table(summary.exported, runtime, summary.objectives))}"
        for runtime in dict.fromkeys((settings["runtime"], *settings["runtimes"]))
    )
    networks = "\n".join(f"- `{name}`: {text}" for name, text in {r.name: r.network for r in summary.exported}.items())
    recipes = ", ".join(f"`{name}`" for name in dict.fromkeys(row.recipe for row in summary.exported))
    comparison = "\n".join(f"- {found.text}" for found in summary.iso_accuracy)
    findings = "\n".join(f"- {line}" for line in summary.findings)
    states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
    return f"""# Study {summary.name}

Input size of all networks: {settings["input_size"]} px; the paper's models are scaled to it. Data: {environment.get("data", settings["data"])}, {_frames(summary)}.
{summary.parts_note}
{summary.interval_note}
{_mean_pose(summary)}
{_objectives(summary)}
Error, latency and size are those of the exported model file.

![Error and costs of all candidates and exported files](front.png)

## Exported files (test part)

{summary.training_note}
Networks are exported in float and with {recipes}. Latency: {threads} {"thread" if threads == 1 else "threads"}.
{_checks(summary)}
`front`: {column("front").tooltip}

{tables}

{networks}

## Comparison at equal error (test part)

{"Networks were trained at equal compute." if summary.has_equal_compute else "Networks were trained on equal samples."}
The fastest file of the search that is at least as accurate as each baseline ({settings["runtime"]} files), by the 95% interval of the
paired difference of the errors. Nothing is interpolated between files. The interval of the speed-up contains the
uncertainty of the latencies and of the errors. Baselines that learned less than half of what the best network learned,
measured from the mean-pose baseline, are not compared.

{comparison or NOTHING_COMPARED}

{_equal_samples(summary)}## Candidates ({summary.candidates_part} part)

{_training(summary)}

{findings}

{states} trials; see `trials.csv`.

## Reproduce

`python explore.py search --config {_in_clone(shlex.quote(str(summary.folder / "config.yaml")))} --study NAME` (hash {settings["hash"]}, seed {settings["seed"]}).{_duration(summary)}
{_machine(summary)}

## Next steps

    {_in_clone(summary.next_step)}
{_more(summary)}"""


def _more(summary: Summary) -> str:
    """Return the line that resumes the search; empty where its trials are not stored."""
    if not summary.settings["storage"] and not (summary.folder / "study.db").is_file():
        return ""
    return f"    python explore.py search {_in_clone(summary.more)}      # resume with more trials\n"


def _in_clone(command: str) -> str:
    """Return a command with paths below the clone relative to it: where `report` is run is no matter of the study."""
    results = f"--results {shlex.quote(str(ROOT / SearchConfig().results))} "
    return command.replace(results, "").replace(f"{ROOT}/", "")


def _equal_samples(summary: Summary) -> str:
    """Return the section that compares finalists after equal samples; empty if they are trained on these."""
    if not summary.equal_samples:
        return ""
    lines = "\n".join(f"- {found.text}" for found in summary.iso_accuracy_at_equal_samples)
    return f"""## Comparison at equal samples (test part)

The same networks after as many training samples as the most expensive one has in all, with a complete learning-rate
schedule. Errors are those of the float networks; latencies are those of the files above.

{to_markdown(equal_samples_table(summary.equal_samples))}

{lines}

"""


def _frames(summary: Summary) -> str:
    """Return the sizes of the parts in frames. A person is in one part only."""
    environment, settings = summary.environment, summary.settings["dataset"]
    counts = {part: environment.get(f"{part}_frames") for part in ("train", "validation", "test")}
    counts["train"] = counts["train"] or settings["train_frames"]
    counts["test"] = counts["test"] or settings["test_frames"]
    shown = ", ".join(f"{count} {part}" for part, count in counts.items() if count)
    return f"frames of disjoint parts: {shown}"


def _mean_pose(summary: Summary) -> str:
    if summary.snapshot.mean_pose_mm is None:
        return ""
    best = min((row.mpjpe_mm for row in summary.exported), default=0.0)
    above = " No exported file has a lower error; train longer." if best >= summary.snapshot.mean_pose_mm else ""
    return (
        "The mean-pose baseline (predicting the mean training pose for every image) has an MPJPE of "
        f"{summary.snapshot.mean_pose_mm:.1f} mm on the test part.{above}"
    )


def _objectives(summary: Summary) -> str:
    settings = summary.settings
    names, limits = ", ".join(settings["objectives"]), ", ".join(settings["limits"])
    return f"Objectives: {names}; limits: {limits}. {summary.latency_note}".strip()


def _checks(summary: Summary) -> str:
    failed = [f"{row.bundle}: {row.checks_failed}" for row in summary.exported if row.checks_failed]
    if not failed:
        return "Every bundle has a certificate (`docs/certificate.md`); all of its checks passed."
    return (
        f"Every bundle has a certificate (`docs/certificate.md`). "
        f"Checks failed for {len(failed)} of {len(summary.exported)} files: {', '.join(failed)}."
    )


def _training(summary: Summary) -> str:
    settings = summary.settings
    if settings["estimator"] == "full":
        text = f"Each candidate was trained on {settings['candidate']['samples']} samples"
    else:
        text = f"Errors of candidates were estimated ({settings['estimator']}); only exported networks were trained in full"
    return text + (" and evaluated as a float file." if settings["objective"] == "float" else ".")


def _duration(summary: Summary) -> str:
    minutes = summary.environment.get("train_minutes")
    return f" Training took {minutes:.0f} minutes of one worker in total." if minutes else ""


def _machine(summary: Summary) -> str:
    environment = summary.environment
    machine, versions = environment.get("machine"), environment.get("versions")
    if not machine or not versions:
        return ""
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {', '.join(machine['instruction_sets'])}; {packages}. "
        f"Data hash: {environment['data_hash']}."
    )
