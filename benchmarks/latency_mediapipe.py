"""MediaPipe's pose_landmark_full, read from the installed package or from EDGEPOSE_MEDIAPIPE_WHEEL.

The variable names the .tflite file, or a wheel that contains it, such as mediapipe 0.10.21. The file is not part of
this repository.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from arch.errors import InputError

MEMBER = "mediapipe/modules/pose_landmark/pose_landmark_full.tflite"


def pose_landmarker(threads: int) -> Callable[[], None] | None:
    """Return a function that runs the network once on noise, or None if it is not available.

    Raises:
        InputError: EDGEPOSE_MEDIAPIPE_WHEEL names neither the file nor a wheel that contains it.
    """
    content = _content()
    if content is None:
        return None
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], np.random.default_rng(0).random(entry["shape"], np.float32))
    invoke: Callable[[], None] = interpreter.invoke
    return invoke


def _content() -> bytes | None:
    given = os.environ.get("EDGEPOSE_MEDIAPIPE_WHEEL")
    try:
        if given and zipfile.is_zipfile(given):
            with zipfile.ZipFile(given) as wheel:
                return wheel.read(MEMBER)
        if given:
            return Path(given).read_bytes()
    except (OSError, KeyError) as error:
        raise InputError(
            f"EDGEPOSE_MEDIAPIPE_WHEEL: {given}: {error}; set it to {Path(MEMBER).name} or to a wheel of mediapipe"
        ) from None
    found = find_spec("mediapipe")
    for place in (found.submodule_search_locations or []) if found else []:
        file = Path(place).parent / MEMBER
        if file.exists():
            return file.read_bytes()
    return None
