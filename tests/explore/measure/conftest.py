"""A bundle a runtime, made once, and a real sshd on loopback with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from explore.config import MeasureConfig
from explore.measure.rows import Model, Settings, from_bundle
from quantize import bundle
from quantize.convert import Converter
from quantize.manifest import Data, Skeleton
from quantize.recipes import recipe
from quantize.weights import save_weights
from tests.quantize.conftest import settled_net, small_arch, smooth_pictures

RECIPES = {"litert": "int8-static", "openvino": "float", "onnxruntime": "float"}
JOINTS = tuple(f"joint {index}" for index in range(17))


def quick(**changes: object) -> Settings:
    """A short measurement that minds no other process."""
    rules = MeasureConfig(rounds=3, calls=3, budget=0.3)
    return Settings(**({"rules": rules, "limit_s": 60.0, "quiet": -9.0} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of a runtime."""
    root = tmp_path_factory.mktemp("bundles")
    arch = small_arch()
    pictures = smooth_pictures(24, arch.input, 0)

    @cache
    def make(runtime: str) -> Path:
        weights = root / "weights.safetensors"
        if not weights.exists():
            save_weights(settled_net(arch, pictures[:4]), weights)
        chosen = recipe(RECIPES[runtime])
        with Converter(root / "convert.log") as converter:
            given = pictures if chosen.int8 else None
            model = converter.export(arch, weights, runtime, chosen, given, root / "files" / runtime)
        skeleton = Skeleton(name="seventeen", joints=JOINTS, edges=((0, 1),), root=0)
        bundle.write(
            root / runtime,
            model,
            arch=arch,
            runtime=runtime,
            recipe=chosen,
            skeleton=skeleton,
            data=Data(name="noise"),
        )
        return root / runtime

    return make


@pytest.fixture(scope="session")
def model_of(bundle_of: Callable[[str], Path]) -> Callable[[str], Model]:
    return lambda runtime: from_bundle(bundle.load(bundle_of(runtime)))


@dataclass(frozen=True)
class Sshd:
    """A running server: what is needed to get in, and where it lets programs keep their cache."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / "edgepose"

    def address(self, *options: str, python: str = sys.executable) -> str:
        query = "&".join([f"config={self.folder / 'client'}", f"python={python}", *options])
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}?{query}"

    def host_key_line(self) -> str:
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"


@pytest.fixture(scope="session")
def sshd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server and client here (Debian: openssh-server)")
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "server").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"SetEnv XDG_CACHE_HOME={folder}/cache\n"
    )
    (folder / "client").write_text(
        f"Host *\n  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        f"  GlobalKnownHostsFile /dev/null\n  LogLevel ERROR\n"
    )
    log = folder / "log"
    process = subprocess.Popen([server, "-D", "-e", "-f", folder / "server"], stderr=open(log, "wb"))  # noqa: SIM115
    try:
        _wait_for(port, process, log)
        yield Sshd(folder, port, process)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def sshd(sshd_server: Sshd) -> Sshd:
    """The server, its key known, its cache empty."""
    sshd_server.known_hosts.write_text(sshd_server.host_key_line())
    shutil.rmtree(sshd_server.cache, ignore_errors=True)
    return sshd_server


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text().strip()[-300:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    pytest.skip("sshd does not answer here")
