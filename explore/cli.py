"""The command line: find the command, run it, and report a failure as one line and an exit status.

Exit status: 0 success, 1 the work failed, 2 wrong input, 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import arch

# By default, threads of torch spin for long while they wait for each other, which takes the time of other processes and of torch.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

ARCH = Path(arch.__path__[0])
if not (ARCH / "errors.py").is_file():
    print(
        f"error: {ARCH}: another package called 'arch'; run: pip uninstall arch, then install edgepose again",
        file=sys.stderr,
    )
    raise SystemExit(2)

from arch.errors import InputError, WorkError, did_you_mean, shortened  # noqa: E402
from explore.commands import COMMANDS  # noqa: E402
from explore.host import ensure_home, started_by, temporary_files  # noqa: E402
from explore.interrupts import Interrupted, as_exceptions  # noqa: E402
from explore.redact import redacted  # noqa: E402

MAX_TEXT = 300  # characters of an unexpected exception that are shown
MAX_LINE = 2000  # characters of any message: file names and values of the user may be long
BENCHMARKS = "bench: moved out of the installed package; run: python -m benchmarks, in a clone of the repository"


class Parser(argparse.ArgumentParser):
    """An argument parser with errors of one line and a usage line without the optional arguments."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Formatter} | options)

    def parse_known_args(self, *given: Any) -> Any:  # type: ignore[override]
        """Reject unknown arguments in the parser that found them, so that the error names the help of a subcommand."""
        args, unknown = super().parse_known_args(*given)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return args, unknown

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise an InputError; an unknown option is answered with the most similar one."""
        kind, _, rest = message.partition("unrecognized arguments: ")
        if not kind and rest:
            message += did_you_mean(rest.split()[0].partition("=")[0], visible_options(self))
        elif choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message):
            message += did_you_mean(choice[1], choice[2].replace("'", "").split(", "))
        elif match := re.match(r"(ambiguous option: .* could match )(.*)$", message):
            visible = set(visible_options(self))
            message = match[1] + ", ".join(option for option in match[2].split(", ") if option in visible)
        message = re.sub("invalid int value: (.*)", r"\1 is not a whole number", message)
        message = re.sub("invalid float value: (.*)", r"\1 is not a number", message)
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print as `print` does: argparse hides a full disk and a closed pipe."""
        if file:
            file.write(message)

    def format_help(self) -> str:
        """Return the help; the usage line shows positional and required arguments only."""
        needed = [action for action in self._actions if action.required or not action.option_strings]
        groups = [group for group in self._mutually_exclusive_groups if group.required]
        needed += [action for group in groups for action in group._group_actions if action not in needed]
        formatter = Formatter(prog=self.prog)
        formatter.add_usage(None, needed, groups, prefix="")
        usage = formatter.format_help().strip().removeprefix(self.prog)
        self.usage = f"{self.prog} [options]{usage}".replace("%", "%%")
        return super().format_help()


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keep line breaks of examples, and write all choices as a|b."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Callable[[int], tuple[str, ...]]:
        if action.metavar is None and action.choices is not None:
            return lambda count: ("|".join(map(str, action.choices or ())),) * count
        return super()._metavar_formatter(action, default_metavar)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may be no valid UTF-8
    rest = [_with_home(text) for text in argv if text != "--traceback"]  # accepted anywhere, also after a subcommand
    return report_errors(lambda: _run(rest), show_traceback=len(rest) < len(argv))


def report_errors(work: Callable[[], int], show_traceback: bool = True) -> int:
    """Return the exit status of `work`; its failure becomes one line on standard error.

    show_traceback: print the traceback of an unexpected exception above its line
    """
    try:
        with as_exceptions():
            try:
                return work()
            finally:
                if sys.stdout:
                    sys.stdout.flush()  # a full disk or a closed pipe is noticed here
    except InputError as error:
        _print_error(f"error: {_line(error)}")
        return 2
    except WorkError as error:
        _print_error("failed: " + _line(str(error).partition("\n")[0]))
        return 1
    except KeyboardInterrupt as error:
        _discard_output()
        _print_error("interrupted; run the same command again to continue")
        return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and (_has_no_reader(sys.stdout) or _has_no_reader(sys.stderr)):
            _discard_output()
            return 1  # the reader, such as `head`, has what it wanted
        _discard_output()
        if show_traceback:
            _print_error(redacted("".join(traceback.format_exception(error))).rstrip())
        _print_error(f"failed: {_line(_unexpected(error))}")
        return 1


