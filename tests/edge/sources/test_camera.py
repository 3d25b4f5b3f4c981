"""The camera: which image is taken, how it is turned, and what happens when the camera falters."""

import threading
import time

import numpy as np
import pytest

from bundle.errors import InputError
from edge.clock import now_ns
from edge.sources import camera as camera_module
from edge.sources.camera import Camera
from tests.stalls import Stalls
from tests.virtual_devices import index_of_image, wait_until


def next_chunk(camera):
    """The next image, waited for."""
    chunks = []
    wait_until(lambda: chunks.append(camera.take()) or chunks[-1])
    return chunks[-1]


def test_image_is_rgb_and_stamped_when_it_came(mjpeg_camera):
    with Camera(mjpeg_camera.url) as camera:
        chunk = next_chunk(camera)
    height_px, width_px = mjpeg_camera.HEIGHT_PX, mjpeg_camera.WIDTH_PX
    assert chunk.image.shape == (height_px, width_px, 3)
    assert chunk.image.dtype == np.uint8
    assert chunk.image[-10, 10] == pytest.approx([255, 0, 0], abs=10)
    assert 0 <= chunk.captured_ns - mjpeg_camera.sent_ns(index_of_image(chunk.image)) < 100e6


def test_no_image_is_taken_twice(mjpeg_camera):
    with Camera(mjpeg_camera.url) as camera:
        indices = [index_of_image(next_chunk(camera).image) for _ in range(5)]
    assert all(np.diff(indices) >= 1)


def test_after_a_pause_the_newest_image_is_taken_and_those_it_replaced_are_counted(mjpeg_camera):
    with Camera(mjpeg_camera.url) as camera:
        first = index_of_image(next_chunk(camera).image)
        wait_until(lambda: camera.dropped >= 15)
        newest = index_of_image(camera.take().image)
        age_ns = now_ns() - mjpeg_camera.sent_ns(newest)
        assert age_ns < 150e6
        between = sum(first < index < newest for index in mjpeg_camera.sent)
        assert camera.dropped == pytest.approx(between, abs=3)


def test_stalled_camera_is_lost_within_its_timeout_and_comes_back(mjpeg_camera):
    wake = threading.Event()
    with Camera(mjpeg_camera.url, wake=wake.set) as camera:
        next_chunk(camera)
        assert camera.connected
        mjpeg_camera.stall()
        wait_until(lambda: not camera.connected, within_s=3)
        wake.clear()
        mjpeg_camera.resume()
        assert wake.wait(10)
        wait_until(lambda: camera.connected)
        camera.take()
        fresh = next_chunk(camera)
    assert fresh.captured_ns - mjpeg_camera.sent_ns(index_of_image(fresh.image)) < 100e6


def test_camera_that_hangs_up_is_lost_at_once_and_found_again(mjpeg_camera):
    wake = threading.Event()
    with Camera(mjpeg_camera.url, wake=wake.set) as camera:
        next_chunk(camera)
        mjpeg_camera.stop()
        wake.clear()
        wait_until(lambda: not camera.connected, within_s=1)
        mjpeg_camera.restart()
        assert wake.wait(5)
        wait_until(lambda: camera.connected)


def test_silent_camera_is_closed_in_time(mjpeg_camera):
    with Stalls() as stalls:
        with Camera(mjpeg_camera.url) as camera:
            next_chunk(camera)
            mjpeg_camera.stall()
            start_s = time.monotonic()
        took_s = time.monotonic() - start_s
    assert took_s < 2.5 + stalls.longest_s


class OneImage:
    """A capture that delivers one image and then hangs."""

    def __init__(self, image):
        self.image, self.grabbed, self.unhung = image, False, threading.Event()

    def grab(self):
        if self.grabbed:
            self.unhung.wait(10)
        first, self.grabbed = not self.grabbed, True
        return first

    def retrieve(self):
        return True, self.image

    def release(self):
        pass


class BrokenImages:
    """A capture whose images can no longer be decoded."""

    def grab(self):
        time.sleep(0.02)
        return True

    def retrieve(self):
        return False, None

    def release(self):
        pass


def test_camera_whose_images_are_all_broken_is_reopened_until_that_succeeds(monkeypatch):
    monkeypatch.setattr(camera_module, "READ_TIMEOUT_MS", 200)
    monkeypatch.setattr(camera_module, "REOPEN_S", 0.05)
    good = OneImage(np.zeros((2, 3, 3), np.uint8))
    found = iter([BrokenImages(), OSError(24, "Too many open files"), InputError("no camera"), good])

    def open_capture(_):
        capture = next(found)
        if isinstance(capture, Exception):
            raise capture
        return capture

    with Camera(0, open_capture=open_capture) as camera:
        assert next_chunk(camera).image.shape == (2, 3, 3)
        good.unhung.set()


