"""The cameras and microphones that this machine offers."""

import fcntl
import os
import struct
from pathlib import Path
from typing import Any

from edge.portaudio import inputs_of
from perception.quiet import native_stderr_silenced

VIDIOC_QUERYCAP = 0x8068_5600
"""struct v4l2_capability, linux/videodev2.h: driver[16], card[32], bus_info[32], three u32, reserved[12]."""

CAPTURES_IMAGES = 0x1 | 0x1000
"""V4L2_CAP_VIDEO_CAPTURE and V4L2_CAP_VIDEO_CAPTURE_MPLANE."""

_CAPABILITY = struct.Struct("16x 32s 32x 4x 4x I 12x")


def list_devices() -> dict[str, list[dict[str, Any]]]:
    """What can be given as camera and as microphone; a kind that is absent is an empty list.

    Returns
    -------
    cameras : index, path and name of each.
    microphones : index, name, native rate_hz, channels of each; a sound server's claim 32 channels or more.
    """
    nodes = {int(path.name[5:]): path for path in Path("/dev").glob("video*") if path.name[5:].isdecimal()}
    return {
        "cameras": [camera for _, path in sorted(nodes.items()) if (camera := camera_from_node(path))],
        "microphones": _microphones(),
    }


def camera_from_node(path: Path) -> dict[str, Any] | None:
    """Index, path and name of a video device; None if it delivers no images, as a camera's metadata node."""
    camera = {"index": int(path.name.removeprefix("video")), "path": str(path)}
    try:
        node = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return camera | {"name": f"cannot be opened: {error.strerror}"}
    try:
        card, capabilities = _CAPABILITY.unpack(fcntl.ioctl(node, VIDIOC_QUERYCAP, bytes(_CAPABILITY.size)))
    except OSError:
        return None
    finally:
        os.close(node)
    if not capabilities & CAPTURES_IMAGES:
        return None
    return camera | {"name": card.rstrip(b"\0").decode(errors="replace")}


def _microphones() -> list[dict[str, Any]]:
    import pyaudio

    with native_stderr_silenced():
        audio = pyaudio.PyAudio()
    try:
        inputs = inputs_of(audio)
    finally:
        audio.terminate()
    return [
        {
            "index": info["index"],
            "name": info["name"],
            "rate_hz": round(info["defaultSampleRate"]),
            "channels": info["maxInputChannels"],
        }
        for info in inputs
    ]
