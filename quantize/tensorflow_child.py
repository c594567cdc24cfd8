"""The process that loads TensorFlow: runs a .tflite in `tf.lite.Interpreter`, or makes a SavedModel and runs that.

TensorFlow and the converters bring native libraries of the same names: they never share a process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np


def main(task: str, source: str, pictures: str, answers: str, folder: str = "") -> None:
    """`task` is tflite or saved-model; pictures normalised RGB (N, S, S, 3), answers as the file gives them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    x = np.load(pictures, allow_pickle=False)
    if task == "tflite":
        raw = tflite(Path(source), x)
    else:
        from quantize import savedmodel

        savedmodel.save(Path(source), Path(folder))
        raw = served(Path(folder), x)
    np.save(answers, raw, allow_pickle=False)


def tflite(path: Path, x: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    model = tf.lite.Interpreter(model_path=str(path), num_threads=1)
    model.allocate_tensors()
    entry, exit = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]
    results = []
    for picture in x:
        model.set_tensor(entry, picture[None])
        model.invoke()
        results.append(model.get_tensor(exit))
    return np.concatenate(results)


def served(folder: Path, x: np.ndarray) -> np.ndarray:
    """The answers of the SavedModel as it was read back."""
    import tensorflow as tf

    run = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return np.concatenate([run(image=tf.constant(picture[None]))["raw"].numpy() for picture in x])


if __name__ == "__main__":
    main(*sys.argv[1:])
