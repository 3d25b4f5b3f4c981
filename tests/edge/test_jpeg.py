"""Images as JPEG, and back."""

import numpy as np
import numpy.typing as npt
import pytest

from edge.jpeg import jpeg_from_rgb, rgb_from_jpeg

IMAGE = np.full((32, 48, 3), (200, 100, 50), np.uint8)


def claims(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A JPEG file whose header names this size."""
    data = bytearray(jpeg_from_rgb(IMAGE).tobytes())
    size = data.index(b"\xff\xc0") + 5  # of the frame header
    data[size : size + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return np.frombuffer(bytes(data), np.uint8)


def test_an_image_comes_back() -> None:
    np.testing.assert_allclose(rgb_from_jpeg(jpeg_from_rgb(IMAGE)), IMAGE, atol=2)
    assert rgb_from_jpeg(claims(*IMAGE.shape[:2])).shape == IMAGE.shape


@pytest.mark.parametrize("data", [np.empty(0, np.uint8), np.zeros(100, np.uint8), claims(65_000, 65_000)])
def test_what_is_no_image_is_refused(data: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="no JPEG image"):
        rgb_from_jpeg(data)
