"""Where an image draws the eye: saliency maps for the spatial transformer.

Luna-Jiménez et al. 2021 take them from a network of Kroner et al. 2020, trained on SALICON. Its weights are not at
hand, so the default is `spectral_residual`, which needs none; who has the network passes it as any other `SaliencyMap`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError

SaliencyMap = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Image to saliency: uint8 gray [shape=(h, w)] -> float32 [shape=(h, w)], 0 or more, only its proportions matter."""


def spectral_residual(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What stands out of an image's average spectrum (Hou & Zhang 2007), by OpenCV; a `SaliencyMap`.

    Of an image of one gray value nothing stands out: zeros.
    """
    import cv2

    if image.min() == image.max():
        return np.zeros(image.shape, np.float32)
    _, saliency = cv2.saliency.StaticSaliencySpectralResidual.create().computeSaliency(image)
    return saliency


def saliency_maps(images: npt.NDArray[np.uint8], saliency_of: SaliencyMap) -> npt.NDArray[np.float32]:
    """Saliency of each image with its highest value at 1: uint8 gray [shape=(n, h, w)] -> float32, the same shape.

    An image that repeats the one before is not looked at again.

    Raises
    ------
    ArgumentError : `saliency_of` returned no `SaliencyMap`'s values: another shape, negative, NaN or infinite.
    """
    maps = np.zeros(images.shape, np.float32)
    for number, image in enumerate(images):
        if number and np.array_equal(image, images[number - 1]):
            maps[number] = maps[number - 1]
            continue
        found = saliency_of(image)
        if found.shape != image.shape or not np.isfinite(found).all() or found.min() < 0:
            raise ArgumentError(
                f"the saliency of an image of {image.shape} has shape {found.shape} and values of {found.min()}.."
                f"{found.max()}; expected the image's shape, and finite values of 0 or more."
            )
        maps[number] = found / max(float(found.max()), 1e-12)
    return maps
