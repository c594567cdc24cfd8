"""Exported files on emulated ARM processors: agreement of outputs, and instruction counts beside measured latency.

`arm:agreement` and `arm:instructions` do not depend on what else runs on this machine; `arm:latency` does. Finished
rows are kept in the folder of caches, so that each part continues where it stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import content_hash, sha256_file
from arch.search_space import Space
from arch.space import Arch, named_arch
from benchmarks import Claim, claims_table, markdown_table
from benchmarks.arm_correlation import (
    SETTINGS,
    append_row,
    claims_of,
    correlations,
    count_all,
    measure_all,
    read_rows,
    rows_of,
)
from explore.export.exporter import normalise
from explore.host import default_cache
from explore.measure.emulated.cpus import CODE_PATHS, CPUS, Cpu
from explore.measure.emulated.emulator import Array, Emulator, Job
from explore.measure.emulated.images import sample_crops
from explore.measure.rows import DeviceError
from explore.measure.untrained import Conversion, convert_models
from quantize import bundle, operator_check, runtimes
from quantize.agreement import Agreement, compare
from quantize.checkpoint import load_network
from quantize.convert import Converter
from quantize.environment import usable_cores
from quantize.recipes import recipe

PARTS = ("agreement", "instructions", "latency")
IMAGES = 2
CALIBRATION = 24
RUNTIMES = ("litert", "onnxruntime", "openvino")
RECIPE = "int8-static"
BUNDLES = (
    "real-128/litert",
    "real-128-small/litert",
    "real-224/litert",
    "reference/bundles/*/litert",
)  # below results/
TRAINED = ("results/real-128/net.safetensors",)
RANDOM = 3  # networks of the space `mobile` with random weights
MOST_STEPS = 2.0  # of the output's INT8 scale, ONNX Runtime
CONFIG: dict[str, Any] = {
    "images": IMAGES, "recipe": RECIPE, "random": RANDOM, "cpus": list(CPUS), **SETTINGS.model_dump(mode="json"),
}  # fmt: skip

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class File:
    """A model file of the benchmark."""

    name: str
    runtime: str
    recipe: str
    arch: Arch
    files: tuple[Path, ...]

    def job(self, plain: bool = False) -> Job:
        return Job(self.name, self.runtime, self.files, _inputs(self.arch.input_size), plain)


@lru_cache
def _inputs(size: int) -> Array:
    return normalise(sample_crops(size, IMAGES))


def run(
    progress: Progress, part: str = "", before: Sequence[dict[str, Any]] = ()
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return the rows of all parts and their claims; with `part`, the rows of the others are those of `before`.

    Raises:
        InputError: emulated ARM processors are not set up; the message has the command.
        ConversionError, DeviceError: an export or a run failed.
    """
    emulator = Emulator.open()
    kept = [row for row in before if row["part"] not in ("correlation", part)]
    rows = kept if part else []
    if part in ("", "agreement"):
        rows = [*agreement_rows(emulator, progress), *(row for row in rows if row["part"] != "agreement")]
    if part in ("", "instructions"):
        count_all(emulator, progress)
    if part in ("", "latency"):
        measure_all(progress)
    pairs = rows_of()
    rows += pairs
    return rows, [*_claims([row for row in rows if row["part"] == "agreement"]), *claims_of(correlations(pairs))]


def agreement_rows(emulator: Emulator, progress: Progress) -> list[dict[str, Any]]:
    """Return a row for each file and processor, and for each control."""
    folder = default_cache() / "bench-arm"
    files = [*_shipped(), *_converted(folder)]
    made_from = [[file.name, file.runtime, *map(sha256_file, file.files)] for file in files]
    store = _Store(folder / f"agreement-{content_hash([emulator.setup.identity, made_from])}.jsonl")
    litert = [file for file in files if file.runtime == "litert"]
    groups: dict[str, Callable[[], list[dict[str, Any]]]] = {}
    for runtime in RUNTIMES:
        own = [file for file in files if file.runtime == runtime]
        for name in CPUS if runtime == "litert" else CODE_PATHS:
            groups[f"{name} {runtime}"] = partial(_compared, emulator, CPUS[name], own)
    groups |= {name: partial(_compared, emulator, files=litert, **control) for name, control in CONTROLS.items()}
    for name, variant in COUNTED:
        groups[f"kernels {name}{variant}"] = partial(_kernels, emulator, name, variant, litert[0])
    with ThreadPoolExecutor(usable_cores()) as pool:
        running = [pool.submit(store.add, name, make) for name, make in groups.items()]
        for index, done in enumerate(as_completed(running)):
            done.result()
            progress(index / len(running), "agreement")
    return store.rows


COUNTED = (("cortex-a53", ""), ("cortex-a76", ""), ("max", ",sme=off"), ("max", ""))  # processors of QEMU 7.2
CONTROLS: dict[str, dict[str, Any]] = {
    "control: kernels without XNNPACK": {"cpu": CPUS["cortex-a76"], "plain": True},
    "control: SME of QEMU 7.2": {"cpu": CPUS["max"], "old": True},
    "control: QEMU 7.2 without SME": {"cpu": CPUS["max"], "old": True, "variant": ",sme=off"},
}


