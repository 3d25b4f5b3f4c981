"""Publishers and onlookers: opened where asked for, and not even imported where not."""

import json
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from bundle.errors import InputError
from edge.fan_out import FanOut, open_publishers
from edge.message import Message
from edge.options import parse_options

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo" / "driver.mp4"
FLAGS = {
    "--dashboard": ("aiohttp", ["--dashboard", "0"]),
    "--metrics": ("prometheus_client", ["--metrics", "0"]),
    "--mqtt": ("paho", ["--mqtt", "mqtt://127.0.0.1/car"]),
    "--view terminal": ("rich", ["--view", "terminal"]),
}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_plain_run_imports_nothing_of_it_and_opens_no_socket() -> None:
    code = f"""
import sys
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event.startswith("socket.") else None)
import edge.run
assert edge.run.main(["--clip", {str(DEMO)!r}, "--duration", "1", "--output", "/dev/null"]) == 0
packages = {[package for package, _ in FLAGS.values()]} + ["asyncio", "http.server"]
print([name for name in packages if name in sys.modules], opened)
"""
    result = run_python(code)
    assert result.stdout == "[] []\n", result.stderr


@pytest.mark.parametrize("flag", FLAGS)
def test_package_that_is_missing_is_named_with_its_remedy(flag: str) -> None:
    package, arguments = FLAGS[flag]
    code = f"""
import sys
sys.modules[{package!r}] = None
import edge.run
print(edge.run.main(["--clip", {str(DEMO)!r}, *{arguments}]))
"""
    result = run_python(code)
    assert result.stdout == "1\n"
    extra = flag.removeprefix("--").split()[0]
    assert re.fullmatch(
        rf"edge-run: {flag} needs the package {package}, .* pip install 'edge-emotion\[{extra}\]'\n", result.stderr
    )


def test_run_with_dashboard_and_metrics_writes_the_same_lines() -> None:
    def lines(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), "--duration", "3", *arguments]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    plain = lines()
    assert len(plain) == 16
    assert lines("--dashboard", "0", "--metrics", "0") == plain
    assert json.loads(plain[-1])["source"] == "audio+video"


def test_nothing_that_was_opened_stays_open_when_the_source_fails() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "edge.run", "--clip", "none.mp4", "--dashboard", "0", "--metrics", "0"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "none.mp4" in result.stderr
    assert "Traceback" not in result.stderr


def test_port_that_is_taken_ends_the_run_before_the_source_is_opened() -> None:
    options = parse_options(["--metrics", "0"])
    with ExitStack() as stack:
        pytest.importorskip("prometheus_client")
        open_publishers(options, stack)
        taken = parse_options(["--metrics", "203.0.113.1:80"])
        with pytest.raises(InputError, match="--metrics cannot listen"):
            open_publishers(taken, stack)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dashboard", "eighty"],
        ["--metrics", "1.2.3.4"],
        ["--view", "page"],
        ["--token-file", "x"],
        ["--mqtt-ca", "x"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_options(arguments)
    assert stopped.value.code == 2


def test_token_of_a_file_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("prometheus_client")
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    with ExitStack() as stack:
        fan_out = open_publishers(parse_options(["--metrics", "0", "--token-file", str(token)]), stack)
        assert fan_out.urls[0].endswith("/metrics?token=0123456789abcdef")
    err = capsys.readouterr().err
    assert "0123456789abcdef" not in err
    assert err.endswith(f"/metrics, with ?token= of {token}\n")


@pytest.mark.parametrize("anywhere", ["0.0.0.0", "[::]"])
def test_address_that_others_can_open_is_told(anywhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        open_publishers(parse_options(["--metrics", f"{anywhere}:0"]), stack)
    told = capsys.readouterr().err
    assert re.search(rf"metrics at http://{re.escape(socket.gethostname())}:\d+/metrics\?token=", told)


def test_without_onlookers_there_is_no_tap() -> None:
    with ExitStack() as stack:
        fan_out = open_publishers(parse_options([]), stack)
        assert fan_out.tap is None
        assert fan_out.want_lines


def test_closing_twice_does_nothing() -> None:
    fan_out = FanOut()
    fan_out.close()
    fan_out.close()


class Lines:
    """Notes its name with each message that it gets."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    def publish(self, _: Message) -> None:
        self._notes.append(self._name)


def test_lines_that_are_added_last_are_written_first() -> None:
    fan_out, notes = FanOut(), list[str]()
    fan_out.add(Lines("page", notes))
    fan_out.add(Lines("lines", notes))
    fan_out.publish({})
    assert notes == ["lines", "page"]
