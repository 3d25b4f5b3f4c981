"""Face crops from a 720p camera image: ours against what OpenCV's calls make of the same transform."""

from collections.abc import Callable

import cv2
import numpy as np

from benchmarks.interleave import Comparison, Conditions, compare
from kernels import preprocess_faces, similarity_from_eyes

MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
"""Of ImageNet's R, G, B, 0..255, as most pretrained networks expect: https://docs.pytorch.org/vision/stable/models.html"""

EYES = (560.0, 300.0), (680.0, 312.0)
WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

Contestant = Callable[[], object]


def bench_face(conditions: Conditions) -> list[Comparison]:
    """A face for a large colour network, and one for a small gray network."""
    return [*_face_224(conditions), *_face_48_gray(conditions)]


def _face_224(conditions: Conditions) -> list[Comparison]:
    """720p RGB to 224 x 224 RGB, float32 NCHW, normalised by channel; one sample per pixel, as OpenCV takes."""
    image, size = _camera_image(), 224
    matrix = similarity_from_eyes(*EYES, size)
    crops = np.empty((1, 3, size, size), np.float32)
    mean, std = tuple(MEAN), tuple(STD)
    scale, shift = (1 / STD).astype(np.float32), (-MEAN / STD).astype(np.float32)
    blob = cv2.dnn.Image2BlobParams()
    blob.size, blob.mean, blob.scalefactor = (size, size), (*MEAN, 0.0), (*(1 / STD), 1.0)

    def ours() -> object:
        return preprocess_faces(image, [matrix], size, gray=False, supersample=1, mean=mean, std=std, out=crops)

    def warped() -> np.ndarray:
        return cv2.warpAffine(image, matrix, (size, size), flags=WARP)

    def normalised(crop: np.ndarray) -> np.ndarray:
        values = np.empty((3, size, size), np.float32)
        for channel in range(3):
            np.multiply(crop[..., channel], scale[channel], out=values[channel])
            values[channel] += shift[channel]
        return values

    def divided(crop: np.ndarray) -> np.ndarray:
        values = cv2.dnn.blobFromImage(crop, 1.0, (size, size), mean)
        values *= scale[:, None, None]
        return values

    peers: dict[str, Contestant] = {
        "OpenCV warpAffine alone": warped,
        "OpenCV warp + blob, params": lambda: cv2.dnn.blobFromImageWithParams(warped(), blob),
        "OpenCV warp + blobFromImage": lambda: divided(warped()),
        "OpenCV warp + NumPy": lambda: normalised(warped()),
    }
    return compare("face 720p-224", ours, peers, rounds=200, conditions=conditions)


def _face_48_gray(conditions: Conditions) -> list[Comparison]:
    """720p RGB to 48 x 48 luma, the mean of 2 x 2 samples per pixel, normalised."""
    image, size = _camera_image(), 48
    matrix = similarity_from_eyes(*EYES, size)
    half_pixels = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    fine_matrix = matrix @ half_pixels

    def averaged() -> np.ndarray:
        fine = cv2.warpAffine(image, fine_matrix, (2 * size, 2 * size), flags=WARP)
        small = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)

    def opencv() -> object:
        return cv2.dnn.blobFromImage(averaged(), 1 / 64, (size, size), 127.0)

    def opencv_numpy() -> object:
        return (averaged().astype(np.float32) - np.float32(127)) * np.float32(1 / 64)

    peers: dict[str, Contestant] = {
        "OpenCV warp, area, gray, blob": opencv,
        "OpenCV warp, area, gray, NumPy": opencv_numpy,
        "our NumPy reference": lambda: preprocess_faces(image, [matrix], size, backend="numpy"),
    }

    def ours() -> object:
        return preprocess_faces(image, [matrix], size)

    return compare("face 720p-48 gray", ours, peers, rounds=100, conditions=conditions)


def _camera_image() -> np.ndarray:
    """Smooth colours with sensor noise, uint8 RGB, (720, 1280, 3)."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (90, 160, 3), np.uint8), (1280, 720), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)
