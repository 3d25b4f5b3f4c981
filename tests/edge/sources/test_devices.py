"""The list of devices: what a camera is, and that a kind without devices is an empty list."""

import fcntl
import struct

from edge.sources.devices import camera_from_node, list_devices


def capability(card, *, device_caps):
    """struct v4l2_capability as a driver fills it."""
    return struct.pack("16s32s32s3I12x", b"uvcvideo", card, b"usb-1", 0x60000, 0x84A0_0001, device_caps)


def test_microphones_are_listed_with_rate_and_channels(virtual_microphone):
    microphones = {microphone["name"]: microphone for microphone in list_devices()["microphones"]}
    assert microphones["cabin_mic"] == {"index": 0, "name": "cabin_mic", "rate_hz": 44_100, "channels": 32}
    assert "default" in microphones


def test_machine_without_microphones_lists_none(monkeypatch, tmp_path):
    config = tmp_path / "asound.conf"
    config.write_text("pcm.default { type hw card 31 }")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
    devices = list_devices()
    assert devices["microphones"] == []
    assert isinstance(devices["cameras"], list)


def test_camera_is_listed_by_its_name(monkeypatch, tmp_path):
    node = tmp_path / "video2"
    node.touch()
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: capability(b"Cabin IR", device_caps=0x0420_0001))
    assert camera_from_node(node) == {"index": 2, "path": str(node), "name": "Cabin IR"}


def test_metadata_node_is_no_camera(monkeypatch, tmp_path):
    node = tmp_path / "video3"
    node.touch()
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: capability(b"Cabin IR", device_caps=0x04A0_0000))
    assert camera_from_node(node) is None


def test_node_that_is_no_video_device_is_no_camera(tmp_path):
    node = tmp_path / "video4"
    node.touch()
    assert camera_from_node(node) is None


def test_camera_that_may_not_be_opened_is_listed_with_the_reason(tmp_path):
    camera = camera_from_node(tmp_path / "video5")
    assert camera["name"] == "cannot be opened: No such file or directory"
