"""The command line: finds the command, runs it, turns what went wrong into one line and an exit status.

0: done. 1: the work failed. 2: the input is wrong. 130: stopped from the keyboard.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from arch.errors import InputError
from explore.commands import COMMANDS
from explore.redact import redacted


class Parser(argparse.ArgumentParser):
    """Argparse with errors of one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")


def usage() -> str:
    lines = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
    return (
        "edgepose: finds, measures and ships 3D human pose networks for mobile CPUs\n\n"
        f"usage: python explore.py COMMAND [options]\n\n{lines}\n\n"
        "Each command: --help. Start with: python explore.py search"
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    try:
        return _run(argv[0], argv[1:])
    except InputError as error:
        print(f"error: {redacted(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if type(error).__name__ not in (
            "SearchFailed",
            "ConversionError",
            "DeviceError",
            "Disturbed",
            "Diverged",
            "StorageLost",
        ):
            raise
        print(f"failed: {redacted(str(error))}", file=sys.stderr)
        return 1


def _run(name: str, rest: list[str]) -> int:
    if name not in COMMANDS:
        raise InputError(f"'{name}' is no command; there are {', '.join(COMMANDS)}")
    module = importlib.import_module(f"explore.commands.{name}")
    parser = Parser(
        prog=f"explore.py {name}",
        description=COMMANDS[name],
        epilog=f"example: {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    return int(module.run(parser.parse_args(rest)))
