"""edge-doctor: each fault is made, and must be found, with what mends it; nothing private is told."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge.checks.devices as devices
import edge.checks.gpu as gpu
import edge.checks.machine as machine
import edge.checks.network as network
from bundle.errors import InputError
from bundle.folders import engine_folder
from bundle.manifest import DEFAULT_BUNDLE, MANIFEST, read_manifest, write_manifest
from edge.checks.devices import check_camera, check_microphone
from edge.checks.finding import Finding, findings_of
from edge.checks.gpu import check_engines, check_gpu, check_tensorrt
from edge.checks.machine import check_clock, check_disk
from edge.checks.network import check_bundle
from edge.checks.packages import OLDEST, OURS, TOO_NEW, check_clashes, check_packages
from edge.checks.report import anonymous
from edge.doctor import main
from tests.stalls import Stalls
from tests.test_architecture import MAY_IMPORT
from tests.virtual_devices import MjpegCamera, VirtualMicrophone, wait_until

ROOT = Path(__file__).parents[2]


def edge_doctor(
    *arguments: str, python: Sequence[str] = ("-m", "edge.doctor"), cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


def distribution(folder: Path, name: str, package: str = "", version: str = "1.0", lines: str = "") -> None:
    """Pretend that a distribution is installed, which brings a package."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n")


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def no_level(_dbfs: float) -> None:
    """A meter that nobody reads."""


class TestCheck:
    def test_check_that_breaks_is_a_finding_after_what_it_found(self) -> None:
        def check() -> Iterator[Finding]:
            yield Finding("half", "ok", "well")
            raise ZeroDivisionError("of nothing")

        first, second = findings_of("whole", check)
        assert first.status == "ok"
        assert (second.status, second.text) == ("failure", "the check itself broke: ZeroDivisionError: of nothing")
        assert "--report" in second.mend

    def test_check_that_hangs_is_left_behind(self) -> None:
        hang = threading.Event()

        def check() -> Iterator[Finding]:
            hang.wait()
            yield Finding("never", "ok", "")

        (finding,) = findings_of("driver", check, limit_s=0.05)
        hang.set()
        assert (finding.status, finding.text) == ("failure", "no answer within 0 s")

    def test_remedy_of_our_own_errors_is_told_apart_from_what_is_wrong(self) -> None:
        def check() -> Iterator[Finding]:
            raise InputError("channel is 9; expected 0..1. Give one of these.")

        (finding,) = findings_of("microphone", check)
        assert (finding.text, finding.mend) == ("channel is 9", "expected 0..1. Give one of these.")

    def test_missing_library_is_told_with_the_package_that_brings_it(self) -> None:
        def check() -> Iterator[Finding]:
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

        (finding,) = findings_of("camera", check)
        assert (finding.text, finding.mend) == ("the library libGL.so.1 is missing", "sudo apt-get install libgl1")


