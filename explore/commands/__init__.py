"""The commands, one module each with EXAMPLE, add_arguments(parser) and run(args), imported when called."""

from __future__ import annotations

COMMANDS = {
    "search": "search a space for a Pareto front of INT8 networks: error against latency",
    "worker": "add this machine's processes to a running search",
    "proxy": "serve a study's storage over gRPC to machines that cannot reach it",
    "profile": "print params, MACs and memory of networks; --paper: compare with the paper's tables",
    "train": "train one network, or a supernet, and save a checkpoint",
    "export": "export a checkpoint as bundles for LiteRT, OpenVINO, ONNX Runtime, ... or for MediaPipe",
    "measure": "measure latency on this machine or a device, or compare outputs on emulated ARM",
    "predict": "predict 3D poses in photos, videos, camera streams and the browser",
    "data": "render, label, convert or check a data set",
    "config": "print every configuration key of a study with its default",
    "report": "write a study's page, or add a network to the paper's Tables 7, 8 and 9",
}
