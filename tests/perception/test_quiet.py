"""Standard error comes back, however those who silence it come and go."""

import os
import subprocess
import sys

import pytest

from perception.quiet import native_stderr_silenced


def test_what_is_written_meanwhile_is_lost_and_the_rest_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = native_stderr_silenced(), native_stderr_silenced()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    os.write(2, b"silenced")
    second.__exit__(None, None, None)
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_what_python_prints_meanwhile_is_heard() -> None:
    code = (
        "import os, sys, threading\n"
        "from perception.quiet import native_stderr_silenced\n"
        "with native_stderr_silenced():\n"
        "    os.write(2, b'native')\n"
        "    thread = threading.Thread(target=lambda: print('printed', file=sys.stderr))\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "print('after', file=sys.stderr)\n"
        "os.write(2, b'native again')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "printed\nafter\nnative again"


def test_a_process_without_a_standard_error_is_left_alone() -> None:
    code = "from perception.quiet import native_stderr_silenced\nwith native_stderr_silenced():\n    print('done')"
    command = ["bash", "-c", '"$@" 2>&-', "bash", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "done\n"
