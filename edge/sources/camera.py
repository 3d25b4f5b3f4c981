"""The newest image of a camera, which is reopened whenever it is lost."""

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from bundle.errors import InputError
from bundle.features import NS_PER_S
from edge.clock import now_ns
from edge.message import CameraHealth
from edge.watch import ImageWatch
from perception.chunks import VideoChunk

OPEN_TIMEOUT_MS = 4_000
"""For an address; OpenCV's own default is 30 s."""

READ_TIMEOUT_MS = 2_000
"""A camera that is silent for so long is lost."""

REOPEN_S = 0.5
FROZEN_REOPEN_NS = 5 * NS_PER_S
CLOSE_TIMEOUT_S = 2.0


class Capture(Protocol):
    """What is used of cv2.VideoCapture."""

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


class Camera:
    """Newest image of a camera, RGB. A thread opens, reads and reopens it.

    The thread reads without a pause, so that no image is a stale one out of the driver's queue. A camera that gives
    the same image over and over for 2 s is frozen: it is reopened, again every 5 s, and its image withheld until it
    changes.

    Parameters
    ----------
    source : index, also as digits; path below /dev (those in /dev/v4l/by-id survive a replug); address (http://,
        rtsp://); or GStreamer pipeline, told by its exclamation marks, that ends in an appsink.
    wake : called from the camera's thread when there is a new image, and when the camera is lost.
    open_capture : opens the source, or raises InputError; None for OpenCV.

    Raises
    ------
    InputError : the camera cannot be opened.
    """

    def __init__(
        self,
        source: int | str,
        *,
        wake: Callable[[], None] = lambda: None,
        open_capture: Callable[[int | str], Capture] | None = None,
    ) -> None:
        self._source, self._wake, self._open = source, wake, open_capture or capture_from_source
        self._lock = threading.Lock()
        self._newest: tuple[Any, int] | None = None  # (BGR or gray, captured_ns)
        self._dropped = 0
        self._closing = threading.Event()
        self._watch = ImageWatch()
        self._gone = False  # could not be opened again
        self._capture: Capture | None = self._open(source)
        self._heard_ns = self._reopened_ns = now_ns()
        self._reader = threading.Thread(target=self._run, name="camera", daemon=True)
        self._reader.start()

    def take(self) -> VideoChunk | None:
        """The newest image that was not taken yet, or None. Never waits for the camera.

        captured_ns is the moment at which the driver handed the image out, the nearest to its exposure that
        OpenCV tells: later by readout, transfer and, over a network, transmission.

        Raises
        ------
        InputError : it gives images of another form.
        """
        import cv2

        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return None
        image, captured_ns = newest
        channels = image.shape[2] if image.ndim == 3 else 1
        if image.dtype != "uint8" or channels == 2:
            raise InputError(
                f"camera {_shown(self._source)} gives {image.dtype} images of {channels} channel(s); expected uint8, "
                "BGR or gray. End a pipeline in: videoconvert ! video/x-raw,format=BGR ! appsink"
            )
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
        return VideoChunk(cv2.cvtColor(image, code), captured_ns)

    @property
    def dropped(self) -> int:
        """Images that a newer one replaced before they were taken."""
        return self._dropped

    @property
    def connected(self) -> bool:
        """False from the loss of the camera to the first image thereafter."""
        # By the clock: a driver that hangs keeps the reader from noticing.
        return self._capture is not None and now_ns() - self._heard_ns < READ_TIMEOUT_MS * 1_000_000

    @property
    def health(self) -> CameraHealth:
        """As docs/message.md says; a frozen camera stays frozen while it is reopened, if it is still there."""
        health = self._watch.health
        return health if self.connected or (health == "frozen" and not self._gone) else "lost"

    def close(self) -> None:
        """Returns within 2 s, even if the driver hangs."""
        self._closing.set()
        self._reader.join(CLOSE_TIMEOUT_S)

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._capture is None:
                self._closing.wait(REOPEN_S)
                self._reopen()
            elif not self._reads(self._capture):
                # OpenCV's capture stays dead after one failure, although isOpened() is True.
                self._capture.release()
                self._capture = None
                self._wake()
        if self._capture is not None:
            self._capture.release()

    def _reopen(self) -> None:
        try:
            self._capture = self._open(self._source)
        except Exception:  # whatever OpenCV and the system say
            self._gone = True
            return
        self._gone = False
        self._reopened_ns = now_ns()
        self._watch.reopened()

    def _reads(self, capture: Capture) -> bool:
        try:
            return self._read(capture)
        except Exception:  # OpenCV's, of a stream that is corrupt
            return False

    def _read(self, capture: Capture) -> bool:
        """Keep the next image. False where the camera must be reopened."""
        if not capture.grab():
            return False
        captured_ns = now_ns()
        decoded, image = capture.retrieve()
        if not decoded:  # one image may be broken; a camera that sends no other is opened anew
            return captured_ns - max(self._heard_ns, self._reopened_ns) < READ_TIMEOUT_MS * 1_000_000
        self._heard_ns = captured_ns
        self._watch.update(image, captured_ns)
        if self._watch.health == "frozen":
            return captured_ns - self._reopened_ns < FROZEN_REOPEN_NS
        with self._lock:
            self._dropped += self._newest is not None
            self._newest = image, captured_ns
        self._wake()
        return True


def capture_from_source(source: int | str) -> Capture:
    """An opened capture; InputError if there is none."""
    import cv2

    # OpenCV and FFmpeg would warn on stderr at each attempt to reopen.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    name = str(source)
    capture = cv2.VideoCapture()
    if name.isdecimal() or name.startswith("/dev/"):
        with suppress(cv2.error):  # an index beyond 32 bits
            capture.open(int(name) if name.isdecimal() else name, cv2.CAP_V4L2)
        present = ", ".join(sorted(map(str, Path("/dev").glob("video[0-9]*")))) or "none at all"
        remedy = (
            f"one of those present ({present}), free, and yours to read. Connect it, join the group video, "
            "or go without: --no-camera"
        )
    elif "!" in name:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise InputError(
                f"camera {_shown(name)} is a GStreamer pipeline, and this OpenCV ({cv2.__version__}) was built without "
                "GStreamer; expected an index, a path or an address."
            )
        capture.open(name, cv2.CAP_GSTREAMER)
        remedy = "a pipeline that ends in an appsink. Try it with gst-launch-1.0 first"
    elif "://" in name:
        timeouts = (
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            OPEN_TIMEOUT_MS,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            READ_TIMEOUT_MS,
        )
        capture.open(name, cv2.CAP_FFMPEG, timeouts)
        remedy = f"video within {OPEN_TIMEOUT_MS / 1e3:.0f} s. Check address and network"
    else:
        remedy = "an index, a path below /dev, an address with :// or a GStreamer pipeline with !. For a file: --clip"
    if not capture.isOpened():
        raise InputError(f"camera {_shown(name)} cannot be opened; expected {remedy}.")
    return capture


def _shown(source: int | str) -> str:
    """Without users, and what an address or a pipeline says of passwords: they are not for a journal to keep."""
    without_user = re.sub(r"://\S*@", "://...@", str(source))
    return repr(re.sub(r"(?i)(\w*(?:pw|psw|pas|token|key|secret|auth)\w*)=[^\s&!]+", r"\1=...", without_user))