def test_image_of_one_channel_becomes_three(monkeypatch):
    capture = OneImage(np.full((2, 3), 7, np.uint8))
    monkeypatch.setattr(camera_module, "capture_from_source", lambda _: capture)
    with Camera(0) as camera:
        image = next_chunk(camera).image
        capture.unhung.set()
    assert np.array_equal(image, np.full((2, 3, 3), 7))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"uint8 images of 2 channel\(s\)"),
        (np.zeros((4, 4), np.uint16), r"uint16 images of 1 channel\(s\)"),
    ],
)
def test_images_of_another_form_are_refused_with_the_remedy(image, told, monkeypatch):
    capture = OneImage(image)
    monkeypatch.setattr(camera_module, "capture_from_source", lambda _: capture)
    with Camera(0) as camera, pytest.raises(InputError, match=rf"{told}; .*format=BGR"):
        next_chunk(camera)
    capture.unhung.set()


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://car:s3cret@127.0.0.1:1/cabin", "rtsp://...@127.0.0.1:1/cabin"),
        ("rtsp://car:s3/c@ret@127.0.0.1:1/cabin", "rtsp://...@127.0.0.1:1/cabin"),
        ("http://127.0.0.1:1/mjpeg?user=car&pwd=s3cret&fps=5", "http://127.0.0.1:1/mjpeg?user=car&pwd=...&fps=5"),
        ("http://127.0.0.1:1/cgi?loginuse=car&loginpas=s3cret&x=1", "/cgi?loginuse=car&loginpas=...&x=1"),
        ("http://127.0.0.1:1/mjpeg?token=s3cret", "http://127.0.0.1:1/mjpeg?token=..."),
        ("rtspsrc location=rtsp://a user-id=car user-pw=s3cret ! appsink", "user-id=car user-pw=... ! appsink"),
    ],
)
def test_passwords_are_not_told(source, shown):
    with pytest.raises(InputError) as refused:
        Camera(source)
    assert shown in str(refused.value)
    assert "s3" not in str(refused.value)


def test_image_of_four_channels_is_taken(monkeypatch):
    capture = OneImage(np.zeros((4, 4, 4), np.uint8))
    monkeypatch.setattr(camera_module, "capture_from_source", lambda _: capture)
    with Camera(0) as camera:
        assert next_chunk(camera).image.shape == (4, 4, 3)
        capture.unhung.set()


def test_driver_that_hangs_is_noticed_and_left_behind(monkeypatch):
    capture = OneImage(np.zeros((2, 3, 3), np.uint8))
    monkeypatch.setattr(camera_module, "capture_from_source", lambda _: capture)
    monkeypatch.setattr(camera_module, "READ_TIMEOUT_MS", 200)
    monkeypatch.setattr(camera_module, "CLOSE_TIMEOUT_S", 0.1)
    with Camera(0) as camera:
        assert camera.connected
        wait_until(lambda: not camera.connected, within_s=1)
        start_s = time.monotonic()
    assert time.monotonic() - start_s < 0.5
    capture.unhung.set()


def test_unreachable_address_is_refused_quickly(mjpeg_camera):
    mjpeg_camera.stop()
    start_s = time.monotonic()
    with pytest.raises(InputError, match=r"127\.0\.0\.1.* expected video within 4 s"):
        Camera(mjpeg_camera.url)
    assert time.monotonic() - start_s < 2


@pytest.mark.parametrize("source", [97, "97", "/dev/video97"])
def test_missing_camera_is_refused_with_those_present(source):
    with pytest.raises(InputError, match=r"97' cannot be opened; expected one of those present \("):
        Camera(source)


def test_source_of_no_kind_is_refused():
    with pytest.raises(InputError, match=r"'drive\.mp4' cannot be opened; expected an index"):
        Camera("drive.mp4")


def test_pipeline_without_gstreamer_is_refused_plainly(monkeypatch):
    monkeypatch.setattr("cv2.videoio_registry.hasBackend", lambda _: False)
    with pytest.raises(InputError, match="built without GStreamer"):
        Camera("videotestsrc ! appsink")


class Camcorder:
    """A fake camera at 50 images per second, each as `picture` says; counts how often it was opened."""

    def __init__(self):
        self.picture, self.interval_s, self.opened, self.plugged = self.noise, 0.02, 0, True

    def noise(self):
        return np.random.default_rng().integers(0, 255, (64, 48, 3), dtype=np.uint8)

    def open(self, _source):
        if not self.plugged:
            raise InputError("unplugged")
        self.opened += 1
        return self

    def grab(self):
        time.sleep(self.interval_s)
        return self.plugged

    def retrieve(self):
        return True, self.picture()

    def release(self):
        pass


def test_frozen_camera_is_told_reopened_and_withheld_until_its_image_changes():
    camcorder, still = Camcorder(), np.full((64, 48, 3), 99, np.uint8)
    with Camera(0, open_capture=camcorder.open) as camera:
        next_chunk(camera)
        camcorder.picture = lambda: still
        wait_until(lambda: camera.health == "frozen", within_s=3)
        wait_until(lambda: camcorder.opened == 2, within_s=8)
        camera.take()
        time.sleep(0.2)
        assert camera.take() is None
        assert camera.health == "frozen"
        camcorder.picture = camcorder.noise
        next_chunk(camera)
        assert camera.health == "ok"


def test_frozen_camera_that_is_unplugged_is_lost():
    camcorder, still = Camcorder(), np.full((64, 48, 3), 99, np.uint8)
    with Camera(0, open_capture=camcorder.open) as camera:
        next_chunk(camera)
        camcorder.picture = lambda: still
        wait_until(lambda: camera.health == "frozen", within_s=3)
        camcorder.plugged = False
        wait_until(lambda: camera.health == "lost", within_s=8)
        camcorder.picture, camcorder.plugged = camcorder.noise, True
        wait_until(lambda: camera.health == "ok", within_s=3)


def test_black_camera_is_told_and_not_taken_for_frozen():
    camcorder = Camcorder()
    camcorder.picture = lambda: np.zeros((64, 48, 3), np.uint8)
    with Camera(0, open_capture=camcorder.open) as camera:
        deadline_s = time.monotonic() + 2.5
        while time.monotonic() < deadline_s:
            next_chunk(camera)
            assert camera.health == "black"
    assert camcorder.opened == 1


def test_slow_camera_is_told():
    camcorder = Camcorder()
    with Camera(0, open_capture=camcorder.open) as camera:
        next_chunk(camera)
        camcorder.interval_s = 0.4
        wait_until(lambda: camera.health == "slow", within_s=4)
        camcorder.interval_s = 0.02
        wait_until(lambda: camera.health == "ok", within_s=2)
