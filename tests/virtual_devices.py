"""Real devices without hardware: a PulseAudio server with a microphone, and a camera that streams MJPEG over HTTP."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge.clock import now_ns

INDEX_BITS, BIT_PX = 16, 16


def wait_until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Returns as soon as the condition holds; fails if it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"did not happen within {within_s} s"
        time.sleep(0.005)


class VirtualMicrophone:
    """What is played to the stereo sink `speaker` is heard by the ALSA input `cabin_mic`, at 48 kHz.

    environment : makes PyAudio, here or in a subprocess, see this server and no other input.
    """

    def __init__(self, folder: Path) -> None:
        alsa = folder / "asound.conf"
        alsa.write_text(
            "pcm.default { type pulse }\n"
            "pcm.cabin_mic { type pulse device cabin_mic }\n"
            "pcm.cabin_monitor { type pulse device speaker.monitor }\n"
        )
        self.environment = {
            "ALSA_CONFIG_PATH": str(alsa),
            "PULSE_COOKIE": str(folder / "cookie"),
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_SERVER": f"unix:{folder}/socket",
            "PULSE_STATE_PATH": str(folder),
        }
        protocol = f"module-native-protocol-unix socket={folder}/socket auth-anonymous=1"
        self._server = self._start("pulseaudio", "-n", "--exit-idle-time=-1", "-L", protocol)
        wait_until(lambda: self._control("info") == 0)
        self.restore()

    def play(self, wav_path: Path) -> subprocess.Popen[bytes]:
        """Starts to play a file; its first sample sounds within 50 ms."""
        return self._start("paplay", "--latency-msec=200", "--device=speaker", str(wav_path))

    def remove(self) -> None:
        """Unplugs the microphone, and the sink too: to its monitor PulseAudio would move whoever listened."""
        for module in ("module-remap-source", "module-null-sink"):
            assert self._control("unload-module", module) == 0

    def restore(self) -> None:
        """Plugs it in again."""
        for command in (
            # With rewinds the sink runs in steps of up to 2 s, until somebody in a hurry listens.
            "load-module module-null-sink sink_name=speaker rate=48000 channels=2 norewinds=1",
            "load-module module-remap-source master=speaker.monitor source_name=cabin_mic",
            "set-default-sink speaker",
            "set-default-source cabin_mic",
        ):
            assert self._control(*command.split()) == 0

    def suspend(self, suspended: bool) -> None:
        """Halts the microphone: until it is resumed no samples come."""
        assert self._control("suspend-source", "cabin_mic", str(int(suspended))) == 0

    def hang(self, hanging: bool) -> None:
        """Stops the server's process: until it is continued it answers nobody."""
        self._server.send_signal(signal.SIGSTOP if hanging else signal.SIGCONT)

    def close(self) -> None:
        self._server.kill()
        self._server.wait()

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        environment, silent = os.environ | self.environment, subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdin=silent, stdout=silent, stderr=silent)

    def _control(self, *command: str) -> int:
        return self._start("pactl", *command).wait()


@pytest.fixture
def virtual_microphone(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[VirtualMicrophone]:
    """A microphone of this test's own, as PyAudio's only one."""
    pytest.importorskip("pyaudio", reason="PyAudio is not installed")
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install pulseaudio pulseaudio-utils libasound2-plugins)")
    microphone = VirtualMicrophone(tmp_path_factory.mktemp("pulse"))
    for name, value in microphone.environment.items():
        monkeypatch.setenv(name, value)
    yield microphone
    microphone.close()


class MjpegCamera:
    """A camera on http://127.0.0.1 at 30 images per second, of `picture` or plain 320 by 240; each shows its index.

    The index counts from the camera's creation by the clock, whoever looks on: a listener who missed images sees it.

    sent : indices of the images that were sent.
    """

    FPS, WIDTH_PX, HEIGHT_PX = 30, 320, 240

    def __init__(self, picture: npt.NDArray[np.uint8] | None = None) -> None:
        self._picture = plain_picture(self.WIDTH_PX, self.HEIGHT_PX) if picture is None else picture
        self._born_s = now_ns() / 1e9
        self.sent: list[int] = []
        self._stalled = threading.Event()
        self._port = 0
        self.restart()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def sent_ns(self, index: int) -> int:
        """When the image of that index was sent."""
        return round((self._born_s + index / self.FPS) * 1e9)

    def stall(self) -> None:
        """Keeps the connections and sends nothing."""
        self._stalled.set()

    def resume(self) -> None:
        self._stalled.clear()

    def stop(self) -> None:
        """Closes all connections and accepts none."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def restart(self) -> None:
        """Serves again, at the same address."""
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera, stopping = self, self._stopping

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=image")
                self.end_headers()
                try:
                    while not stopping.is_set():
                        self.wfile.write(camera._next_part())
                except ConnectionError:
                    pass  # the listener left

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _next_part(self) -> bytes:
        import cv2

        index = int((now_ns() / 1e9 - self._born_s) * self.FPS) + 1
        time.sleep(max(0.0, self.sent_ns(index) / 1e9 - now_ns() / 1e9))
        if self._stalled.is_set():
            return b""
        self.sent.append(index)
        bgr = image_of_index(index, self._picture)[..., ::-1]
        jpeg = cv2.imencode(".jpg", bgr)[1].tobytes()
        return b"--image\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)


def plain_picture(width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """RGB image: gray, and red below on the left."""
    picture = np.full((height_px, width_px, 3), 128, np.uint8)
    picture[height_px // 2 :, : width_px // 2] = 255, 0, 0
    return picture


def image_of_index(index: int, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture with the index's bits as white or black squares along the top."""
    image = picture.copy()
    bits = (index >> np.arange(INDEX_BITS)) & 1
    image[:BIT_PX, : INDEX_BITS * BIT_PX] = np.repeat(bits * 255, BIT_PX)[:, np.newaxis]
    return image


def index_of_image(image: npt.NDArray[np.uint8]) -> int:
    """The index that an upright image shows."""
    squares = image[:BIT_PX, : INDEX_BITS * BIT_PX].reshape(BIT_PX, INDEX_BITS, -1).mean(axis=(0, 2))
    return int((squares > 127) @ (1 << np.arange(INDEX_BITS)))


@pytest.fixture
def mjpeg_camera() -> Iterator[MjpegCamera]:
    """A running camera of this test's own."""
    yield from _running_camera(None)


@pytest.fixture
def mjpeg_portrait(portrait: npt.NDArray[np.uint8]) -> Iterator[MjpegCamera]:
    """A running camera that sees a face."""
    yield from _running_camera(portrait)


def _running_camera(picture: npt.NDArray[np.uint8] | None) -> Iterator[MjpegCamera]:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    try:
        camera = MjpegCamera(picture)
    except OSError as error:
        pytest.skip(f"no port on 127.0.0.1 can be bound: {error}")
    yield camera
    camera.stop()
