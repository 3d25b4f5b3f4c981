"""Nothing is written to disk and no socket is opened unless asked: the kernel's own account of a run."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.test_run import DEMO, ROOT
from tests.test_architecture import MAY_IMPORT, imports, modules
from tests.virtual_devices import MjpegCamera

WRITES = (
    "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,truncate"
)
SOCKETS = "socket,connect,bind,sendto,sendmsg"

HARMLESS = re.compile(r'"(/dev/(null|shm/|tty)|/proc/self/|/sys/)|O_TMPFILE')
"""What is opened for writing and leaves nothing: the null device, shared memory, the kernel's own files, and the file
without a name by which Numba sees whether it could keep compiled kernels.
"""


def traced(folder: Path, *arguments: object) -> list[str]:
    """System calls of a new user's run, of all its threads and children, that write to a disk or open a socket."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed (apt-get install strace)")
    log, home = folder / "calls", folder / "home"
    home.mkdir()  # without the caches of earlier runs
    elsewhere = {name for name in os.environ if name.startswith(("XDG_", "MPL"))}
    environment = {name: os.environ[name] for name in os.environ.keys() - elsewhere} | {"HOME": str(home)}
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        log,
        "-e",
        f"trace={WRITES},{SOCKETS}",
        sys.executable,
        "-B",
        "-m",
        "edge.run",
    ]
    result = subprocess.run([*command, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True)
    if "ptrace" in result.stderr and "not permitted" in result.stderr:
        pytest.skip("ptrace is not permitted here")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") >= 6
    return [line for line in log.read_text().splitlines() if "= -1" not in line or "EINPROGRESS" in line]


def written(calls: list[str]) -> list[str]:
    """Files opened for writing, made, moved or removed."""
    opened = [
        call for call in calls if re.search(r"\bopen(at)?\(", call) and re.search("O_WRONLY|O_RDWR|O_CREAT", call)
    ]
    changed = [
        call for call in calls if re.search(r"\b(creat|mkdir\w*|rename\w*|unlink\w*|\w*link\w*|truncate)\(", call)
    ]
    return [call for call in {*opened, *changed} if not HARMLESS.search(call)]


def sockets(calls: list[str]) -> list[str]:
    return [call for call in calls if re.search(r"\b(socket|connect|bind|send\w+)\(", call)]


@pytest.mark.slow
def test_clip_is_perceived_without_a_file_written_or_a_socket_opened(tmp_path: Path) -> None:
    warm_kernels = subprocess.run([sys.executable, "-m", "edge.run", "--clip", DEMO], cwd=ROOT, capture_output=True)
    assert warm_kernels.returncode == 0
    calls = traced(tmp_path, "--clip", DEMO, "--duration", 3)
    assert written(calls) == []
    assert sockets(calls) == []


@pytest.mark.slow
def test_live_camera_opens_its_own_connection_and_nothing_else(mjpeg_portrait: MjpegCamera, tmp_path: Path) -> None:
    calls = traced(tmp_path, "--camera", mjpeg_portrait.url, "--no-microphone", "--duration", 8)
    assert written(calls) == []
    port = mjpeg_portrait.url.split(":")[2].strip("/")
    connections = [call for call in sockets(calls) if "connect(" in call and "AF_INET" in call]
    assert connections
    assert all(f"htons({port})" in call and "127.0.0.1" in call for call in connections)


@pytest.mark.slow
def test_recording_writes_its_file_and_nothing_else(tmp_path: Path) -> None:
    calls = traced(tmp_path, "--clip", DEMO, "--duration", 3, "--record", tmp_path / "drive.rec")
    assert [call for call in written(calls) if "drive.rec" not in call] == []
    assert [call for call in written(calls) if "drive.rec" in call]
    assert sockets(calls) == []


@pytest.mark.slow
def test_fleet_profile_writes_its_audit_and_nothing_else(tmp_path: Path) -> None:
    fleet = ["--profile", "fleet", "--approved-states", "agitated", "--audit", tmp_path / "audit.jsonl"]
    calls = traced(tmp_path, "--clip", DEMO, "--duration", 3, *fleet)
    assert [call for call in written(calls) if "audit.jsonl" not in call] == []
    assert len([call for call in written(calls) if "audit.jsonl" in call]) == 2
    assert all("O_APPEND" in call for call in written(calls))
    assert sockets(calls) == []


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_nothing_is_pickled(package: str) -> None:
    """A pickle runs whatever it likes when it is loaded; neither we nor NumPy nor PyTorch may load one for us."""
    for path in modules(package):
        assert not {"cPickle", "dill", "joblib", "shelve", "marshal"} & set(imports(path)), path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
                assert node.attr == "UnpicklingError", path  # what torch.load refuses with
            assert not (isinstance(node, ast.ImportFrom) and node.module == "pickle"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only") == "True", path
