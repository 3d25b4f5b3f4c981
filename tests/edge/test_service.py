"""What systemd is told, and the unit that makes it listen."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from edge.service import Service
from tests.edge.test_run import DEMO, ROOT, edge_run

UNIT = ROOT / "packaging" / "edge-run.service"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """A service manager's socket, as $NOTIFY_SOCKET names it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(1)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield listener
    listener.close()


def heard(listener: socket.socket, count: int) -> list[str]:
    return [listener.recv(4_096).decode() for _ in range(count)]


def test_ready_comes_with_the_first_message_and_the_watchdog_with_each(manager: socket.socket) -> None:
    service = Service()
    service.published("unknown", "none")
    service.published("calm", "audio+video")
    service.stopping()
    assert heard(manager, 3) == [
        "READY=1\nWATCHDOG=1\nSTATUS=unknown (none)",
        "WATCHDOG=1\nSTATUS=calm (audio+video)",
        "STOPPING=1",
    ]


def test_name_in_the_abstract_namespace_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0edge-emotion test")
        listener.settimeout(1)
        monkeypatch.setenv("NOTIFY_SOCKET", "@edge-emotion test")
        Service().stopping()
        assert heard(listener, 1) == ["STOPPING=1"]


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    Service().published("calm", "video")


def test_manager_that_does_not_read_never_holds_up_a_run(manager: socket.socket) -> None:
    service = Service()
    for _ in range(1_000):
        service.published("calm", "video")
    assert heard(manager, 1)[0].startswith("READY=1")


def test_run_tells_its_manager_of_every_message(manager: socket.socket) -> None:
    manager.setblocking(False)
    result = edge_run("--clip", DEMO, "--duration", 1, "--no-camera")
    assert result.returncode == 0, result.stderr
    told = heard(manager, result.stdout.count("\n") + 1)
    assert told[0].startswith("READY=1")
    assert all("WATCHDOG=1" in text for text in told[:-1])
    assert told[-1] == "STOPPING=1"


def test_unit_is_one_that_systemd_understands() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    result = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False)
    complaints = [line for line in result.stderr.splitlines() if UNIT.name in line and "not executable" not in line]
    assert complaints == []
