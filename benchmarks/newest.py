"""Installation of the newest version of every dependency in a new environment, and a report of everything that breaks.

Run `python -m benchmarks.newest` in a clone. Requirements of pyproject.toml lose their version limits; torch keeps the
installed version unless `--torch` is given, because the default wheel for Linux brings several GB of CUDA libraries.
Then every dependency is imported in a process of its own, and a part of the contract tests runs with the new versions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from arch.errors import InputError
from explore.cli import Parser, report_errors

ROOT = Path(__file__).parent.parent
RENAMED = {"ai-edge-quantizer": "litert-quantizer"}  # distributions that continue under another name
TEST_TOOLS = ("hypothesis", "pytest", "pytest-timeout")
TESTS = ("tests/quantize/test_recipes.py", "tests/quantize/test_runtimes.py")
SHORT = "recipes or float_file_matches or int8_file_is_close or int8_file_computes or timed_call_does"
FIND_MODULES = """
import importlib.metadata, json, sys
found = importlib.metadata.packages_distributions()
print(json.dumps({name: sorted(module for module, owners in found.items() if name.replace("_", "-").lower() in
    [owner.replace("_", "-").lower() for owner in owners] and not module.startswith("_")) for name in sys.argv[1:]}))
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if nothing broke, 1 if something did, 2 for wrong input."""
    return report_errors(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = Parser(
        prog="python -m benchmarks.newest", description="install the newest dependencies and run a part of the tests"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="keep the environment here (default: a temporary one)"
    )
    parser.add_argument("--torch", action="store_true", help="install the newest torch, too")
    parser.add_argument(
        "--extras", default="", metavar="NAMES", help="extras of pyproject.toml to add, such as executorch,coreml"
    )
    parser.add_argument(
        "--tests", nargs="*", default=list(TESTS), metavar="FILE", help="test files (default: %(default)s)"
    )
    parser.add_argument(
        "--select", default=SHORT, metavar="EXPRESSION", help="pytest's -k (default: a few minutes of tests)"
    )
    args = parser.parse_args(argv)
    if args.folder and args.folder.exists():
        raise InputError(f"{args.folder}: exists already; give a new folder")
    with tempfile.TemporaryDirectory() as scratch:
        return _report(args, args.folder or Path(scratch, "environment"))


def _report(args: argparse.Namespace, folder: Path) -> int:
    wanted = requirements(args.extras.split(",") if args.extras else [])
    python = folder / "bin" / "python"
    print(f"installing {len(wanted)} packages into {folder}", flush=True)
    venv.create(folder, with_pip=True)
    limits = [] if args.torch else [f"torch=={metadata.version('torch').partition('+')[0]}"]
    names = [name for name in wanted if args.torch or name != "torch"]
    installed = _call([python, "-m", "pip", "install", "-q", "--upgrade", *limits, *names, *TEST_TOOLS])
    if installed.returncode:
        print(f"broken: the newest versions cannot be installed together: {_last_line(installed.stderr)}")
        return 1
    broken = [
        *_versions(python, wanted),
        *_failed_imports(python, tuple(wanted)),
        *_failed_tests(python, args.tests, args.select),
    ]
    for line in broken:
        print(f"broken: {line}")
    print(f"{len(broken) or 'nothing'} broken")
    return 1 if broken else 0


def requirements(extras: Sequence[str] = ()) -> dict[str, str]:
    """Return the version limits of pyproject.toml by package, under the package's present name.

    Raises:
        InputError: no such extra.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    if unknown := [extra for extra in extras if extra not in optional]:
        raise InputError(f"extras: '{unknown[0]}' is not one of {', '.join(optional)}")
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    found = {}
    for line in lines:
        name, limit = re.fullmatch(r"([\w.-]+(?:\[[\w,]+\])?)\s*([^;]*).*", line).groups()  # type: ignore[union-attr]
        found[RENAMED.get(name, name)] = limit.strip()
    return found


def _versions(python: Path, wanted: dict[str, str]) -> Iterator[str]:
    """Print the installed versions; yield the packages that another one holds back from their newest version."""
    listed = json.loads(_call([python, "-m", "pip", "list", "--format=json"]).stdout)
    versions = {_normal(each["name"]): each["version"] for each in listed}
    outdated = json.loads(_call([python, "-m", "pip", "list", "--outdated", "--format=json"]).stdout or "[]")
    newest = {_normal(each["name"]): each["latest_version"] for each in outdated}
    for name, limit in sorted(wanted.items()):
        key = _normal(name.partition("[")[0])
        print(f"  {name:<28} {versions[key]:<20} pyproject.toml: {limit or 'any'}")
        if key in newest and key != "torch":
            yield f"{name}: {versions[key]} was installed, not {newest[key]}: another package does not allow it"


def _failed_imports(python: Path, names: tuple[str, ...]) -> Iterator[str]:
    """Import each package in a process of its own and yield the failures."""
    keys = [name.partition("[")[0] for name in names]
    modules = json.loads(_call([python, "-c", FIND_MODULES, *keys]).stdout)
    for name in keys:
        for module in modules[name]:
            done = _call([python, "-c", f"import {module}"])
            if done.returncode:
                yield f"import {module} ({name}): {_last_line(done.stderr)}"


def _failed_tests(python: Path, tests: Sequence[str], select: str) -> Iterator[str]:
    """Run the tests with the packages of this clone and yield the failures."""
    done = _call(
        [python, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", *tests, *(["-k", select] if select else [])]
    )
    print(f"  tests: {_last_line(done.stdout)}")
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    yield from failures
    if done.returncode and not failures:
        yield f"pytest: {_last_line(done.stderr or done.stdout)}"


def _call(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


if __name__ == "__main__":
    sys.exit(main())
