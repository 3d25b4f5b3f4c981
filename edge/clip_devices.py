"""A clip in place of devices, over and over and in real time: what --chaos disturbs on a machine without any."""

import threading
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.features import NS_PER_S
from edge.clock import now_ns
from edge.jpeg import bgr_from_jpeg, jpeg_from_rgb
from perception.chunks import AudioChunk
from perception.clip import decode_clip

LONGEST_S = 20
"""Of the clip is kept, decoded, so that its images come in time."""

IMAGE_INTERVAL_NS = NS_PER_S // 31

BLOCK_NS = 20_000_000


class ClipDevices:
    """A camera of up to 30 images per second and a microphone of 16 kHz that show one clip at the same time.

    Raises
    ------
    InputError : the clip cannot be read, or is shorter than a second.
    """

    def __init__(self, path: Path, channel: int | None) -> None:
        sound = [np.empty(0, np.int16)]
        self.images: list[npt.NDArray[np.uint8]] = []
        self.image_times_ns: list[int] = []
        end_ns = 0
        for chunk in decode_clip(path, mono_channel=channel):
            if chunk.captured_ns >= LONGEST_S * NS_PER_S:
                break
            end_ns = chunk.captured_ns
            if isinstance(chunk, AudioChunk):
                sound.append(chunk.samples)
            elif not self.images or chunk.captured_ns >= self.image_times_ns[-1] + IMAGE_INTERVAL_NS:
                self.images.append(jpeg_from_rgb(chunk.image))
                self.image_times_ns.append(chunk.captured_ns)
        if end_ns < NS_PER_S:
            raise InputError(f"{path} lasts {end_ns / NS_PER_S:.2f} s; expected 1 s or more. Choose a longer clip.")
        self.length_ns = end_ns // BLOCK_NS * BLOCK_NS
        self.sound = np.zeros(self.length_ns // 62_500, np.int16)
        heard = np.concatenate(sound)[: len(self.sound)]
        self.sound[: len(heard)] = heard
        self.origin_ns = now_ns()

    def open_capture(self, _source: int | str) -> "_ClipCapture":
        return _ClipCapture(self)

    def open_input(
        self, _device: str | int, _channel: int | None, on_block: Callable[[bytes, float], None]
    ) -> "_ClipInput":
        return _ClipInput(self, on_block)


class _ClipCapture:
    """Stands for cv2.VideoCapture."""

    def __init__(self, clip: ClipDevices) -> None:
        self._clip, self._index = clip, 0

    def grab(self) -> bool:
        clip = self._clip
        laps, at_ns = divmod(now_ns() - clip.origin_ns, clip.length_ns)
        self._index = bisect_right(clip.image_times_ns, at_ns)
        if self._index == len(clip.images):
            self._index, laps = 0, laps + 1
        _sleep_until(clip.origin_ns + laps * clip.length_ns + clip.image_times_ns[self._index])
        return True

    def retrieve(self) -> tuple[bool, Any]:
        return True, bgr_from_jpeg(self._clip.images[self._index])

    def release(self) -> None:
        pass


class _ClipInput:
    """Stands for an input of PortAudio's."""

    name, rate_hz, channels = "clip", 16_000, 1

    def __init__(self, clip: ClipDevices, on_block: Callable[[bytes, float], None]) -> None:
        self._clip, self._on_block = clip, on_block
        self._closing = threading.Event()
        self._player = threading.Thread(target=self._play, name="clip sound", daemon=True)
        self._player.start()

    def close(self) -> None:
        self._closing.set()
        self._player.join(1)

    def _play(self) -> None:
        blocks = self._clip.sound.reshape(-1, BLOCK_NS // 62_500)
        number = (now_ns() - self._clip.origin_ns) // BLOCK_NS + 1
        while not self._closing.is_set():
            start_ns = self._clip.origin_ns + number * BLOCK_NS
            _sleep_until(start_ns + BLOCK_NS)
            age_ns = now_ns() - start_ns
            if age_ns < NS_PER_S // 2:  # else the process stood still, and a device would have lost it
                self._on_block(blocks[number % len(blocks)].tobytes(), age_ns / NS_PER_S)
            number += 1


def _sleep_until(time_ns: int) -> None:
    threading.Event().wait(max(0.0, (time_ns - now_ns()) / NS_PER_S))