class TestPackages:
    def test_versions_that_this_python_must_have_are_those_of_setup(self) -> None:
        (wanted,) = re.findall(r'python_requires="(.*)"', (ROOT / "setup.py").read_text())
        assert wanted == ">={}.{},<{}.{}".format(*OLDEST, *TOO_NEW)
        assert set(OURS) == {package for package in MAY_IMPORT if "/" not in package}  # others are installed apart

    def test_missing_and_old_packages_are_told_with_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = "Requires-Dist: numpy>=1.26\nRequires-Dist: old>=2\nRequires-Dist: no-such-thing==3\n"
        lines += 'Provides-Extra: mqtt\nRequires-Dist: no-such-client>=1; extra == "mqtt"\n'
        distribution(tmp_path, "edge-emotion", "edge", lines=lines)
        distribution(tmp_path, "old", "old", "1.5")
        monkeypatch.syspath_prepend(tmp_path)
        old, missing, extras = check_packages()
        assert (old.status, old.text, old.mend) == (
            "failure", "old 1.5 is installed; expected old>=2", f"{sys.executable} -m pip install 'old>=2'",
        )  # fmt: skip
        assert missing.text == "no-such-thing is not installed; expected no-such-thing==3"
        assert (extras.status, extras.mend) == ("ok", "")
        assert extras.text.startswith("not there: mqtt (needed for edge-run --mqtt): ")
        assert extras.text.endswith("-m pip install 'edge-emotion[mqtt]'")

    def test_second_opencv_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        distribution(tmp_path, "opencv-python", "cv2")
        distribution(tmp_path, "opencv-contrib-python", "cv2")
        monkeypatch.syspath_prepend(tmp_path)
        finding = only(check_clashes())
        assert (finding.status, "bring the same cv2" in finding.text) == ("warning", True)
        assert "pip uninstall -y opencv-contrib-python opencv-python && " in finding.mend
        assert finding.mend.endswith("pip install opencv-contrib-python")

    def test_other_package_of_our_name_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        distribution(tmp_path, "kernels", "kernels")
        monkeypatch.syspath_prepend(tmp_path)
        finding = only(check_clashes())
        assert (finding.status, "a package kernels too" in finding.text) == ("failure", True)
        assert "pip uninstall kernels" in finding.mend

    def test_package_that_hides_ours_is_told_by_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "export").mkdir()
        (tmp_path / "export" / "__init__.py").touch()
        code = "from edge.checks.packages import check_clashes; [print(f.status, f.text) for f in check_clashes()]"
        result = edge_doctor(python=("-c", code), cwd=tmp_path, PYTHONPATH=str(ROOT))
        other = tmp_path / "export"
        assert result.stdout == f"failure the package export is another one, {other}; expected {ROOT / 'export'}\n"

    def test_python_without_any_package_is_examined_all_the_same(self) -> None:
        result = edge_doctor(python=("-S", "-m", "edge.doctor"))
        assert (result.returncode, result.stderr) == (1, "")
        told = r"^failure +headroom +the Python package numpy is not installed\n +-> .* -m pip install"
        assert re.search(told, result.stdout, re.M)


class TestMachine:
    def test_clock_runs_as_fast_as_the_hardware(self) -> None:
        clock, time_of_day = check_clock()
        assert (clock.check, clock.status) == ("clock", "ok")
        assert (time_of_day.status == "ok") == (time_of_day.mend == "")

    @pytest.mark.parametrize(("factor", "told"), [(2, "2.000 times as fast"), (-1, "runs back")])
    def test_clock_that_is_wrong_is_told(self, monkeypatch: pytest.MonkeyPatch, factor: int, told: str) -> None:
        real = machine.now_ns
        monkeypatch.setattr(machine, "now_ns", lambda: factor * real())
        clock, _ = check_clock()
        assert (clock.status, told in clock.text) == ("failure", True)

    def test_full_disk_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "LOW_DISK_GB", 1e9)
        finding = only(check_disk())
        assert (finding.status, finding.mend.startswith("du ")) == ("warning", True)

    def test_place_for_kernels_that_is_read_only_is_told(self) -> None:
        code = """
import tempfile
def read_only(**_): raise OSError(30, "Read-only file system")
tempfile.TemporaryFile = read_only
from edge.checks.machine import check_kernel_cache
(finding,) = check_kernel_cache()
print(finding.status, finding.text, finding.mend)
"""
        result = edge_doctor(python=("-c", code))
        assert result.stdout.startswith("failure compiled kernels cannot be kept: cannot cache function"), result.stderr
        assert "NUMBA_CACHE_DIR" in result.stdout


