"""Spatio-temporal interest points of a video in linear scale space (Srinivas & Mishra 2022, Eq. 1-8; Laptev 2005).

Where image brightness varies in both directions of space and in time: a corner that appears, stops or turns, but not
one that is still, or moves on steadily. A video is [shape=(images, height, width)], so axes are t, y, x.
"""

import numpy as np
import numpy.typing as npt

from kernels.arrays import check_array

Floats = npt.NDArray[np.float64]

SPATIAL_VARIANCE = 4.0
"""sigma^2 of Eq. 1, pixels squared; the paper is silent."""

TEMPORAL_VARIANCE = 2.0
"""tau^2 of Eq. 1, images squared; likewise."""

INTEGRATION = 2.0
"""S of Eq. 7, by which the variances of Eq. 4 exceed those of Eq. 1; likewise."""

TRACE_WEIGHT = 0.005
"""K of Eq. 8; likewise, hence that of Laptev 2005. With 1/27 or more there are no points at all."""

LEAST_CONTRAST = 1.0
"""Gray levels: a video whose brightness deviates less is uniform, and what it has is noise."""

THRESHOLD = 1e-6
"""Of the response at unit contrast: noise alone, however it is amplified, stays below it."""

GRID = 8
"""Cells of the face along each side."""

_ELEMENTS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Of a symmetric matrix over x, y, t."""


def interest_points(video: npt.NDArray[np.uint8], threshold: float = THRESHOLD) -> npt.NDArray[np.int64]:
    """Places (t, y, x) where the corner response is a local maximum, int64 [shape=(n, 3)].

    Parameters
    ----------
    video : uint8 gray [shape=(images, height, width)].
    threshold : what the response of a point exceeds; the video's brightness and contrast do not matter.

    Raises
    ------
    ValueError : another dtype or number of dimensions; fewer than two images; height or width < 8.

    Examples
    --------
    >>> video = np.zeros((30, 33, 33), np.uint8)
    >>> video[15:, 14:19, 14:19] = 200  # a square appears
    >>> interest_points(video).tolist()
    [[17, 16, 16]]
    """
    return _peaks(corner_response(normalized_second_moment(video)), threshold)


def interest_point_features(video: npt.NDArray[np.uint8], threshold: float = THRESHOLD) -> npt.NDArray[np.float32]:
    """Where and how a face moves, float32 [shape=(448,)]: for each of 8 x 8 cells its interest points, and its mean mu.

    The paper derives features from the points and from "the second momentum matrix" (abstract, section III-B) and does
    not say which. Here they are, each for the cells from the top left on, row by row: interest points per image; then
    the means, over the cell and all images, of mu's elements xx, xy, xt, yy, yt, tt at unit contrast.

    Parameters and errors are those of `interest_points`.

    Examples
    --------
    >>> interest_point_features(np.zeros((30, 48, 48), np.uint8)).any()
    np.False_
    """
    mu = normalized_second_moment(video)
    images, height, width = video.shape
    cells = (np.arange(height) * GRID // height)[:, None] * GRID + np.arange(width) * GRID // width
    _, y, x = _peaks(corner_response(mu), threshold).T
    points = np.bincount(cells[y, x], minlength=GRID * GRID) / images
    pixels = np.bincount(cells.ravel())
    means = [np.bincount(cells.ravel(), mu[i, j].mean(0).ravel()) / pixels for i, j in _ELEMENTS]
    return np.concatenate((points, *means)).astype(np.float32)


def gaussian(variance: float) -> Floats:
    """One factor of Eq. 2, sampled to four deviations and of sum 1, which the paper's omits: [shape=(odd,)]."""
    reach = int(4 * variance**0.5 + 0.5)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * variance))
    return taps / taps.sum()


def linear_scale_space(volume: Floats, spatial_variance: float, temporal_variance: float) -> Floats:
    """Volume convolved with the spatio-temporal Gaussian (Eq. 1, 2), which separates; borders are continued."""
    for axis, variance in enumerate((temporal_variance, spatial_variance, spatial_variance)):
        volume = _convolved(volume, gaussian(variance), axis)
    return volume


def gradient(scale_space: Floats) -> Floats:
    """Derivatives along x, y and t by central differences (Eq. 5-7), [shape=(3, t, y, x)]."""
    along_t, along_y, along_x = np.gradient(scale_space)
    return np.stack((along_x, along_y, along_t))


def second_moment(derivatives: Floats) -> Floats:
    """Products of each two derivatives (Eq. 3), [shape=(3, 3, t, y, x)]."""
    return derivatives[:, None] * derivatives[None]


def weighted_second_moment(video: Floats) -> Floats:
    """mu: the second-moment matrix, weighted by a wider Gaussian (Eq. 4), [shape=(3, 3, t, y, x)]."""
    products = second_moment(gradient(linear_scale_space(video, SPATIAL_VARIANCE, TEMPORAL_VARIANCE)))
    wide = INTEGRATION * SPATIAL_VARIANCE, INTEGRATION * TEMPORAL_VARIANCE
    weighted = np.empty_like(products)
    for i, j in _ELEMENTS:
        weighted[i, j] = weighted[j, i] = linear_scale_space(products[i, j], *wide)
    return weighted


def normalized_second_moment(video: npt.NDArray[np.uint8]) -> Floats:
    """mu of the video at unit contrast: what light there is does not matter (last sentence on Eq. 8)."""
    _check(video)
    return weighted_second_moment(video / max(video.std(), LEAST_CONTRAST))


def corner_response(mu: Floats, trace_weight: float = TRACE_WEIGHT) -> Floats:
    """H = det(mu) - K trace(mu)^3 (Eq. 8, whose right side has lost the cube), [shape=(t, y, x)]."""
    matrices = np.moveaxis(mu, (0, 1), (-2, -1))
    return np.linalg.det(matrices) - trace_weight * np.trace(mu) ** 3


def _convolved(volume: Floats, taps: Floats, axis: int) -> Floats:
    reach, length = len(taps) // 2, volume.shape[axis]
    padding = [(0, 0)] * volume.ndim
    padding[axis] = reach, reach
    padded = np.moveaxis(np.pad(volume, padding, mode="edge"), axis, 0)
    total = sum(tap * padded[n : n + length] for n, tap in enumerate(taps))
    return np.moveaxis(np.asarray(total), 0, axis)


def _peaks(response: Floats, threshold: float) -> npt.NDArray[np.int64]:
    """Places above the threshold that none of their 26 neighbours exceeds; at the border, not all are known."""
    highest = response
    for axis in range(3):
        padding = [(0, 0)] * 3
        padding[axis] = 1, 1
        padded = np.moveaxis(np.pad(highest, padding, constant_values=np.inf), axis, 0)
        highest = np.moveaxis(np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:]), 0, axis)
    return np.argwhere((response == highest) & (response > threshold))


def _check(video: npt.NDArray[np.uint8]) -> None:
    check_array(video, "video")
    if video.dtype != np.uint8 or video.ndim != 3 or len(video) < 2 or min(video.shape[1:]) < GRID:
        raise ValueError(
            f"video is {video.dtype} with shape {video.shape}; expected uint8 with shape (images, height, width), "
            f"two images or more of {GRID} x {GRID} pixels or more."
        )
