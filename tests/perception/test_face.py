"""Who is the driver, told as stories of faces in successive images."""

import numpy as np

from bundle.features import VideoSpec
from perception.face import DriverTracker, FaceDetection

STEP_NS = 100_000_000


def face(x: float, size: float) -> FaceDetection:
    """A frontal face of the given size whose box begins at x."""
    eyes_y, mouth_y = 0.35 * size, 0.72 * size
    return FaceDetection(
        (x, 0, x + size, size), (x + 0.32 * size, eyes_y), (x + 0.68 * size, eyes_y), (x + 0.5 * size, mouth_y), 0.9
    )


DRIVER, PASSENGER, LEANING_IN = face(0, 100), face(400, 70), face(400, 160)


def test_largest_face_is_the_driver_at_once() -> None:
    assert DriverTracker().update([PASSENGER, DRIVER], 0) is DRIVER


def test_passenger_who_leans_in_briefly_does_not_become_the_driver() -> None:
    tracker = DriverTracker()
    tracker.update([DRIVER], 0)
    for step in range(1, 10):
        assert tracker.update([LEANING_IN, DRIVER], step * STEP_NS) is DRIVER
    assert tracker.update([PASSENGER, DRIVER], 10 * STEP_NS) is DRIVER
    assert tracker.update([LEANING_IN, DRIVER], 11 * STEP_NS) is DRIVER


def test_seat_change_takes_one_second() -> None:
    tracker = DriverTracker()
    tracker.update([DRIVER], 0)
    followed = [tracker.update([LEANING_IN, DRIVER], step * STEP_NS) for step in range(1, 14)]
    assert followed == [DRIVER] * 10 + [LEANING_IN] * 3


def test_passenger_is_not_taken_while_the_driver_looks_away() -> None:
    tracker = DriverTracker()
    tracker.update([DRIVER, PASSENGER], 0)
    assert [tracker.update([PASSENGER], step * STEP_NS) for step in range(1, 10)] == [None] * 9
    assert tracker.update([PASSENGER, DRIVER], 10 * STEP_NS) is DRIVER


def test_camera_that_was_away_does_not_count_towards_a_seat_change() -> None:
    tracker = DriverTracker()
    tracker.update([DRIVER], 0)
    assert tracker.update([LEANING_IN, DRIVER], STEP_NS) is DRIVER
    assert tracker.update([LEANING_IN, DRIVER], 25 * STEP_NS) is DRIVER
    assert [tracker.update([LEANING_IN, DRIVER], step * STEP_NS) for step in (34, 35)] == [DRIVER, LEANING_IN]


def test_no_face_is_nobody() -> None:
    tracker = DriverTracker()
    assert tracker.update([], 0) is None
    tracker.update([DRIVER], STEP_NS)
    assert tracker.update([], 2 * STEP_NS) is None


def test_crop_puts_eyes_in_place_and_a_margin_shows_more_around_them() -> None:
    spec = VideoSpec()
    for margin in (0, 8):
        matrix = np.vstack((DRIVER.crop_matrix(spec, margin), (0, 0, 1)))
        for eye, x in ((DRIVER.left_eye, spec.eye_x), (DRIVER.right_eye, 1 - spec.eye_x)):
            in_crop = np.linalg.solve(matrix, (*eye, 1))[:2]
            np.testing.assert_allclose(in_crop, margin + np.array([x, spec.eye_y]) * spec.size_px, atol=0.6)
