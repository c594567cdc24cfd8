"""Set-up of the emulated ARM processors in one folder: `measure --setup qemu`.

Debian's packages are unpacked, never installed, and come from a package list of their own; wheels are unpacked, too.
Nothing outside the folder is written. Each part is renamed to its place when it is complete, and finished downloads are
kept until then, so that an interrupted set-up continues.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from importlib import metadata, resources, util
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from arch.errors import InputError, WorkError
from arch.files import atomic_dir, content_hash, write_atomic
from explore.host import default_cache, locked
from explore.measure.emulated.cpus import write_cpuinfo

COMMAND = "python explore.py measure --setup qemu"
VERSION = 1  # increase it when the set-up itself changes
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian"
RELEASE, BACKPORTS = "bookworm", "bookworm-backports"
PYTHON = "3.11"  # of that release
ARM_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "zlib1g")
HOST_PACKAGES = (f"qemu-user/{RELEASE}", "tcc")  # QEMU 7.2, and a C compiler for its plug-in
ARM_VERSIONS = {name: f"arm64 {name}" for name in ("python3.11-minimal", "libc6")}  # to keep, and as what
HOST_VERSIONS = {name: name for name in ("qemu-user", "tcc")}
WHEELS = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "openvino": "openvino"}  # by runtime
TAGS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 37)))  # glibc 2.36 of that release
DOWNLOADS = """about 185 MB: QEMU 10 (63 MB, Debian bookworm-backports), which runs the checks; QEMU 7.2 with its libraries
and the compiler tcc for a plug-in (22 MB, Debian bookworm), which counts instructions; Python 3.11 for arm64 (15 MB, Debian
bookworm); aarch64 wheels of NumPy, LiteRT, ONNX Runtime and OpenVINO (84 MB, PyPI)""".replace("\n", " ")
APT_CONFIG = """#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
"""  # hooks of the host, which may change its own package lists

Report = Callable[[float, str], None]  # called with the fraction done and a description


class Setup(BaseModel):
    """The contents of a finished set-up.

    packages: versions of Debian's packages; wheels: versions of those from PyPI; missing: runtimes without a wheel for
    aarch64, with the reason
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    packages: dict[str, str]
    wheels: dict[str, str]
    missing: dict[str, str] = {}

    @property
    def identity(self) -> str:
        """Hash of everything that outputs and counts depend on besides the model files."""
        return content_hash(self.model_dump(mode="json"))


def default_folder() -> Path:
    """Return the folder of the set-up: EDGEPOSE_QEMU, or qemu in the folder of caches."""
    if given := os.environ.get("EDGEPOSE_QEMU"):
        return Path(given).expanduser()
    return default_cache() / "qemu"


def read_setup(folder: Path) -> Setup:
    """Return what a folder contains.

    Raises:
        InputError: no complete set-up, or one of another version.
    """
    try:
        found = Setup.model_validate_json((folder / "setup.json").read_text())
    except (OSError, ValidationError):
        raise InputError(f"{folder}: no emulated ARM processors; set them up with {COMMAND}") from None
    if found.version != VERSION:
        raise InputError(f"{folder}: set up by another version of this program; delete it, then run {COMMAND}")
    return found


def wanted_wheels() -> dict[str, str]:
    """Return the installed packages of runtimes with their versions; the emulated system gets the same ones."""
    found = {}
    for package in WHEELS.values():
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def requirements() -> list[str]:
    """Return the missing requirements of a set-up; empty if there are none."""
    missing = []
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        missing.append(f"Linux on x86-64 (this is {platform.system()} on {platform.machine()})")
    missing += [
        f"{tool} (of Debian's package {tool.partition('-')[0]})" for tool in TOOLS if shutil.which(tool) is None
    ]
    if not KEYRING.exists():
        missing.append(f"{KEYRING} (of Debian's package debian-archive-keyring)")
    if util.find_spec("pip") is None:
        missing.append("pip (run python -m ensurepip)")
    return missing


