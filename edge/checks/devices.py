"""The camera and the microphone, opened as edge-run opens them: what comes, and whether it is a face and sound."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.errors import InputError
from edge.checks.finding import Finding, finding_from_error, findings_of

if TYPE_CHECKING:
    from edge.sources.camera import Camera
    from perception.chunks import VideoChunk

LOOK_S = 2.5
"""Just over what the sources' own watches take to tell a frozen camera or a muted microphone."""

FIRST_IMAGE_S = 5.0
LOOK_FOR_FACE_S = 0.3
METER_S = 0.1

FAINT_DBFS = -80.0
"""Three steps of 16 bits: the converter's own noise begins to count."""

OVERDRIVEN_SHARE = 0.001
"""Of samples at full scale: a shout reaches it for a moment, a gain that is too high all the time."""

UNMUTE = "pactl set-source-mute @DEFAULT_SOURCE@ 0; pactl set-source-volume @DEFAULT_SOURCE@ 80%  (or alsamixer, F4)"
LOWER = "pactl set-source-volume @DEFAULT_SOURCE@ 50%  (or alsamixer, F4)"

CAMERA_MENDS = {
    "black": "Uncover the lens, open its shutter, or light the driver (infrared: edge-run --mono).",
    "frozen": "Unplug the camera and plug it in again.",
    "slow": "Give it light, or a USB port of its own; over a network: a smaller stream.",
    "lost": "Look for a loose plug; a USB camera may need a port with more power.",
}


def check_camera(source: str) -> Iterator[Finding]:
    """Size, rate and brightness of its images; whether a face is in them."""
    from edge.sources.camera import Camera

    try:
        with Camera(source) as camera:
            images, count = _look(camera)
            health = camera.health
    except InputError as error:
        yield _why_not_opened(source, error)
        return
    if not images:
        text = f"it can be opened, but gave no image within {FIRST_IMAGE_S:.0f} s"
        yield Finding("camera", "failure", text, CAMERA_MENDS["lost"])
        return
    height, width = images[-1].image.shape[:2]
    bright = float(images[-1].image.mean()) / 255
    text = f"{width}x{height}, {count / LOOK_S:.0f} images per second, brightness {bright:.0%}"
    if health == "ok":
        yield Finding("camera", "ok", text)
    else:
        yield Finding("camera", "warning", f"{text}: it is {health}", CAMERA_MENDS[health])
    yield from findings_of("face", lambda: _check_face(images))


def _look(camera: "Camera") -> tuple[list["VideoChunk"], int]:
    """Some of the images of `LOOK_S` after the first, the newest last, and how many there were."""
    deadline_s = time.monotonic() + FIRST_IMAGE_S
    while (image := camera.take()) is None:
        if time.monotonic() > deadline_s:
            return [], 0
        time.sleep(0.01)
    kept, count, dropped = [image], 0, camera.dropped
    deadline_s = time.monotonic() + LOOK_S
    while time.monotonic() < deadline_s:
        time.sleep(0.01)
        if image := camera.take():
            count += 1
            if image.captured_ns - kept[-1].captured_ns >= LOOK_FOR_FACE_S * 1e9:
                kept.append(image)
    return kept, count + camera.dropped - dropped


def _check_face(images: Sequence["VideoChunk"]) -> Iterator[Finding]:
    from perception.mediapipe_face import MediaPipeFaceDetector

    detect = MediaPipeFaceDetector().detect
    found = [max(faces, key=lambda face: face.area) for chunk in images if (faces := detect(chunk.image))]
    text = f"found in {len(found)} of {len(images)} images"
    if found:
        x0, _, x1, _ = found[-1].bbox_xyxy
        yield Finding("face", "ok", f"{text}, {x1 - x0:.0f} px wide")
    else:
        mend = "Sit where the driver sits, in light; turned or far away: edge-run --rotate 90, or --roi X0,Y0,X1,Y1"
        yield Finding("face", "warning", text, mend)


def _why_not_opened(source: str, error: InputError) -> Finding:
    """The commonest reasons for a device node; the source's own words for the others."""
    node = Path(f"/dev/video{source}" if source.isdecimal() else source)
    if not str(node).startswith("/dev/"):
        return finding_from_error("camera", error)
    if not node.exists():
        mend = "Connect it; edge-run --list-devices shows those present. To go without: --no-camera"
        return Finding("camera", "failure", f"{node} is not there", mend)
    if not os.access(node, os.R_OK | os.W_OK):
        mend = "sudo usermod -aG video $USER, then log in again"
        return Finding("camera", "failure", f"{node} is there, and you may not open it", mend)
    text = f"{node} is there, and gives no images: it is in use, or no camera's node for images"
    return Finding("camera", "failure", text, f"fuser -v {node}  (shows who uses it); edge-run --list-devices")


def check_microphone(device: str, meter: Callable[[float], None]) -> Iterator[Finding]:
    """Rate and level; `meter` is shown the level in dBFS while it listens."""
    import numpy as np

    from edge.level import SILENCE_DBFS, dbfs_from_samples
    from edge.sources.microphone import Microphone

    blocks: list[np.ndarray] = []
    with Microphone(device) as microphone:
        deadline_s = time.monotonic() + LOOK_S
        while time.monotonic() < deadline_s:
            time.sleep(METER_S)
            if chunks := microphone.take():
                blocks.append(np.concatenate([chunk.samples for chunk in chunks]))
                meter(dbfs_from_samples(blocks[-1]))
        health, rate_hz = microphone.health, microphone.rate_hz
    samples = np.concatenate([np.empty(0, np.int16), *blocks])
    level, loudest = dbfs_from_samples(samples), max(map(dbfs_from_samples, blocks), default=SILENCE_DBFS)
    text = f"{rate_hz} Hz, {level:.0f} dBFS, {loudest:.0f} at its loudest"
    if health == "silent":
        yield Finding("microphone", "warning", f"{rate_hz} Hz, digital silence: it is muted, or broken", UNMUTE)
    elif health != "ok":
        mend = "Plug it in again, or choose another one: edge-run --list-devices"
        yield Finding("microphone", "warning", f"{text}: {health}", mend)
    elif level < FAINT_DBFS:
        yield Finding("microphone", "warning", f"{text}: too faint", UNMUTE)
    elif float((np.abs(samples.astype(np.int32)) >= 32_767).mean()) > OVERDRIVEN_SHARE:
        yield Finding("microphone", "warning", f"{text}: overdriven", LOWER)
    else:
        yield Finding("microphone", "ok", text)
