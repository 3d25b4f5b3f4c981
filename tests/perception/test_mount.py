"""Images of cameras on their side, on their head, behind glass, and in infrared."""

import numpy as np
import pytest

from bundle.errors import ArgumentError
from perception.mount import CameraMount

UPRIGHT = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_image_is_turned_clockwise_then_mirrored(rotate: int, mirror: bool) -> None:
    mirrored = UPRIGHT[:, ::-1] if mirror else UPRIGHT
    captured = np.rot90(mirrored, rotate // 90)  # anticlockwise
    upright = CameraMount(rotate=rotate, mirror=mirror).upright(captured)
    np.testing.assert_array_equal(upright, UPRIGHT)
    assert upright.flags.c_contiguous


def test_infrared_image_is_its_luma_in_all_three_channels() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(CameraMount(mono=True).upright(red), np.full((4, 4, 3), 76))


def test_rotation_by_half_a_right_angle_is_rejected() -> None:
    with pytest.raises(ArgumentError, match="rotate is 45"):
        CameraMount(rotate=45)