TOOLS = ("apt-get", "dpkg-deb")


def install(folder: Path, report: Report) -> Setup:
    """Set up the folder, or continue; a complete set-up with the versions of this machine's runtimes is kept.

    Raises:
        InputError: this machine lacks something, or the folder cannot be written.
        WorkError: a download failed; what was downloaded is kept.
    """
    if missing := requirements():
        raise InputError(f"setup: qemu: impossible here, missing: {'; '.join(missing)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; set EDGEPOSE_QEMU to a folder that can be written") from None
    folder = folder.resolve()
    wheels = wanted_wheels()
    with locked(folder / ".lock"):
        packages: dict[str, str] = {}
        steps: tuple[tuple[str, Callable[[Path], None]], ...] = (
            ("root", lambda part: _unpack(folder, part, "arm64", ARM_PACKAGES, ARM_VERSIONS)),
            ("qemu", lambda part: _unpack(folder, part, "amd64", HOST_PACKAGES, HOST_VERSIONS)),
            ("qemu10", lambda part: _qemu10(folder, part)),
            (f"site-{content_hash(wheels, 8)}", lambda part: _site(folder, part, wheels)),
        )
        for index, (name, build) in enumerate(steps):
            report(index / len(steps), f"{name}: downloading")
            if not (folder / name).exists():
                with atomic_dir(folder / name) as part:
                    build(part)
        for name, _ in steps:
            packages |= json.loads((folder / name / "versions.json").read_text())
        site = folder / steps[-1][0]
        for old in folder.glob("site-*"):
            if old != site:
                shutil.rmtree(old)
        _link(folder / "site", site.name)
        if not (folder / "roots").exists():
            with atomic_dir(folder / "roots") as part:
                write_cpuinfo(part, folder / "root")
        found = Setup(
            packages={name: version for name, version in packages.items() if name not in wheels},
            wheels={name: version for name, version in packages.items() if name in wheels},
            missing=json.loads((site / "missing.json").read_text()),
        )
        write_atomic(folder / "setup.json", found.model_dump_json(indent=2) + "\n")
        for name in ("apt-arm64", "apt-amd64", "wheels"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return found


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _unpack(folder: Path, part: Path, architecture: str, packages: Sequence[str], names: dict[str, str]) -> None:
    """Unpack packages with everything that they depend on. names: packages whose versions are kept, and as what"""
    options = _apt(folder, architecture)
    _run(["apt-get", *options, "-y", "--download-only", "install", *packages], ", ".join(packages))
    versions = {}
    for archive in sorted((folder / f"apt-{architecture}" / "cache" / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), str(part)], archive.name)
        package, version = archive.name.split("_")[:2]
        versions[package] = version.replace("%3a", ":")
    kept = {shown: versions[package] for package, shown in names.items()}
    (part / "versions.json").write_text(json.dumps(kept))


def counter(folder: Path) -> Path:
    """Return the plug-in that counts instructions; it is compiled if its source is new.

    Raises:
        WorkError: the compiler failed.
    """
    source, qemu = resources.files(__package__).joinpath("counter.c").read_text(), folder / "qemu"
    path = folder / f"counter-{content_hash(source, 8)}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            (Path(scratch) / "counter.c").write_text(source)
            own = qemu / "usr/lib/x86_64-linux-gnu/tcc"
            compiler = [*loader(qemu), str(qemu / "usr/bin/tcc"), f"-B{own}", "-shared", "-nostdlib"]
            _run([*compiler, "-o", f"{scratch}/counter.so", f"{scratch}/counter.c"], "counter.c")
            (Path(scratch) / "counter.so").rename(path)
    return path


def loader(qemu: Path) -> list[str]:
    """Return the beginning of a command line that runs a program of `qemu` with the libraries there."""
    libraries = [qemu / place / "x86_64-linux-gnu" for place in ("lib", "usr/lib")]
    return [str(qemu / "lib64/ld-linux-x86-64.so.2"), "--library-path", ":".join(map(str, libraries))]


