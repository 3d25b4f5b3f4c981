"""A clip as a 720p camera of 30 images per second and a microphone would give it, and then an empty cabin."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.features import NS_PER_S
from perception.chunks import VideoChunk
from perception.clip import decode_clip

WIDTH, HEIGHT, FPS, SAMPLE_RATE_HZ = 1280, 720, 30, 16_000
BLOCK = SAMPLE_RATE_HZ // 10

DRIVER_S = 8.0
"""At most, of the clip."""

EMPTY_S = 8.0
"""Long enough for the driver's state to be given up: the window has to run out of speech, and a state is held."""


def write_camera_clip(source: Path, target: Path) -> float:
    """Write `target`, a Matroska file, and say how long the driver is in it.

    Raises
    ------
    InputError : as `decode_clip`; a clip without sound, or without pictures.
    """
    images, times_ns, sound = [], [], []
    for chunk in decode_clip(source):
        if chunk.captured_ns >= DRIVER_S * NS_PER_S:
            break
        if isinstance(chunk, VideoChunk):
            images.append(_as_camera(chunk.image))
            times_ns.append(chunk.captured_ns)
        else:
            sound.append(chunk.samples)
    if not images or not sound:
        raise InputError(f"{source} has no {'sound' if images else 'pictures'}; expected a driver, seen and heard.")
    driver_s = len(np.concatenate(sound)) / SAMPLE_RATE_HZ
    shown = np.searchsorted(times_ns, np.arange(round(driver_s * FPS)) * NS_PER_S // FPS, side="right") - 1
    rng = np.random.default_rng(0)  # a device gives noise, never the same image twice nor bare zeros
    silence = rng.integers(-30, 31, round(EMPTY_S * SAMPLE_RATE_HZ), np.int16)
    empty = [np.full((HEIGHT, WIDTH, 3), 90 + number % 2, np.uint8) for number in range(round(EMPTY_S * FPS))]
    _write(target, [*(images[max(0, number)] for number in shown), *empty], np.concatenate([*sound, silence]))
    return driver_s


def _as_camera(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The middle of the image, as wide as a camera's."""
    height, width = image.shape[:2]
    kept = min(height, width * HEIGHT // WIDTH)
    top = (height - kept) // 2
    return cv2.resize(image[top : top + kept], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def _write(target: Path, images: list[npt.NDArray[np.uint8]], samples: npt.NDArray[np.int16]) -> None:
    with av.open(str(target), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        video.options = {"crf": "20", "preset": "ultrafast"}
        audio = container.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        packets = []
        for number, pixels in enumerate(images):
            image = av.VideoFrame.from_ndarray(pixels)
            image.pts, image.time_base = number, Fraction(1, FPS)
            packets += video.encode(image)
        for first in range(0, len(samples), BLOCK):
            heard = av.AudioFrame.from_ndarray(samples[np.newaxis, first : first + BLOCK], format="s16", layout="mono")
            heard.pts, heard.sample_rate, heard.time_base = first, SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ)
            packets += audio.encode(heard)
        packets += [*video.encode(None), *audio.encode(None)]
        # in order of time, or whoever decodes the file has to keep all images until the sound comes
        container.mux(sorted((p for p in packets if p.dts is not None), key=lambda p: p.dts * p.time_base))