class TestGpu:
    @pytest.fixture
    def nvidia_smi(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The program, to be written; there is no Jetson."""
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setattr(gpu, "TEGRA_RELEASE", tmp_path / "nv_tegra_release")
        program = tmp_path / "nvidia-smi"
        program.touch(mode=0o755)
        return program

    def test_gpu_is_told_as_its_driver_tells(self, nvidia_smi: Path) -> None:
        nvidia_smi.write_text("#!/bin/sh\necho 'NVIDIA RTX 4060, 550.54, 8188 MiB, 8.9'\n")
        finding = only(check_gpu())
        assert (finding.status, "RTX 4060, 550.54, 8188 MiB, 8.9" in finding.text) == ("ok", True)

    def test_driver_that_fails_is_told(self, nvidia_smi: Path) -> None:
        nvidia_smi.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
        finding = only(check_gpu())
        assert (finding.status, "version mismatch" in finding.text) == ("warning", True)

    def test_jetson_without_tensorrt_is_told(self, nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gpu.TEGRA_RELEASE.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081\nmore\n")
        monkeypatch.setattr(gpu, "TEGRA_MODEL", nvidia_smi.with_name("model"))
        gpu.TEGRA_MODEL.write_text("NVIDIA Jetson Orin NX\0")
        monkeypatch.setattr(gpu, "FLAVOURS", {"no_such_tensorrt": "install it"})
        told = only(check_gpu()).text
        assert told == "NVIDIA Jetson Orin NX, Jetson Linux R36 (release), REVISION: 4.3, GCID: 38968081"
        assert "--system-site-packages" in only(check_tensorrt()).mend

    def test_machine_without_gpu_is_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(gpu, "TEGRA_RELEASE", tmp_path / "absent")
        monkeypatch.setattr(gpu, "FLAVOURS", {"no_such_tensorrt": "install it"})
        assert {finding.status for finding in (*check_gpu(), *check_tensorrt())} == {"ok"}

    def test_tensorrt_that_cannot_be_imported_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "broken_tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(gpu, "FLAVOURS", {"broken_tensorrt": "install it anew"})
        finding = only(check_tensorrt())
        assert (finding.status, finding.mend) == ("warning", "install it anew")
        assert "libnvinfer.so.10: cannot open" in finding.text

    def test_engines_are_counted_and_one_without_a_record_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert "no engine" in only(check_engines()).text
        folder = tmp_path / "edge-emotion" / "engines"
        folder.mkdir(parents=True)
        (folder / "tensorrt-sm87-int8-abc.engine").write_bytes(bytes(2_500_000))
        assert only(check_engines()).status == "warning"
        (folder / "tensorrt-sm87-int8-abc.json").touch()
        assert only(check_engines()).text == f"2.5 MB in {folder}: tensorrt-sm87-int8"


class TestCamera:
    def test_camera_and_face_are_told(self, mjpeg_portrait: MjpegCamera, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "LOOK_S", 1.0)
        with Stalls() as stalls:
            camera, face = check_camera(mjpeg_portrait.url)
        assert (camera.status, face.status) == ("ok", "ok")
        match = re.fullmatch(r"512x512, (\d+) images per second, brightness (\d+)%", camera.text)
        assert match
        assert 15 - mjpeg_portrait.FPS * stalls.longest_s <= int(match[1]) <= 33
        assert re.fullmatch(r"found in (\d) of \1 images, \d\d+ px wide", face.text)

    def test_picture_without_a_face_is_told(self, mjpeg_camera: MjpegCamera, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "LOOK_S", 0.4)
        camera, face = check_camera(mjpeg_camera.url)
        assert (camera.status, face.status) == ("ok", "warning")
        assert face.text.startswith("found in 0 of")

    def test_camera_that_gives_no_image_is_told(
        self, mjpeg_camera: MjpegCamera, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edge.checks.devices._look", lambda _: ([], 0))
        finding = only(check_camera(mjpeg_camera.url))
        assert (finding.status, "no image" in finding.text) == ("failure", True)

    def test_absent_camera_is_told(self) -> None:
        finding = only(check_camera("77"))
        assert (finding.status, finding.text) == ("failure", "/dev/video77 is not there")
        assert "--no-camera" in finding.mend

    def test_camera_of_others_is_told_with_the_group(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.access", lambda *_: False)
        assert only(check_camera("/dev/null")).mend == "sudo usermod -aG video $USER, then log in again"

    def test_address_where_nobody_answers_is_told(self) -> None:
        finding = only(check_camera("http://127.0.0.1:9/"))
        assert (finding.status, "Check address" in finding.mend) == ("failure", True)


class TestMicrophone:
    def test_sound_is_told_with_its_level(
        self, virtual_microphone: VirtualMicrophone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(devices, "LOOK_S", 1.5)
        levels: list[float] = []
        player = virtual_microphone.play(noise_wav(tmp_path, dbfs=-20))
        finding = only(check_microphone("default", levels.append))
        player.wait()
        match = re.fullmatch(r"44100 Hz, (-\d+) dBFS, (-\d+) at its loudest", finding.text)
        assert finding.status == "ok"
        assert match
        assert -26 <= int(match[1]) <= int(match[2]) <= -18
        assert len(levels) > 5

    @pytest.mark.parametrize(("dbfs", "told"), [(-88, "too faint"), (3, "overdriven")])
    def test_wrong_gain_is_told(
        self,
        virtual_microphone: VirtualMicrophone,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        dbfs: int,
        told: str,
    ) -> None:
        monkeypatch.setattr(devices, "LOOK_S", 0.8)
        player = virtual_microphone.play(noise_wav(tmp_path, dbfs=dbfs))
        finding = only(check_microphone("default", no_level))
        player.kill()
        player.wait()
        assert (finding.status, told in finding.text) == ("warning", True)

    def test_silent_microphone_is_told(self, virtual_microphone: VirtualMicrophone) -> None:
        finding = only(check_microphone("default", no_level))
        assert (finding.status, finding.text) == ("warning", "44100 Hz, digital silence: it is muted, or broken")
        assert "set-source-mute" in finding.mend

    def test_sound_server_that_hangs_is_told(
        self, virtual_microphone: VirtualMicrophone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(devices, "LOOK_S", 0.2)
        virtual_microphone.hang(True)
        (finding,) = findings_of("microphone", lambda: check_microphone("default", no_level), limit_s=1)
        virtual_microphone.hang(False)
        wait_until(lambda: not any(thread.name == "checking microphone" for thread in threading.enumerate()))
        assert (finding.status, finding.text) == ("failure", "no answer within 1 s")

    def test_machine_without_microphone_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = tmp_path / "asound.conf"
        config.write_text("pcm.default { type hw card 31 }")
        monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
        (finding,) = findings_of("microphone", lambda: check_microphone("default", no_level))
        assert (finding.status, "--no-microphone" in finding.mend) == ("failure", True)


def noise_wav(folder: Path, *, dbfs: float) -> Path:
    """Two seconds of noise; what is louder than full scale is clipped."""
    noise = np.random.default_rng(0).standard_normal(96_000) * 32_768 * 10 ** (dbfs / 20)
    with wave.open(str(folder / "noise.wav"), "wb") as wav:
        wav.setparams((1, 2, 48_000, 0, "NONE", ""))
        wav.writeframes(np.rint(noise.clip(-32_768, 32_767)).astype("<i2").tobytes())
    return folder / "noise.wav"


class TestBundle:
    @pytest.fixture
    def copied(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "mine"))

    def test_flipped_bit_is_told(self, copied: Path) -> None:
        path = copied / "head.onnx"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        (finding,) = findings_of("bundle", lambda: check_bundle(copied))
        assert (finding.status, f"{path} has SHA-256" in finding.text) == ("failure", True)
        assert finding.mend == "Copy the bundle again, or export it again."

    def test_folder_that_is_no_bundle_is_told(self, tmp_path: Path) -> None:
        (finding,) = findings_of("bundle", lambda: check_bundle(tmp_path))
        assert finding.text == f"{tmp_path} holds no {MANIFEST}"

    def test_int8_without_a_gate_is_told(self, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(network, "_works_s", lambda _: [0.01])
        manifest = read_manifest(copied)
        write_manifest(copied, replace(manifest, calibration={}))
        whole, gate, headroom = check_bundle(copied)
        assert [whole.status, gate.status, headroom.status] == ["ok", "warning", "ok"]
        assert gate.mend.startswith(f"edge-calibrate --bundle {copied}")

    @pytest.mark.parametrize(
        ("works_s", "engine", "status", "told"),
        [
            ([0.05] * 100, False, "ok", "takes 25% of the 200 ms that it has, p99 25%, on ONNX Runtime"),
            ([0.05] * 90 + [0.25] * 10, False, "warning", "some will be late"),
            ([0.21] * 100, False, "failure", "too much"),
            ([0.21] * 100, True, "warning", "too much, should the GPU's engines fail"),
        ],
    )
    def test_work_is_judged_by_the_time_that_it_has(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        works_s: list[float],
        engine: bool,
        status: str,
        told: str,
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        if engine:
            cached = engine_folder() / "some.engine"
            cached.parent.mkdir(parents=True)
            cached.touch()
        monkeypatch.setattr(network, "_works_s", lambda _: works_s)
        headroom = list(check_bundle(DEFAULT_BUNDLE))[-1]
        assert (headroom.check, headroom.status, told in headroom.text) == ("headroom", status, True)


class TestProgram:
    def test_json_is_a_list_of_findings_and_nothing_is_left_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(network, "HEADROOM_S", 0.2)
        status = main(["--json", "--no-camera", "--no-microphone"])
        findings = json.loads(capsys.readouterr().out)
        assert [set(finding) for finding in findings] == [{"check", "status", "text", "mend"}] * len(findings)
        assert all((finding["status"] == "ok") == (finding["mend"] == "") for finding in findings)
        assert status == any(finding["status"] == "failure" for finding in findings)
        found = {finding["check"]: finding for finding in findings}
        assert {"python", "clashes", "disk", "clock", "kernel cache", "gpu", "bundle", "headroom"} <= found.keys()
        assert not {"camera", "face", "microphone"} & found.keys()
        assert re.fullmatch(
            r"an update takes \d+% of the 200 ms that it has, p99 \d+%, on ONNX Runtime.*", found["headroom"]["text"]
        )
        assert list(tmp_path.rglob("*")) == []

    def test_report_says_what_is_wrong_and_not_whose_machine_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        home = tmp_path / "alice"
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("LOGNAME", "alice")
        monkeypatch.setattr("platform.node", lambda: "alices-car")
        report = tmp_path / "report.md"
        camera, microphone = "http://alice:secret@127.0.0.1:9/stream", "Alice's AirPods"
        arguments = ["--bundle", str(home / "bundle"), "--camera", camera, "--microphone", microphone]
        assert main([*arguments, "--report", str(report)]) == 1
        told = report.read_text()
        assert str(home / "bundle") in capsys.readouterr().out
        for private in (str(home), str(Path.home()), "alice", "Alice", "secret", "127.0.0.1", str(ROOT)):
            assert private not in told
        assert "| bundle | failure | (as named) holds no manifest.json |" in told
        assert "It holds no image, no sound" in told
        assert "Python 3." in told

    def test_report_leaves_out_the_name_of_a_bundle(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(network, "_works_s", lambda _: [0.01])
        folder, report = tmp_path / "bundle", tmp_path / "report.md"
        shutil.copytree(DEFAULT_BUNDLE, folder)
        write_manifest(folder, replace(read_manifest(folder), name="alices-car"))
        main(["--bundle", str(folder), "--camera", "none", "--report", str(report)])
        assert "alices-car" in capsys.readouterr().out
        told = report.read_text()
        assert "alices-car" not in told
        assert "| bundle | ok | (as named), mrpn" in told

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("/data/bob/b/head.onnx has SHA-256 ab", ".../head.onnx has SHA-256 ab"),
            ("/dev/video0 is not there", "/dev/video0 is not there"),
            ("/dev/v4l/by-id/usb-Cam_SN0042-index0 is not there", "(as named) is not there"),
            ('microphone "Bob\'s", opened with 2', "microphone (as named), opened with 2"),
            ("to rtsp://bob:pw@10.0.0.2/x, at 5 Hz", "to (an address), at 5 Hz"),
            ("numpy>=2 and 3/4 of it", "numpy>=2 and 3/4 of it"),
        ],
    )
    def test_private_parts_are_left_out(self, text: str, told: str) -> None:
        assert anonymous(text, ["/dev/v4l/by-id/usb-Cam_SN0042-index0"]) == told

    def test_unwritable_report_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("edge.doctor._examine", lambda _: [Finding("python", "ok", "3.11")])
        assert main(["--report", str(tmp_path / "no" / "report.md")]) == 1
        assert "cannot be written: No such file" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [["--camera", "1", "--no-camera"], ["--frobnicate"], ["extra"]])
    def test_wrong_usage_ends_with_2(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "usage: edge-doctor" in capsys.readouterr().err
