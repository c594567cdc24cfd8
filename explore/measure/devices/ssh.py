"""`ssh://user@host:port`: any host with OpenSSH, Python 3.9, numpy and the runtime.

The measuring program is sent over the ordinary `ssh` client, checked by its hash, and run; models stay there in
~/.cache/edgepose, found again by their hash. Nothing ever waits for a password: use a key or an agent.
Options follow as a query: `ssh://pi@host?python=/home/pi/venv/bin/python&hostkeys=accept-new&config=FILE`.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arch.errors import InputError
from explore.measure import probe
from explore.measure.devices import Report, dialogue, options
from explore.measure.devices.local import check_request
from explore.measure.rows import Machine, Model, Row, Settings, checked

WORD = r"[A-Za-z0-9_.%][A-Za-z0-9_.%-]*"  # begins with no dash: never an option of the client
ADDRESS = re.compile(rf"ssh://(?:(?P<user>{WORD})@)?(?P<host>{WORD}|\[[0-9a-fA-F:.%]+\])(?::(?P<port>\d{{1,5}}))?/?")
HOST_KEYS = ("yes", "accept-new")
BOOT = """
import hashlib, os, sys
def read(left):
    parts = []
    while left:
        part = os.read(0, left)
        if not part:
            sys.exit("the program did not arrive whole")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
size, digest = int(sys.argv[1]), sys.argv[2]
source = read(size)
if hashlib.sha256(source).hexdigest() != digest:
    sys.exit("the program arrived damaged")
home = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "edgepose")
os.makedirs(home, 0o700, exist_ok=True)
path = os.path.join(home, "probe-" + digest[:16] + ".py")
beside = path + "." + str(os.getpid())
with open(beside, "wb") as file:
    file.write(source)
os.replace(beside, path)
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
        settings = Settings(threads=(), limit_s=30.0)
        result = dialogue.converse(self.name, self.command(), _program(), [], settings, False, lambda share, text: None)
        return checked(Machine, result.get("machine"), self.name)

    def measure(self, models: Sequence[Model], settings: Settings, report: Report) -> list[Row]:
        check_request(models, settings)
        result = dialogue.converse(
            self.name, self.command(), _program(), models, settings.for_count(len(models)), False, report
        )
        return dialogue.rows(self.name, result, models)

    def command(self) -> list[str]:
        """The ssh client and what it runs there. It asks for nothing, and gives up on a host that falls silent."""
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
        made = [client, "-T", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
        if self.config:
            made += ["-F", self.config]
        if self.port:
            made += ["-p", str(self.port)]
        if self.user:
            made += ["-l", self.user]
        source = Path(probe.__file__).read_bytes()
        arguments = shlex.join(["-c", BOOT, str(len(source)), hashlib.sha256(source).hexdigest()])
        python = shlex.quote(self.python)
        if self.python.startswith("~/"):
            python = '"$HOME"/' + shlex.quote(self.python[2:])
        return [*made, "--", self.host, f"exec {python} {arguments}"]


def _program() -> bytes:
    return Path(probe.__file__).read_bytes()


def open(address: str) -> Ssh:
    """From `ssh://[user@]host[:port][?python=..&hostkeys=..&config=..]`."""
    place, _, query = address.partition("?")
    found = ADDRESS.fullmatch(place)
    if not found:
        raise InputError(f"device: '{address}': cannot be read; write ssh://user@host:port")
    given = options(address, query, ("python", "hostkeys", "config"))
    keys = given.get("hostkeys", "yes")
    if keys not in HOST_KEYS:
        raise InputError(f"device: '{address}': hostkeys: {keys} is not one of {', '.join(HOST_KEYS)}")
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