@dataclass
class _Store:
    """Rows by the name of their group, kept in a file; a group that is there is not made again."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for line in read_rows(self.path) for row in line["rows"]]

    def add(self, name: str, make: Callable[[], list[dict[str, Any]]]) -> None:
        with self.lock:
            known = [line["group"] for line in read_rows(self.path)]
        if name in known:
            return
        rows = [{"part": "agreement", "group": name} | row for row in make()]
        with self.lock:
            append_row(self.path, {"group": name, "rows": rows})


def _compared(
    emulator: Emulator, cpu: Cpu, files: Sequence[File], plain: bool = False, old: bool = False, variant: str = ""
) -> list[dict[str, Any]]:
    """Return the agreement of each file with this machine, or the reason why the runtime does not run there.

    plain, old, variant: see `Emulator.outputs`
    """
    about = {"runtime": files[0].runtime, "recipe": files[0].recipe}
    try:
        outputs = emulator.outputs(cpu, [file.job(plain) for file in files], variant, old)
    except DeviceError as error:
        return [{"file": "all", **about, "cpu": cpu.name + variant, "kernels": cpu.kernels, "failed": str(error)}]
    rows = []
    for file, raw in zip(files, outputs, strict=True):
        session = runtimes.get(file.runtime).load(file.files[0], 1)
        reference = session.run(_inputs(file.arch.input_size))
        session.close()
        found = compare(
            raw,
            reference,
            arch=file.arch,
            runtime=file.runtime,
            path=file.files[0],
            cpu=cpu.name + variant,
            kernels="plain C++" if plain else "I8MM" if variant else cpu.kernels,
            emulator="QEMU 7.2" if old else emulator.name,
        )
        rows.append(
            {"file": file.name, "runtime": file.runtime, "recipe": file.recipe, **found.model_dump(mode="json")}
        )
    return rows


def _kernels(emulator: Emulator, name: str, variant: str, file: File) -> list[dict[str, Any]]:
    """Return the instructions of one inference by kernel: they prove which code path ran."""
    count = emulator.count(CPUS[name], file.job(), variant)
    about = {"file": file.name, "runtime": file.runtime, "recipe": file.recipe, "cpu": name + variant}
    return [about | {"instructions": count.total, "by_kernel": count.kernels}]


def _shipped() -> list[File]:
    """Return the bundles of the repository."""
    found = [bundle.load(path) for name in BUNDLES for path in sorted(Path("results").glob(name))]
    return [
        File(str(one.path).removeprefix("results/"), "litert", one.manifest.recipe.name, one.arch, (one.model,))
        for one in found
    ]


def _converted(folder: Path) -> list[File]:
    """Export the trained networks and some with random weights for each runtime; files that exist are kept."""
    found = []
    with Converter(folder / "converter.log") as converter:
        for path in map(Path, TRAINED):
            arch = load_network(path)[0].arch
            images = normalise(sample_crops(arch.input_size, CALIBRATION))
            for runtime in RUNTIMES:
                target = folder / "files" / f"{path.parent.name}-{sha256_file(path)[:12]}-{runtime}-{RECIPE}"
                files = tuple(target / part for part in runtimes.get(runtime).FILES)
                if not files[0].exists():
                    converter.export(arch, path, runtime, recipe(RECIPE), images, target)
                found.append(File(f"{path.parent.name} exported again", runtime, RECIPE, arch, files))
    archs = [named_arch("paper-XS-relu@64"), *islice(_random_archs(), RANDOM)]
    conversions = [
        Conversion(arch, runtime, recipe(RECIPE), folder / "files" / f"{arch.id}-{runtime}-{RECIPE}")
        for arch in archs
        for runtime in RUNTIMES
    ]
    for made in convert_models(conversions, 1, folder):
        found.append(File(f"{made.arch.name}, random weights", made.runtime, RECIPE, made.arch, made.files))
    return found


def _random_archs() -> Iterable[Arch]:
    import random

    rng, space = random.Random(0), Space.named("mobile").at(64)
    while True:
        arch = space.sample(rng)
        if not any(operator_check.reasons(arch, runtime, recipe(RECIPE)) for runtime in RUNTIMES):
            yield arch


def _agreements(rows: Iterable[dict[str, Any]], **wanted: Any) -> list[Agreement]:
    names = Agreement.model_fields
    return [
        Agreement(**{key: value for key, value in row.items() if key in names})
        for row in rows
        if "digest" in row and all(row[key] == value for key, value in wanted.items())
    ]


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Return the claims of the rows of the part `agreement`."""
    if not rows:
        return []
    plain = [row for row in rows if not row["group"].startswith(("control", "kernels"))]
    cpus = len({row["cpu"] for row in plain})
    failed = [row for row in plain if "failed" in row]
    litert = _agreements(plain, runtime="litert")
    onnx = _agreements(plain, runtime="onnxruntime")
    vino = _agreements(plain, runtime="openvino")
    steps = max(one.max_steps or 0.0 for one in onnx)
    return [
        _count_claim(f"LiteRT INT8, runs with outputs identical to x86 ({cpus} emulated processors)", litert, True),
        Claim(
            name="ONNX Runtime INT8, largest difference of an output from x86",
            target=f"<= {MOST_STEPS:g} steps",
            measured=f"{steps:.2g} steps, joints {max(one.max_mm for one in onnx):.2f} mm; "
            f"{sum(one.is_identical for one in onnx)} of {len(onnx)} runs identical; {_alike(plain, 'onnxruntime')}",
            passed=steps <= MOST_STEPS,
        ),
        Claim(
            name="OpenVINO INT8, mean movement of joints from x86 (largest of all runs)",
            target="reported",
            measured=f"{max(one.mean_mm for one in vino):.2f} mm, single joints {max(one.max_mm for one in vino):.2f} mm; "
            f"{sum(one.is_identical for one in vino)} of {len(vino)} runs identical; {_alike(plain, 'openvino')}",
            passed=True,
        ),
        *(
            Claim(name=f"{row['runtime']} runs on {row['cpu']}", target="yes", measured=row["failed"], passed=False)
            for row in failed
        ),
        *(_count_claim(name, _agreements(rows, group=name), name.endswith("without SME")) for name in CONTROLS),
    ]


