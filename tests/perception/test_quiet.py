"""Standard error comes back, however those who silence it come and go."""

import os

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