def _print_error(text: str) -> None:
    """Print to standard error; where it is closed, the exit status alone reports the failure."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _discard_output()


def _line(message: object) -> str:
    """Return a message as one line that a terminal prints as it is, without passwords."""
    return redacted(shortened(message, MAX_LINE))


def _with_home(text: str) -> str:
    """Expand `~` at the start of an argument, and in `--out=~/FILE`, where the shell leaves it."""
    option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
    return option + equals + os.path.expanduser(value)


def _unexpected(error: Exception) -> str:
    """Return one line about an exception that no command expects, and what to do."""
    text = shortened(error, MAX_TEXT)
    if isinstance(error, OSError) and error.strerror:
        where = error.filename if isinstance(error.filename, str) else "a file or standard output"
        return f"{where}: {error.strerror}; correct it and run the same command again (details: --traceback)"
    if isinstance(error, MemoryError):
        return f"not enough memory ({text}); use smaller inputs, smaller batches or fewer workers"
    if isinstance(error, ModuleNotFoundError):
        return f"{text} for {sys.executable}; use .venv/bin/python, or install edgepose: pip install -e ."
    return f"unexpected {type(error).__name__}: {text}; please report it with the command and the output of --traceback"


def _has_no_reader(stream: TextIO | None) -> bool:
    """Return whether a stream is a pipe or socket whose other end is closed."""
    try:
        watched = select.poll()
        watched.register(stream.fileno(), 0)  # type: ignore[union-attr]
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in watched.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _discard_output() -> None:
    """Discard output that cannot be written, so that Python does not fail on it again at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_standard_streams() -> None:
    """Open closed standard streams (`>&-`) as the null device; else the next file to be opened takes their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - `print` takes None for standard output


def program() -> str:
    """Return how this process was started: `edgepose`, or `explore.py` in a clone."""
    return started_by().removeprefix("python ")


def version() -> str:
    """Return the installed version, or the one of the clone."""
    try:
        from importlib import metadata  # takes a seventh of the time that --help takes

        return metadata.version("edgepose")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def usage() -> str:
    """Return the overview of all commands."""
    lines = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
    start = _started(f"python explore.py {'{}'}")
    return (
        "Search, measure and export 3D human pose networks for mobile CPUs.\n\n"
        f"usage: {start.format('COMMAND [options]')}\n\n"
        f"commands:\n{lines}\n\n"
        f"  {start.format('help COMMAND')}  show the options of a command\n"
        f"  {start.format('--version')}     show the version\n\n"
        f"example: {start.format('search')}"
    )


def _started(text: str) -> str:
    """Replace `python explore.py` in `text` by the way this process was started."""
    return text.replace("python explore.py", started_by())


def _run(argv: list[str]) -> int:
    name, *rest = argv or ["--help"]
    if name == "--version":
        print(f"edgepose {version()}")
        return 0
    if name == "help" and rest:
        name, rest = rest[0], ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name == "bench":
        raise InputError(BENCHMARKS)
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise InputError(f"{name}: unknown command{did_you_mean(name, COMMANDS)}; the commands are {known}")
    module = importlib.import_module(f"explore.commands.{name}")
    parser = Parser(
        prog=f"{program()} {name}",
        description=COMMANDS[name],
        epilog=f"example: {_started(module.EXAMPLE)}",
    )
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an unexpected error")
    parser.set_defaults(parser=parser)  # for `explore.options.reject_useless`
    args = parser.parse_args(rest)
    if notice := ensure_home():
        print(notice, file=sys.stderr)
    with temporary_files():
        return int(module.run(args))


def visible_options(parser: argparse.ArgumentParser) -> Iterable[str]:
    """Yield the options of a parser and of its subcommands, without the hidden ones."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from visible_options(child)
        elif action.help != argparse.SUPPRESS:
            yield from action.option_strings
