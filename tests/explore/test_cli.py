"""The command line: help, errors, exit statuses and the import of heavy packages."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arch.errors import WorkError
from explore import cli
from explore.cli import Parser, main, report_errors
from explore.commands import COMMANDS
from tests.helpers import ROOT

HEAVY = (
    "cv2", "jinja2", "litert_torch", "matplotlib", "multiprocessing.pool", "nncf", "numpy", "onnx", "openvino", "optuna",
    "PIL", "plotly", "scipy", "sklearn", "torch",
)  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "explore.py"), *arguments], capture_output=True, text=True, timeout=120
    )


def parser_of(name: str) -> Parser:
    parser = Parser(prog=f"explore.py {name}")
    importlib.import_module(f"explore.commands.{name}").add_arguments(parser)
    return parser


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_overview_lists_all_commands(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments]) == 0
    shown = capsys.readouterr().out
    assert "usage: python explore.py COMMAND" in shown
    assert all(re.search(rf"^  {name} +{re.escape(text)}$", shown, re.MULTILINE) for name, text in COMMANDS.items())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom explore.cli import main\n"
        f"for name in {list(COMMANDS)}:\n    try:\n        main([name, '--help'])\n    except SystemExit:\n        pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(capsys, name, "--help")
    assert f"example: python explore.py {name}" in shown and "--json" in shown
    assert shown == help_of(capsys, "help", name)
    options = [option for line in shown.splitlines() for option in re.findall(r"^  (--[\w.-]+)", line)]
    assert len(options) == len(set(options))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_description(name: str) -> None:
    def check(parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for child in action.choices.values():
                    check(child)
            else:
                assert action.help, f"{parser.prog}: {action.option_strings or action.dest}"

    check(parser_of(name))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"edgepose \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_usage_of_the_installed_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/edgepose"])
    shown = help_of(capsys, "worker", "--help")
    assert "usage: edgepose worker [options] --study NAME" in shown
    assert "example: edgepose worker" in shown and "explore.py" not in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serch"], "did you mean 'search'?"),
        (["bench", "profile"], "python -m benchmarks"),
        (["search", "--trails", "3"], "did you mean '--trials'?"),
        (["data", "synth", "--levle=full"], "did you mean '--level'?"),
        (["data", "lable", "photos"], "did you mean 'label'?"),
        (["data", "label", "a", "--out=b", "--evry=3"], "did you mean '--every'?; see explore.py data label --help"),
        (["data", "check", "mpii:a", "--sheat=b"], "did you mean '--sheet'?; see explore.py data check --help"),
        (["search", "--dataset.train-subjects=1;5"], "(given: '1;5'); separate the values of a list by commas"),
        (["data", "check", "custom"], "data 'custom' cannot be checked; give human36m:PATH"),
        (["data", "synth", "--workers=-3"], "--workers -3: negative"),
        (
            ["export", "a", "--measure=3"],
            "could match --measure.threads, --measure.rounds, --measure.calls, --measure.ci-width,",
        ),
        (["export", "a", "--finetune-samples=5"], "--finetune-samples: has no effect without --replace-activations"),
        (["measure", "a", "--networks=30"], "--networks: has no effect without --calibrate"),
        (["profile", "paper-L", "--input-size=64"], "--input-size: has no effect without --space"),
        (["report", "a", "--markdown"], "--markdown: has no effect without --tables"),
        (["report", "--tables=a", "--out=b"], "--out: has no effect with --tables"),
        (["profile"], "--paper"),
        (["profile", "--paper", "--describe"], "give presets or files"),
        (["profile", "paper-M"], "paper-L"),
        (["profile", "--space", "huge"], "mobile"),
        (["predict", "photo.jpg"], "photo.jpg"),
        (["train", "--arch", "paper-L@100"], "100"),
        (["export", "nothing.safetensors"], "nothing.safetensors"),
        (["measure", "nothing"], "nothing"),
    ],
)
def test_wrong_input_is_one_line_and_status_two(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(shown) == 1 and expected in shown[0]


def test_exit_status_of_other_errors(capsys: pytest.CaptureFixture[str]) -> None:
    class DeviceLost(WorkError):
        pass

    def fail(error: BaseException) -> int:
        raise error

    assert report_errors(lambda: fail(DeviceLost("postgresql://me:secret@host/db: no answer\n  a line of a log"))) == 1
    assert capsys.readouterr().err == "failed: postgresql://me:***@host/db: no answer\n"
    assert report_errors(lambda: fail(KeyboardInterrupt())) == 130
    assert report_errors(lambda: fail(RuntimeError("a\nbug")), show_traceback=False) == 1
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 2 and shown[1].startswith("failed: unexpected RuntimeError: a bug; please report it")


def test_a_python_without_edgepose_names_itself() -> None:
    command = [sys.executable, "-S", "explore.py", "predict", "a.jpg"]  # without the installed packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: No module named") and sys.executable in done.stderr


def test_another_package_called_arch(tmp_path: Path) -> None:
    (tmp_path / "arch").mkdir()
    (tmp_path / "arch" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "from explore.cli import main"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert str(tmp_path / "arch") in done.stderr and "pip uninstall arch" in done.stderr


def test_option_of_version_0_1(capsys: pytest.CaptureFixture[str]) -> None:
    args = parser_of("search").parse_args(["--candidate.rate", "0.1", "--scale=128"])
    assert vars(args)["candidate.learning_rate"] == "0.1" and vars(args)["input_size"] == "128"
    notices = capsys.readouterr().err.splitlines()
    assert "note: --scale is now called --input-size; the old name works until version 0.3" in notices


def test_paper_tables_as_json() -> None:
    done = run("profile", "--paper", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    large = next(row for row in rows if row["table"] == "Table 6" and row["row"].endswith("(L)"))
    assert large["digits"] == "equal"
    assert round(large["params"], 2) == 4.07 and round(large["gflops"], 2) == 5.49


def test_program_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for started, expected in (("/clone/explore.py", "explore.py"), ("/bin/edgepose", "edgepose"), ("-c", "explore.py")):
        monkeypatch.setattr(sys, "argv", [started])
        assert cli.program() == expected
