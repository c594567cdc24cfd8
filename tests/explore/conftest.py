"""Fixtures: an SSH server on loopback with keys of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import free_port
from tests.helpers.measure import Sshd


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
    port = free_port()
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
    """The server with a known key and an empty cache."""
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
