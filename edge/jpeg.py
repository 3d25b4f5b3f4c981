"""Images as JPEG, and back."""

from contextlib import suppress

import numpy as np
import numpy.typing as npt

QUALITY = 95


def jpeg_from_rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bytes of a JPEG file, uint8 [shape=(n,)], of an RGB image."""
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.reshape(-1)


def rgb_from_jpeg(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image, uint8 RGB, (H, W, 3); ValueError where the bytes are no image."""
    import cv2

    return cv2.cvtColor(bgr_from_jpeg(data), cv2.COLOR_BGR2RGB)


def bgr_from_jpeg(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same in the order that cameras give."""
    import cv2

    image = None
    with suppress(cv2.error):  # nothing at all, or an image that claims to be too large
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("no JPEG image")
    return image
