"""How commands end, in processes of their own: Python says a last word at exit."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundle.command import exit_status, warn
from bundle.errors import ArgumentError, ArtefactError, InputError

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, time
from bundle.command import exit_status, tell
from bundle.errors import InputError

sys.exit(exit_status("edge-x", lambda: {work}, stopped=""))
"""
LONG = """for number in range(3_000): print(f"{number} of 3000 epochs", file=sys.stderr)
print("trained")
raise InputError("and that is told, if somebody hears it.")"""
COMMAND = [sys.executable, "-c", SCRIPT.format(work='print("figures")')]
VERDICT = [sys.executable, "-c", SCRIPT.format(work='tell("figures") or 1')]


def run(command, stdout):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)


def failing(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (2, 2)])
def test_the_work_says_how_it_ended(returned, status, capsys):
    assert exit_status("edge-x", lambda: returned, stopped="") == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ArgumentError("--n is 0; expected 1."), 2, "edge-x: --n is 0; expected 1.\n"),
        (InputError("a.wav is missing."), 1, "edge-x: a.wav is missing.\n"),
        (ArtefactError("b.onnx is corrupt."), 1, "edge-x: b.onnx is corrupt.\n"),
        (FileNotFoundError(2, "No such file", "c"), 1, "edge-x: [Errno 2] No such file: 'c'\n"),
        (KeyboardInterrupt(), 1, "edge-x: stopped; nothing is lost\n"),
        (
            ModuleNotFoundError("no", name="torch"), 1,
            "edge-x: torch is not installed; expected it. pip install -e '.[train]'\n",
        ),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_is_one_line(error, status, told, capsys):
    assert exit_status("edge-x", failing(error), stopped="nothing is lost") == status
    assert capsys.readouterr() == ("", told)


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        exit_status("edge-x", lambda: 1 // 0, stopped="")


@pytest.mark.parametrize(
    "command", [COMMAND, [sys.executable, "-m", "training.main", "--list"]], ids=["exit_status", "edge-train --list"]
)
def test_a_full_disk_is_one_line(command):
    with open("/dev/full", "w") as full:
        result = run(command, full)
    assert result.returncode == 1
    assert result.stderr.endswith(": [Errno 28] No space left on device\n")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("command", "status"), [(COMMAND, 0), (VERDICT, 1), ([VERDICT[0], "-u", *VERDICT[1:]], 1)])
def test_a_reader_that_has_gone_changes_nothing(command, status):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = run(command, writing)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (status, "")


def test_a_closed_standard_output_is_no_error():
    result = run(["bash", "-c", '"$@" >&-', "bash", *COMMAND], subprocess.DEVNULL)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("stderr", ["> >(head -c 1 >/dev/null)", ">/dev/full", ">&-"])
def test_work_whose_progress_nobody_hears_is_done_and_its_status_given(stderr):
    code = SCRIPT.format(work=f"exec({LONG!r})")
    result = run(["bash", "-c", f'"$@" 2{stderr}', "bash", sys.executable, "-c", code], subprocess.PIPE)
    assert (result.returncode, result.stdout) == (1, "trained\n")


def test_a_pipe_that_breaks_elsewhere_is_an_error():
    code = SCRIPT.format(work='exec("raise BrokenPipeError(32, chr(99))")')
    result = run([sys.executable, "-c", code], subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, "edge-x: [Errno 32] c\n")


def test_sigterm_ends_the_work_as_ctrl_c_does_and_not_what_tidies_up():
    tidying = """
try:
    print("begun", flush=True)
    time.sleep(60)
finally:
    time.sleep(0.5)
    print("tidy")
"""
    code = SCRIPT.format(work=f"exec({tidying!r})")
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        time.sleep(0.2)
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, out, err) == (1, "tidy\n", "edge-x: stopped; \n")


def test_a_warning_waits_for_no_reader_and_needs_no_standard_error(monkeypatch, capsys):
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as stderr:
        os.write(writing, bytes(fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)))  # as much as it takes
        monkeypatch.setattr(sys, "stderr", stderr)
        warn("nobody reads this")  # or it would wait here for ever
        reader.read(65536)
        warn("somebody does")
        stderr.flush()
        assert b"somebody does" in reader.read1()
    monkeypatch.setattr(sys, "stderr", None)
    warn("it is closed")
    assert capsys.readouterr().out == ""
