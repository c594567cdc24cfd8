"""The commands, one module each: EXAMPLE, add_arguments(parser) and run(args). Imported when called."""

from __future__ import annotations

COMMANDS = {
    "search": "a Pareto front of INT8 models, from nothing but the clone",
    "worker": "this machine joins a search that another leads",
    "proxy": "a study's storage for machines that cannot reach it, over gRPC",
    "profile": "params, MACs and memory of networks; --paper: the paper's tables beside ours",
    "train": "one network on one data set, to a checkpoint",
    "export": "a checkpoint to INT8 bundles for LiteRT, OpenVINO and ONNX Runtime",
    "measure": "latency of bundles on this machine, by an interleaved protocol",
    "predict": "3D poses of the people in photos, videos and before a camera, by bundles",
    "data": "render the embedded data set, or check a real one",
    "config": "every key of a study, with its default, to start a file of your own from",
    "report": "a study as one page; a model of your own in the paper's Tables 7, 8 and 9",
    "bench": "the project's own claims, measured again on this machine",
}
