"""A temporary PostgreSQL server for fault injection and storage benchmarks."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "s3cret.w0rd"
DEBIAN_FOLDER = "/usr/lib/postgresql"


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None if it is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path(DEBIAN_FOLDER).glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


class Cluster:
    """A server on a free loopback port; started by root, it runs as the user `postgres`."""

    def __init__(self) -> None:
        programs = binaries()
        assert programs is not None, "PostgreSQL is not installed"
        self._bin = programs
        self._folder = folder = Path(tempfile.mkdtemp(prefix="edgepose-postgres-"))
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._call("initdb", "--no-sync", "--auth=scram-sha-256", "--username=edgepose", f"--pwfile={secret}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.start()

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the URL with another port, such as that of a proxy."""
        return f"postgresql://edgepose:{PASSWORD}@127.0.0.1:{port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        self._call("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def kill(self) -> None:
        """Send SIGKILL to the server; its child processes exit by themselves."""
        pid = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.05)
        time.sleep(0.5)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self._call("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def _call(self, program: str, *options: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), "-D", str(self._folder / "data"), *options],
            cwd=self._folder,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")