def _qemu10(folder: Path, part: Path) -> None:
    """Unpack the one program of QEMU 10 that is needed; it has no dependencies."""
    options, place = _apt(folder, "amd64"), folder / "apt-amd64" / "backports"
    place.mkdir(exist_ok=True)
    _run(["apt-get", *options, "download", f"qemu-user/{BACKPORTS}"], "QEMU 10", place)
    (archive,) = place.glob("qemu-user_*.deb")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        with tarfile.open(fileobj=child.stdout, mode="r|") as files:
            for entry in files:
                if entry.name == "./usr/bin/qemu-aarch64" and (content := files.extractfile(entry)):
                    (part / "qemu-aarch64").write_bytes(content.read())
    (part / "qemu-aarch64").chmod(0o755)
    version = archive.name.split("_")[1].replace("%3a", ":")
    (part / "versions.json").write_text(json.dumps({"qemu-user (backports)": version}))


def _site(folder: Path, part: Path, wheels: dict[str, str]) -> None:
    """Unpack the wheels of the runtimes, in this machine's versions, and numpy's."""
    place, versions, missing = folder / "wheels", {}, {}
    place.mkdir(exist_ok=True)
    for package in ("numpy", *wheels):
        runtime = next((name for name, own in WHEELS.items() if own == package), "")
        wanted = f"{package}=={wheels[package]}" if runtime else package
        pattern = f"{package.replace('-', '_')}-{wheels.get(package, '')}*.whl"
        archive = next(place.glob(pattern), None)
        try:
            archive = archive or _wheel(place, wanted, pattern)
        except WorkError as error:
            if runtime in ("", "litert"):
                raise
            missing[runtime] = str(error)
            continue
        versions[package] = archive.name.split("-")[1]
        with zipfile.ZipFile(archive) as files:
            files.extractall(part)
    (part / "versions.json").write_text(json.dumps(versions))
    (part / "missing.json").write_text(json.dumps(missing))


def _wheel(place: Path, wanted: str, pattern: str) -> Path:
    """Download a wheel for aarch64; return its path, which has the pattern."""
    platforms = [part for tag in TAGS for part in ("--platform", f"{tag}_aarch64")]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "download", "-q", "--no-deps"]
    target = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", "--abi", "cp311"]
    _run([*pip, "-d", str(place), *target, *platforms, wanted], f"{wanted} for aarch64")
    return next(place.glob(pattern))


def _apt(folder: Path, architecture: str) -> list[str]:
    """Return the options of an apt-get that has lists, cache and sources below the folder, and no package installed."""
    base = folder / f"apt-{architecture}"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (base / name).mkdir(parents=True, exist_ok=True)
    (base / "status").write_text("")
    (base / "apt.conf").write_text(APT_CONFIG)
    suites = (RELEASE, BACKPORTS) if architecture == "amd64" else (RELEASE,)
    lines = [f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n" for suite in suites]
    (base / "sources.list").write_text("".join(lines))
    values = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
        "Dir::State": base / "state",
        "Dir::State::status": base / "status",
        "Dir::Cache": base / "cache",
        "Dir::Etc::sourcelist": base / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
    }
    options = ["-qq", "-c", str(base / "apt.conf")]
    options += [part for key, value in values.items() for part in ("-o", f"{key}={value}")]
    if not any((base / "state/lists").glob("*_Packages*")):
        _run(["apt-get", *options, "update"], "Debian's package lists")
    return options


def _mirror() -> str:
    """Return the mirror of Debian that this machine uses, or Debian's own."""
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True)
    addresses = [line.rstrip("/") for line in done.stdout.splitlines()]
    return next((address for address in addresses if address.endswith("/debian")), MIRROR)


def _run(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    """Run a command.

    Raises:
        WorkError: it failed; one line with its last message.
    """
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
        raise WorkError(f"setup: qemu: {what}: {reason}; the same command continues the set-up")
