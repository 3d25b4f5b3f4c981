"""The CUDA backend: spectrograms and faces in one launch. It needs an NVIDIA device and the extra "cuda".

`SpectrogramStream` and `preprocess_faces` bring results back to the host; `CudaTick` leaves them on the device, for
TensorRT to read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import numba_cuda  # noqa: F401  without it, Numba's own `numba.cuda` would be found, another one
except ImportError as error:
    raise RuntimeError(
        "CUDA was asked for, but numba-cuda is not installed; expected the extra: pip install 'edge-emotion[cuda]'. "
        "Or use backend='numba'."
    ) from error
from numba import cuda

from kernels.arrays import check_array, is_whole
from kernels.cuda_face import FaceShape
from kernels.cuda_spectrogram import N_FFT
from kernels.cuda_tick import NO_FACES, NO_SOUND, DeviceTick, seen_samples
from kernels.face import check_image, checked_transforms, weights_and_bias
from kernels.reference import ReferenceSpectrogram, sums_of
from kernels.spec import SpectrogramSpec

_DTYPES = "float32", "float16"


class CudaSpectrogram(ReferenceSpectrogram):
    """The backend on a GPU, for n_fft 512 and edge "context".

    Mean and deviation are the reference's own: exact sums, taken on the host while the samples are there. On the
    device no block could use them before another had finished.
    """

    def __init__(self, spec: SpectrogramSpec, faces: FaceShape = NO_FACES, stream: int | None = None) -> None:
        if spec.n_fft != N_FFT or spec.edge != "context":
            raise ValueError(
                f"n_fft is {spec.n_fft} and edge {spec.edge!r}; the backend 'cuda' expects {N_FFT} and 'context'. "
                "Use backend='numba' for others."
            )
        super().__init__(spec)
        _require_device()
        self.device = DeviceTick(spec, faces, stream)

    def step(self, history: npt.NDArray[np.float32], end: int, out: npt.NDArray[np.floating] | None) -> None:
        """As `kernels.reference.ReferenceSpectrogram.step`."""
        self.device.begin()
        self.put(history, end)
        self.device.run()
        if out is not None:
            self.device.segment.copy_to_host(out, stream=self.device.stream)
            self.device.stream.synchronize()

    def put(self, history: npt.NDArray[np.float32], end: int) -> None:
        """Give the device the step that ends at history[end]."""
        spec = self._spec
        if spec.statistics_steps:
            self._sums.append(sums_of(history[end - spec.step : end], integer=self._integer))
        self.device.put_step(history[end - seen_samples(spec) : end], self._current_moments())


def sample_faces(
    image: npt.NDArray[np.uint8],
    transforms: npt.NDArray[np.float64],
    supersample: int,
    weights: npt.NDArray[np.float64],
    bias: npt.NDArray[np.float64],
    crops: npt.NDArray[np.floating[Any]],
) -> None:
    """Fill `crops` as `kernels.face_reference.sample_faces` does, within 0.05 gray levels.

    That holds for crops that span up to 1024 px of the image. Memory is laid out on the first call of a shape.
    """
    _require_device()
    count, channels, size, _ = crops.shape
    if not count:
        return
    shape = FaceShape(count, channels, size, supersample, crops.dtype.name, 1 << (image.size - 1).bit_length())
    idle = _idle_devices(shape)
    device = idle.pop() if idle else DeviceTick(NO_SOUND, shape)
    device.begin()
    device.put_faces(image, transforms, weights, bias)
    device.run()
    device.crops.copy_to_host(crops, stream=device.stream)
    device.stream.synchronize()
    idle.append(device)


@lru_cache(maxsize=8)
def _idle_devices(shape: FaceShape) -> list[DeviceTick]:
    """Those that no thread uses at the moment."""
    return []


@dataclass(frozen=True)
class CudaFaces:
    """Faces of a `CudaTick`; the first six are explained by `kernels.preprocess_faces`."""

    size: int = 48
    gray: bool = True
    supersample: int = 2
    mean: float | Sequence[float] = 127.0
    std: float | Sequence[float] = 64.0
    dtype: str = "float32"
    count: int = 1
    """Of faces in an image, at most."""
    image_shape: tuple[int, int] = (720, 1280)
    """(height, width) of the largest image."""

    def __post_init__(self) -> None:
        numbers = self.size, self.supersample, self.count, *self.image_shape
        if not all(is_whole(number) and number >= 1 for number in numbers) or self.dtype not in _DTYPES:
            raise ValueError(
                f"{self}: expected size, supersample, count, image_shape whole and >= 1, dtype one of {_DTYPES}."
            )
        weights_and_bias(self.gray, self.mean, self.std)

    @property
    def shape(self) -> FaceShape:
        channels = 1 if self.gray else 3
        image_bytes = 3 * self.image_shape[0] * self.image_shape[1]
        return FaceShape(self.count, channels, self.size, self.supersample, self.dtype, image_bytes)


class CudaTick:
    """The log-spectrogram and the faces of a tick, left on the device by one launch, recorded as a CUDA graph.

    The results are device arrays with `__cuda_array_interface__`, at the same address all the time. What reads them
    does so on the same stream, or once that is done, and before the next tick.

    Attributes
    ----------
    log_spectrogram : float32 [shape=(bins, columns)]; of a whole segment once `tick` has returned True.
    faces : float32 or float16 [shape=(count, 1 or 3, size, size)]; the first hold the last image's.
    stream : Numba's object for the stream that all is put on; `stream.synchronize()` waits for it.

    Parameters
    ----------
    spectrogram : its n_fft must be 512, its edge "context".
    faces : None: there will be none.
    stream : address of a CUDA stream of the primary context (of PyCUDA's `Stream.handle`, for one), to share with
        TensorRT; not 0, the default stream. None: a new one.

    Raises
    ------
    ValueError : another spectrogram or stream than said.
    RuntimeError : there is no CUDA device, or its driver reports an error.
    """

    def __init__(
        self, spectrogram: SpectrogramSpec, faces: CudaFaces | None = None, *, stream: int | None = None
    ) -> None:
        if stream == 0:
            raise ValueError("stream is 0, the default stream, which no graph can record; expected one of its own.")
        self._spec, self._shape = spectrogram, faces.shape if faces else NO_FACES
        self._colours = weights_and_bias(faces.gray, faces.mean, faces.std) if faces else ()
        self._audio = CudaSpectrogram(spectrogram, self._shape, stream)
        self._device = self._audio.device
        self._recent = np.zeros(seen_samples(spectrogram), np.float32)
        self.log_spectrogram, self.faces = self._device.segment, self._device.crops
        self.stream = self._device.stream
        self.reset()

    def reset(self) -> None:
        """Forget all audio: the next segment is whole after `segment` further samples."""
        self._recent[:] = 0
        self._missing = self._spec.segment
        self._audio.reset(integer=True)

    def tick(
        self,
        samples: npt.NDArray[np.int16] | None = None,
        image: npt.NDArray[np.uint8] | None = None,
        matrices: npt.ArrayLike = (),
    ) -> bool:
        """Start all work on a step of sound, on an image, or on both; return whether a whole segment is being written.

        It returns before that is done; what follows on the stream, or waits for it, finds the results.

        Parameters
        ----------
        samples : int16 ndarray [shape=(step,)], those after the last call's.
        image, matrices : as of `kernels.preprocess_faces`; at most `count` faces, in an image of at most `image_shape`.

        Raises
        ------
        ValueError : any of these is another than said; nothing is done then.
        """
        if samples is not None:
            self._check_step(samples)
        transforms = np.empty((0, 2, 3)) if image is None else self._checked_faces(image, matrices)
        self._device.begin()
        if samples is not None:
            self._put_step(samples)
        if image is not None and len(transforms):
            self._device.put_faces(image, transforms, *self._colours)
        self._device.run()
        return samples is not None and self._missing <= 0

    def _check_step(self, samples: npt.NDArray[np.int16]) -> None:
        check_array(samples, "samples")
        if samples.dtype != np.int16 or samples.shape != (self._spec.step,):
            raise ValueError(
                f"samples is {samples.dtype} with shape {samples.shape}; expected int16, ({self._spec.step},)."
            )

    def _put_step(self, samples: npt.NDArray[np.int16]) -> None:
        step = len(samples)
        self._recent[:-step] = self._recent[step:]
        self._recent[-step:] = samples
        self._missing -= step
        self._audio.put(self._recent, len(self._recent))

    def _checked_faces(self, image: npt.NDArray[np.uint8], matrices: npt.ArrayLike) -> npt.NDArray[np.float64]:
        check_image(image)
        transforms = checked_transforms(matrices)
        if len(transforms) > self._shape.count or image.size > self._shape.image_bytes:
            raise ValueError(
                f"{len(transforms)} faces in an image of {image.size} bytes; expected at most {self._shape.count} in "
                f"{self._shape.image_bytes}. Make a CudaTick with a larger count or image_shape."
            )
        return transforms


def _require_device() -> None:
    if not cuda.is_available():
        raise RuntimeError(
            "CUDA was asked for, but no device was found; expected an NVIDIA GPU and its driver. "
            "Ask nvidia-smi for both, or use backend='numba'."
        )
