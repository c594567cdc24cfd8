"""Outputs that cannot be written are found before the work; unexpected exceptions are one line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from arch.errors import InputError
from arch.files import check_output
from explore.cli import main, report_errors
from explore.config import parse
from explore.host import ensure_home
from explore.predict import BUNDLED
from explore.progress import Display
from explore.search.config import SearchConfig
from tests.helpers import ROOT

TRAIN = ("train", "--arch", "paper-XS-relu@64", "--samples", "64")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "Traceback")))
    return line


def test_output_of_train_is_checked_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "taken.json").mkdir()
    wrong = {
        ".": "a folder",
        str(tmp_path): "a folder",
        "a.state": "give a name that ends in .safetensors",
        "a.JSON": "give a name that ends in .safetensors",
        "net": "give a name that ends in .safetensors",
        "file/a.safetensors": f"{tmp_path / 'file'} is not a folder",
        "taken.safetensors": "taken.json: a folder",
        "/dev/null": "not a regular file",
        "x" * 300: "File name too long",
        "/proc/a.safetensors": "/proc/a.safetensors: ",
    }
    before = sorted(tmp_path.rglob("*"))
    for out, expected in wrong.items():
        for network in (TRAIN, ("train", "--supernet", "mobile")):
            line = refused(capsys, *network, f"--out={out}")
            assert line.startswith(f"error: --out {out}") and expected in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_possible_output_leaves_nothing_behind(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "folder" / "a.safetensors", "--out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_text("kept")
    check_output(tmp_path / "a", "--out")
    assert (tmp_path / "a").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_read_only_outputs(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kept")
    (tmp_path / "a").chmod(0o400)
    with pytest.raises(InputError, match="read-only"):
        check_output(tmp_path / "a", "--out")
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        check_output(tmp_path / "b", "--out")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "...", "../a", "a/b", "/tmp/a", "a\\b", "a?b", "a#b", "a%b", " a", "a ", "a\n", "a\x00", "a" * 101],
)
def test_study_names_outside_the_results_folder(name: str) -> None:
    with pytest.raises(InputError, match="command line: study: is not the name of a folder"):
        parse(SearchConfig, {"study": name}, "command line")


@pytest.mark.parametrize("name", ["", "a", "reference", "real-128", "a.b_c+d@64=x,y", "größe 2"])
def test_study_names(name: str) -> None:
    assert parse(SearchConfig, {"study": name}, "command line").study == name


def failure(capsys: pytest.CaptureFixture[str], error: Exception, show_traceback: bool = False) -> list[str]:
    def work() -> int:
        raise error

    assert report_errors(work, show_traceback) == 1
    return capsys.readouterr().err.splitlines()


def test_unexpected_exceptions_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = failure(capsys, KeyError("postgresql://me:secret@host/db\n" + "x" * 10_000))
    assert line.startswith("failed: unexpected KeyError: ") and line.endswith("the output of --traceback")
    assert "secret" not in line and len(line) < 500
    (line,) = failure(capsys, OSError(28, "No space left on device", "/full/a.csv"))
    assert line.startswith("failed: /full/a.csv: No space left on device; ")
    (line,) = failure(capsys, MemoryError("8 GB"))
    assert line.startswith("failed: not enough memory (8 GB); ")
    assert failure(capsys, TimeoutError("timed out"))[0].startswith("failed: unexpected TimeoutError: timed out")
    first, *_, last = failure(capsys, ZeroDivisionError("x"), show_traceback=True)
    assert first.startswith("Traceback") and last.startswith("failed: unexpected ZeroDivisionError: x")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("data check custom:/nowhere --sheet=FOLDER", "--sheet FOLDER: a folder; give the path of a file"),
        ("data synth --level easy --sheet=FOLDER", "--sheet FOLDER: a folder; give the path of a file"),
        ("report FOLDER --out=FOLDER", "--out FOLDER: a folder; give the path of a file"),
        ("data convert none.json --images=FOLDER --out=FOLDER/a", "--out FOLDER/a: not a folder; give the path of a folder"),
        ("data check custom:/nowhere --sheet=FOLDER/b.jpg", "--sheet FOLDER/b.jpg: the file is written as .png; give a name that ends in .png"),
        ("data synth --sheet=FOLDER/b.jpg", "--sheet FOLDER/b.jpg: the file is written as .png; give a name that ends in .png"),
        ("report FOLDER --out=FOLDER/b.pdf", "--out FOLDER/b.pdf: the file is written as .html; give a name that ends in .html"),
        (f"export {BUNDLED} --task=FOLDER/b.zip --force", "task FOLDER/b.zip: the file is written as .task; give a name that ends in .task"),
        ("measure --calibrate local --out=FOLDER/b.jsonl", "--out FOLDER/b.jsonl: the file is written as .json; give a name that ends in .json"),
        ("predict a.jpg --out=FOLDER/b.png", "--out FOLDER/b.png: the name of a .png file; give the path of a folder"),
    ],
)  # fmt: skip
def test_outputs_are_checked_first(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("")
    line = refused(capsys, *command.replace("FOLDER", str(tmp_path)).split())
    assert line == "error: " + message.replace("FOLDER", str(tmp_path))


def test_home_folder_in_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert refused(capsys, *TRAIN, "--out=~").startswith(f"error: --out {tmp_path}: a folder")
    assert refused(capsys, "report", "~/none").startswith(f"error: {tmp_path}/none: no such folder")
    assert refused(capsys, "data", "check", "custom:~/none", "--sheet=~/a.png").startswith(
        f"error: data custom: {tmp_path}/none"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_standard_output_on_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "explore.py"), "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "failed: a file or standard output: No space left on device; correct it and run the same command again (details: "
        "--traceback)"
    ]


def test_a_user_without_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*given: object) -> None:
        raise KeyError(given)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("HOME")
    assert str(tmp_path) in ensure_home() and Path.home() == tmp_path / f"edgepose-{os.getuid()}"
    assert ensure_home() == ""


def test_rendering_on_a_full_disk_names_the_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = ["--train-frames=2", "--test-frames=2", "--val-frames=2", "--workers=1"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        status = main(["data", "synth", f"--cache={tmp_path}", *frames])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    line = capsys.readouterr().err.splitlines()[-1]
    assert status == 1 and line.startswith(f"failed: {tmp_path}/") and ".jpg: File too large; " in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["[a]", "[/a]", "[bold]", "a [/] b", "[link=x]"])
@pytest.mark.parametrize("terminal", [False, True])
def test_brackets_in_names_are_no_markup(
    name: str, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1") if terminal else monkeypatch.delenv("FORCE_COLOR", raising=False)
    with Display() as display:
        display.stage(f"check {name}")
        display.worker(0, name, 0.5)
        display.update(0.5, name)
        display.log(f"skipped: {name}")
    error = capsys.readouterr().err
    assert f"skipped: {name}" in error and f"check {name}" in error
