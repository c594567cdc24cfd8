"""Export of a checkpoint to bundles, one for each runtime, with their certificates."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from arch.errors import InputError
from arch.network import PoseNet
from arch.space import Arch
from explore.evaluation.evaluator import Evaluator, open_evaluator, open_evaluators
from explore.export import arm_check, coreml, finetune, task, task_verify, tensorflow, web_page
from explore.export.bundles import export_bundle
from explore.export.certificates import certificate_row, simulated_costs
from explore.export.config import ExportConfig
from explore.export.exporter import ExportedModel, Exporter, Predictions
from explore.export.mixed_precision import export_within_budget
from explore.export.output_calibration import calibration_crops
from explore.export.training_data import TrainingData, skeleton_of, trained_further, training_data
from explore.measure.latency import Latency
from explore.progress import Display
from quantize import bundle as bundles
from quantize import delegates, operator_check, qat
from quantize.checkpoint import TRAINED_ON, load_network, save_network
from quantize.convert import Converter
from quantize.environment import usable_cores
from quantize.recipes import InputType, Recipe, recipe


@dataclass(frozen=True)
class ExportOptions:
    """Options of the command beside `ExportConfig`.

    force: write bundles that fail a check, too
    max_drop: in place of the recipe's `float_budget_mm`
    verify: None, "tensorflow" or "mediapipe"
    task: path of a .task file for MediaPipe, made of the LiteRT bundle
    checks: further checks: "arm" compares outputs with those on emulated ARM processors; "gpu" and "npu" report what
        LiteRT's delegates leave to the CPU
    sdk: languages of the decoders in the bundles, see `quantize.sdk`
    web: folder of the live page as static files, made of the LiteRT bundle
    input_dtype: type of the model files' input
    """

    force: bool
    zip: bool
    replace_activations: str | None
    finetune_samples: int
    max_drop: float | None
    verify: str | None
    saved_model: bool
    coreml: bool
    task: str | None
    checks: tuple[str, ...]
    sdk: tuple[str, ...]
    web: str | None
    input_dtype: InputType


@dataclass(frozen=True)
class TorchNetwork:
    """The network that all files are made of, and compared with.

    weights: its checkpoint; predictions: those of torch; costs: see `simulated_costs`, empty for recipes without INT8
    """

    net: PoseNet
    weights: Path
    predictions: Predictions
    costs: dict[str, float]


def export_bundles(
    checkpoint: Path, out: Path, config: ExportConfig, display: Display, options: ExportOptions
) -> list[dict[str, Any]]:
    """Write `out/RUNTIME` or `out/RUNTIME.zip` for each runtime and return one row for each.

    Calibration images come from the data that the checkpoint was trained on, or from `config.data` if that was set. The
    validation part serves for choosing float fallback layers, the test part for the figures of the chosen files. The
    `bundle` of a row is its path, or None where a check failed and nothing was written.

    Raises:
        InputError: no checkpoint, its data cannot be opened or lacks joints of the network, or the recipe cannot be
            applied to the network.
        ConversionError: a converter failed, or the budget of mixed precision cannot be kept.
        Diverged: fine-tuning failed.
    """
    net, facts = load_network(checkpoint)
    arch, chosen = _arch_and_recipe(net.arch, config, options)
    source = training_data(checkpoint, arch, facts, config)
    _check_outputs(source, options, display)
    evaluator, validation = _open_parts(source, chosen, display)
    record = source.describe(evaluator)
    if options.replace_activations or chosen.qat_samples:
        record = trained_further(record, evaluator)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Converter(out / "converter.log") as converter:
        exporter = Exporter(Path(scratch), evaluator, converter, source.config, trained_on=record)
        about: dict[str, Any] = {}
        if options.replace_activations:
            net, about["replaced_activations"] = _replace_activations(exporter, net, arch, options, display)
            tuned = {"data": record.name, TRAINED_ON: record.model_dump(mode="json")}
            save_network(out / "replaced_activations.safetensors", net, tuned | about)
        network = _evaluate_network(exporter, net, chosen, display)
        floats, files = _convert(exporter, validation, network, chosen, display)
        display.stage("latency")
        every_file = {f"{file.runtime} {file.recipe.name}": file for file in (*floats.values(), *files.values())}
        latencies = exporter.measure_latency(every_file, f"{config.runtimes[0]} float")
        on_arm = {}
        if "arm" in options.checks:
            display.stage("emulated ARM processors")
            on_arm = arm_check.agreements(exporter, arch, files, display.update)
        display.stage("calibration of outputs")
        crops = calibration_crops(evaluator, config.seed)
        rows = []
        for runtime, file in files.items():
            outputs = exporter.calibrate_outputs(arch, file, crops) if crops else None
            row = _certify(exporter, network, file, floats[runtime], options)
            row["certificate"]["arm"] = on_arm.get(runtime, [])
            row["certificate"] |= outputs.certificate if outputs else {}
            row |= about | _latency(file, latencies) | {"data": evaluator.data.name, "part": evaluator.part}
            made, written = dict[str, Any](), None
            if row["checks_passed"] or options.force:
                written = export_bundle(exporter, arch, file, row, out / runtime, options.zip, outputs, options.sdk)
                if runtime == "litert":
                    made = _write_from_bundle(exporter, network, floats[runtime].model, written, options, display)
            rows.append(row | made | {"bundle": written and str(written)})
        rows[0] |= _write_float_formats(exporter, network, out, options, display)
    return rows


def _arch_and_recipe(arch: Arch, config: ExportConfig, options: ExportOptions) -> tuple[Arch, Recipe]:
    """Return the arch and the recipe to export; reject everything that can be rejected before the data is known."""
    chosen, runtimes = recipe(config.quantization).with_input(options.input_dtype), config.runtimes
    if options.replace_activations:
        arch = finetune.with_activation(arch, options.replace_activations)
    for runtime in runtimes:
        operator_check.check(arch, runtime, chosen)
    if chosen.qat_samples:
        qat.check()
    if options.verify not in (None, "tensorflow", "mediapipe"):
        raise InputError(f"verify: '{options.verify}' is unknown; give tensorflow or mediapipe")
    if options.verify == "mediapipe":
        task_verify.check(options.task)
    if options.verify == "tensorflow" and "litert" not in runtimes:
        raise InputError("verify: tensorflow runs .tflite files only; add litert to --runtimes")
    if options.verify == "tensorflow" or options.saved_model:
        tensorflow.check()
    if options.coreml:
        coreml.check()
    if options.web and ("litert" not in runtimes or chosen.input_dtype != "float32"):
        raise InputError("web: needs a LiteRT bundle with float32 input; change --runtimes or --input-dtype")
    if options.verify == "tensorflow" and chosen.input_dtype != "float32":
        raise InputError("verify: tensorflow compares files with float32 input only; omit --input-dtype")
    if options.task and chosen.input_dtype != "float32":
        raise InputError("task: has its own normalisation behind MediaPipe's; omit --input-dtype")
    if options.task and "litert" not in runtimes:
        raise InputError("task: is made of the LiteRT bundle; add litert to --runtimes")
    if "arm" in options.checks:
        arm_check.check_setup(runtimes)
    if (wanted := [name for name in options.checks if name in delegates.CHECKS]) and "litert" not in runtimes:
        raise InputError(f"check: {wanted[0]}: reads the LiteRT file; add litert to --runtimes")
    if options.max_drop is None:
        return arch, chosen
    if not 0 < options.max_drop < math.inf:
        raise InputError(f"max-drop: {options.max_drop:g} mm: give a number above 0")
    if not chosen.quantized or chosen.qat_samples:
        raise InputError(f"max-drop: not possible with {chosen.name}; use int8-static or int8-float-stem")
    return arch, chosen.model_copy(update={"float_budget_mm": options.max_drop})


def _check_outputs(source: TrainingData, options: ExportOptions, display: Display) -> None:
    """Check the .task file and the web page before work."""
    if options.task:
        skeleton = skeleton_of(source.record.skeleton) if source.record else None
        task.check(source.checkpoint, Path(options.task), source.config.dataset.framing, skeleton, options.force)
    if options.web:
        web_page.check(Path(options.web), display)


def _open_parts(source: TrainingData, chosen: Recipe, display: Display) -> tuple[Evaluator, Evaluator | None]:
    """Open the test part, and the validation part if something is chosen, both with the joints of the network.

    Raises:
        InputError: the data cannot be opened, or lacks a joint.
    """
    display.stage("data")
    cores, progress = usable_cores(), _progress(display)
    try:
        if chosen.float_budget_mm is None:
            test, validation = open_evaluator(source.config, cores, progress), None
        else:
            parts = open_evaluators(source.config, cores, progress)
            test, validation = parts.test, parts.validation
    except InputError as error:
        if source.is_named:
            raise
        raise InputError(
            f"{source.checkpoint}: {TRAINED_ON}: {error}; if the data is elsewhere now, give --data"
        ) from None
    return source.with_joints(test), validation and source.with_joints(validation)


def _replace_activations(
    exporter: Exporter, net: PoseNet, arch: Arch, options: ExportOptions, display: Display
) -> tuple[PoseNet, dict[str, Any]]:
    """Return the network with the activations of `arch`, fine-tuned, and its errors before and after."""
    display.stage(f"replace {net.arch.activation} by {arch.activation}")
    replaced = finetune.copy_weights(net, arch)
    data, samples, seed = exporter.evaluator.train, options.finetune_samples, exporter.config.seed
    tuned = finetune.finetune(replaced, data, samples, seed, exporter.folder, _progress(display))
    before, at_once, after = (exporter.evaluate_torch(each).accuracy.mpjpe for each in (net, replaced, tuned))
    return tuned, {
        "from": net.arch.activation,
        "to": arch.activation,
        "samples": samples,
        "before_mpjpe_mm": before,
        "replaced_mpjpe_mm": at_once,
        "after_mpjpe_mm": after,
    }


def _evaluate_network(exporter: Exporter, net: PoseNet, chosen: Recipe, display: Display) -> TorchNetwork:
    display.stage(f"export {net.arch.name}")
    weights = exporter.folder / "weights.safetensors"
    save_network(weights, net)
    predictions = exporter.evaluate_torch(net)
    return TorchNetwork(net, weights, predictions, simulated_costs(exporter, net, chosen) if chosen.quantized else {})


def _convert(
    exporter: Exporter, validation: Evaluator | None, network: TorchNetwork, chosen: Recipe, display: Display
) -> tuple[dict[str, ExportedModel], dict[str, ExportedModel]]:
    """Return the float file and the file by `chosen` for each runtime; the same files if the recipe is float."""
    net, weights, runtimes, float_recipe = network.net, network.weights, exporter.config.runtimes, recipe("float")
    export = recipe_exporter(exporter, net, weights, chosen, display)
    floats, files = {}, {}
    for index, runtime in enumerate(runtimes):
        display.update(2 * index / (2 * len(runtimes) + 1), f"{runtime} float")
        floats[runtime] = exporter.export(net.arch, weights, runtime, float_recipe, f"{runtime}-float")
        display.update((2 * index + 1) / (2 * len(runtimes) + 1), f"{runtime} {chosen.name}")
        if chosen == float_recipe:
            files[runtime] = floats[runtime]
        elif validation is None:
            files[runtime] = export(runtime)
        else:
            files[runtime] = export_within_budget(exporter, validation, net, weights, runtime, chosen, network.costs)
    return floats, files


def recipe_exporter(
    exporter: Exporter, net: PoseNet, weights: Path, chosen: Recipe, display: Display
) -> Callable[[str], ExportedModel]:
    """Return a function of a runtime that exports `net` by `chosen`.

    Quantization-aware training runs once, for the first runtime.
    """
    arch = net.arch

    @cache
    def trained() -> tuple[Any, Path]:
        display.stage(f"training for {chosen.name}")
        images, seed = exporter.calibration_images(chosen), exporter.config.seed
        module = finetune.finetune_int8(net, exporter.evaluator.train, chosen, images, seed, _progress(display))
        path = exporter.folder / f"{chosen.name}.safetensors"
        save_network(path, qat.strip_quantizers(module, net))
        display.stage(f"export {arch.name}")
        return module, path

    def convert_trained(runtime: str, key: str) -> Path:
        module, path = trained()
        if runtime == "openvino":
            return qat.save_openvino(module, arch.input_size, exporter.folder / key, chosen)
        return exporter.convert(arch, path, runtime, chosen, key, trained=True)

    def export(runtime: str) -> ExportedModel:
        key = f"{runtime}-{chosen.name}"
        convert = partial(convert_trained, runtime, key) if chosen.qat_samples else None
        return exporter.export(arch, weights, runtime, chosen, key, convert)

    return export


def _progress(display: Display) -> Callable[[int, int], None]:
    return lambda done, total: display.update(done / max(1, total))


def _latency(file: ExportedModel, latencies: dict[str, Latency] | str) -> dict[str, Any]:
    """Return the latency columns of a row; `latency` is the reason where there is no latency."""
    if isinstance(latencies, str):
        return {"latency_ms": None, "latency": latencies, "float_latency_ms": None}
    own, float_file = latencies[f"{file.runtime} {file.recipe.name}"], latencies[f"{file.runtime} float"]
    return {"latency_ms": own.median_ms, "latency": own.as_dict(), "float_latency_ms": float_file.median_ms}


def _certify(
    exporter: Exporter, network: TorchNetwork, file: ExportedModel, float_file: ExportedModel, options: ExportOptions
) -> dict[str, Any]:
    """Return the row of `certificate_row` with the reports on delegates and the comparison with TensorFlow."""
    arch = network.net.arch
    row = certificate_row(exporter.evaluator, arch, network.predictions, file, float_file, network.costs)
    if file.runtime == "litert":
        reports = delegates.reports(file.model, options.checks)
        row["certificate"]["delegates"] = [report.model_dump(mode="json") for report in reports]
        if options.verify == "tensorflow":
            row["tensorflow"] = tensorflow.verify(exporter, (float_file, file), arch)
    return row


def _write_from_bundle(
    exporter: Exporter, network: TorchNetwork, model: Path, bundle: Path, options: ExportOptions, display: Display
) -> dict[str, Any]:
    """Write the .task file and the web page of a LiteRT bundle; returns their columns. model: the float file."""
    columns: dict[str, Any] = {}
    if options.task:
        display.stage("MediaPipe")
        path, verify = Path(options.task), options.verify == "mediapipe"
        columns["task"] = task.export_network(
            exporter, network.net, network.predictions, model, bundle, path, options.force, verify
        )
    if options.web:
        display.stage("web page")
        web_page.write_page(bundles.load(bundle), bundle, Path(options.web), display)
        columns["web"] = options.web
    return columns


def _write_float_formats(
    exporter: Exporter, network: TorchNetwork, out: Path, options: ExportOptions, display: Display
) -> dict[str, Any]:
    """Write the float network for TensorFlow and for Core ML, and return the columns about them."""
    net, columns = network.net, dict[str, Any]()
    if options.saved_model:
        display.stage("SavedModel")
        columns["saved_model"] = tensorflow.write_saved_model(exporter, net, network.predictions, out / "saved_model")
    if options.coreml:
        display.stage("Core ML")
        packages = coreml.write_packages(exporter, net.arch, network.weights, network.predictions, out / "coreml")
        columns["coreml"] = packages.model_dump(mode="json")
    return columns
