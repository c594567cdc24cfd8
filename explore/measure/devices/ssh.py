"""`ssh://user@host:port`: any host with OpenSSH, Python 3.9, numpy and the runtime.

The measuring program is sent through the `ssh` client, verified by its hash and run. Models are cached in
~/.cache/edgepose on the host. Passwords are never requested: use a key or an agent. Options follow as a query:
`ssh://pi@host?python=/home/pi/venv/bin/python&hostkeys=accept-new&config=FILE`.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arch.errors import InputError
from explore.measure.devices import Progress, options
from explore.measure.devices.local import check_request
from explore.measure.devices.probe_client import parse_rows, request
from explore.measure.probe import program
from explore.measure.rows import Machine, Model, Row, Settings, validated

WORD = r"[A-Za-z0-9_.%][A-Za-z0-9_.%-]*"  # a leading dash would be an option of the client
ADDRESS = re.compile(rf"ssh://(?:(?P<user>{WORD})@)?(?P<host>{WORD}|\[[0-9a-fA-F:.%]+\])(?::(?P<port>\d{{1,5}}))?/?")
HOST_KEYS = ("yes", "accept-new")
BOOT = """
import hashlib, os, sys
def read(left):
    parts = []
    while left:
        part = os.read(0, left)
        if not part:
            sys.exit("the program arrived incomplete")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
size, digest = int(sys.argv[1]), sys.argv[2]
source = read(size)
if hashlib.sha256(source).hexdigest() != digest:
    sys.exit("the program was damaged in transfer")
home = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "edgepose")
os.makedirs(home, 0o700, exist_ok=True)
path = os.path.join(home, "probe-" + digest[:16] + ".py")
temporary = path + "." + str(os.getpid())
with open(temporary, "wb") as file:
    file.write(source)
os.replace(temporary, path)
os.execv(sys.executable, [sys.executable, path, "serve", home])
"""


@dataclass(frozen=True)
class Ssh:
    name: str
    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"
    host_keys: str = "yes"
    config: str | None = None

    def describe(self) -> Machine:
        result = self._request([], Settings(threads=(), timeout_s=30.0), lambda share, text: None)
        return validated(Machine, result.get("machine"), self.name)

    def measure(self, models: Sequence[Model], settings: Settings, progress: Progress) -> list[Row]:
        check_request(models, settings)
        return parse_rows(self.name, self._request(models, settings.for_count(len(models)), progress), models)

    def _request(self, models: Sequence[Model], settings: Settings, progress: Progress) -> dict[str, Any]:
        return request(self.name, self.command(), program(), models, settings, False, progress)

    def command(self) -> list[str]:
        """Return the command line of the client: no prompts, and timeouts for a host that does not respond."""
        client = shutil.which("ssh")
        if client is None:
            raise InputError("ssh: the OpenSSH client is not installed; install it (Debian: openssh-client)")
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "15",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "StrictHostKeyChecking": self.host_keys,
            "ClearAllForwardings": "yes",
        }
        command = [client, "-T", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
        if self.config:
            command += ["-F", self.config]
        if self.port:
            command += ["-p", str(self.port)]
        if self.user:
            command += ["-l", self.user]
        arguments = shlex.join(["-c", BOOT, str(len(program())), hashlib.sha256(program()).hexdigest()])
        python = shlex.quote(self.python)
        if self.python.startswith("~/"):
            python = '"$HOME"/' + shlex.quote(self.python[2:])
        return [*command, "--", self.host, f"exec {python} {arguments}"]


def open(address: str) -> Ssh:
    """Return the device of `ssh://[user@]host[:port][?python=..&hostkeys=..&config=..]`."""
    place, _, query = address.partition("?")
    found = ADDRESS.fullmatch(place)
    if not found:
        raise InputError(f"target: {address}: invalid address; write ssh://user@host:port")
    given = options(address, query, ("python", "hostkeys", "config"))
    keys = given.get("hostkeys", "yes")
    if keys not in HOST_KEYS:
        raise InputError(f"target: {address}: hostkeys: {keys} is not one of {', '.join(HOST_KEYS)}")
    port = int(found["port"]) if found["port"] else None
    return Ssh(
        place.rstrip("/"),
        found["host"].strip("[]"),
        found["user"],
        port,
        given.get("python", "python3"),
        keys,
        given.get("config"),
    )