def _alike(rows: Sequence[dict[str, Any]], runtime: str) -> str:
    """Return how many files have the same outputs on all processors."""
    digests: dict[str, set[str]] = {}
    for row in rows:
        if row["runtime"] == runtime and "digest" in row:
            digests.setdefault(row["file"], set()).add(row["digest"])
    same = sum(len(found) == 1 for found in digests.values())
    return f"{same} of {len(digests)} files the same on all ARM processors"


def _count_claim(name: str, found: Sequence[Agreement], identical: bool) -> Claim:
    """Return the claim that all runs are identical to x86, or that all differ."""
    count = sum(one.is_identical is identical for one in found)
    moved = f"; joints by at most {max(one.max_mm for one in found):.2f} mm" if count and not identical else ""
    return Claim(
        name=name,
        target="all identical" if identical else "differences found",
        measured=f"{count} of {len(found)} {'identical' if identical else 'different'}{moved}",
        passed=count == len(found) if identical else count > 0,
    )


def markdown(rows: list[dict[str, Any]], claims: list[Claim]) -> str:
    """Return the page of the record."""
    lines = [
        "# Files on emulated ARM processors",
        "",
        "All processors were emulated by QEMU; no file was run on a real one. Outputs are compared with those of the same",
        f"file and runtime version on x86, on {IMAGES} rendered images. mm are those of a crop of 2 m.",
        "",
        claims_table(claims),
        "",
    ]
    agreed = [row for row in rows if row["part"] == "agreement"]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in agreed:
        if "digest" in row:
            control = row["group"] if row["group"].startswith("control") else ""
            groups.setdefault((row["runtime"], row["recipe"], row["cpu"], row["kernels"], control), []).append(row)
    head = (
        "runtime", "recipe", "processor", "INT8 kernels", "control", "files", "identical", "steps", "mean mm", "max mm",
    )  # fmt: skip
    lines += [
        "## Agreement",
        "",
        markdown_table(
            head,
            [(*key, *_agreement_cells(_agreements(found))) for key, found in groups.items()],
        ),
        "",
        *(f"- {row['runtime']} does not run on {row['cpu']}: {row['failed']}" for row in agreed if "failed" in row),
        "",
        "## Kernels that ran",
        "",
        "Instructions of one inference in QEMU 7.2: `smlal` NEON, `sdot` DOTPROD, `smmla` I8MM, `smopa` SME.",
        "",
        markdown_table(
            ("file", "processor", "M instructions", "of these"),
            [
                (
                    row["file"],
                    row["cpu"],
                    f"{row['instructions'] / 1e6:.2f}",
                    ", ".join(f"{name} {count / 1e6:.3f} M" for name, count in row["by_kernel"].items()),
                )
                for row in agreed
                if "by_kernel" in row
            ],
        ),
        "",
    ]
    found = correlations([row for row in rows if row["part"] == "correlation"])
    if found:
        cells = [
            (one.runtime, str(one.networks), one.text("instructions"), one.text("macs"), one.text("difference"))
            for one in found
        ]
        lines += [
            "## Rank correlation with measured x86 latency",
            "",
            "Kendall's tau-b with its 95% bootstrap interval over networks. Instructions are those of an emulated Cortex-A76.",
            "",
            markdown_table(("runtime", "networks", "instructions", "MACs", "difference"), cells),
            "",
        ]
    return "\n".join(lines)


def _agreement_cells(found: Sequence[Agreement]) -> tuple[str, ...]:
    steps = [one.max_steps for one in found if one.max_steps is not None]
    return (
        str(len(found)),
        str(sum(one.is_identical for one in found)),
        f"{max(steps):.3g}" if steps else "-",
        f"{np.max([one.mean_mm for one in found]):.3f}",
        f"{np.max([one.max_mm for one in found]):.3f}",
    )
