"""One launch of one kernel for all of a tick: some blocks make spectrogram columns, the others sample faces."""

import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import driver
from numba import complex64, cuda, float32
from numba.core import config
from numba.cuda.core.errors import NumbaPerformanceWarning

from kernels.cuda_face import COUNT, FaceShape, face_arrays, sample_rows, visible_box
from kernels.cuda_spectrogram import (
    FRAMES,
    N_FFT,
    POINTS,
    POWER_PITCH,
    PRESENT,
    ROWS,
    THREADS,
    add_columns,
    emit_rows,
    spectrogram_arrays,
)
from kernels.reference import Moments
from kernels.spec import SpectrogramSpec

NO_SOUND = SpectrogramSpec(n_fft=N_FFT, hop_length=N_FFT, segment=N_FFT, step=N_FFT, n_mels=1, statistics=0)
"""For a tick of faces only: little memory, and blocks that return at once."""

NO_FACES = FaceShape(count=0, channels=1, size=1, supersample=1, dtype="float32", image_bytes=3)
"""For a tick of sound only."""


@cuda.jit(fastmath=True)
def tick_kernel(spectrogram, faces):
    """The grid's first row makes the spectrogram, each other row samples a face. No block waits for another.

    Blocks of the first row divide again: new columns, then columns kept before.

    spectrogram : SpectrogramArrays. faces : FaceArrays.
    """
    points = cuda.shared.array((FRAMES, POINTS), complex64)
    power = cuda.shared.array((FRAMES, POWER_PITCH), float32)
    block = cuda.blockIdx.x
    if cuda.blockIdx.y:
        sample_rows(faces, cuda.blockIdx.y - 1, block * ROWS)
    elif spectrogram.ring[PRESENT]:
        if block < spectrogram.adding:
            add_columns(spectrogram, block * FRAMES, points, power)
        else:
            emit_rows(spectrogram, (block - spectrogram.adding) * ROWS)


def seen_samples(spec: SpectrogramSpec) -> int:
    """Samples that the frames of a step see: its own, and those before it."""
    return N_FFT - spec.hop_length + spec.step


class TickInputs:
    """Numbers that differ from tick to tick, all four bytes wide, in one piece of page-locked and of device memory."""

    def __init__(self, **arrays: tuple[type, tuple[int, ...]]) -> None:
        ends = np.cumsum([math.prod(shape) for _, shape in arrays.values()]).tolist()
        self._page_locked = cuda.pinned_array(ends[-1], np.int32)
        self._page_locked[:] = 0
        self._on_device = cuda.to_device(self._page_locked)
        self.host: dict[str, npt.NDArray[Any]] = {}
        self.device: dict[str, Any] = {}
        for (name, (dtype, shape)), begin, end in zip(arrays.items(), [0, *ends], ends, strict=False):
            self.host[name] = self._page_locked[begin:end].view(dtype).reshape(shape)
            self.device[name] = self._on_device[begin:end].view(dtype).reshape(shape)

    def copy(self, stream: Any) -> None:
        """To the device, when the stream comes to it."""
        self._on_device.copy_to_device(self._page_locked, stream=stream)


class DeviceTick:
    """Memory of a tick, and its launch: once recorded as a CUDA graph, replayed by one call.

    The graph copies the inputs and runs the kernel, and never changes: what changes lies in the inputs. Only the part
    of the image that is copied differs in size, and goes ahead of the graph. `segment` and `crops` lie on the device;
    the next run overwrites them.

    Parameters
    ----------
    stream : address of a CUDA stream of the primary context, other than the default one, which no graph can record;
        None: a new one.
    """

    def __init__(self, spec: SpectrogramSpec, shape: FaceShape, stream: int | None = None) -> None:
        self._spec, self._shape = spec, shape
        self.stream = cuda.stream() if stream is None else cuda.external_stream(stream)
        self._inputs = TickInputs(
            ring=(np.int32, (2,)),
            scales=(np.float32, (4,)),
            samples=(np.float32, (seen_samples(spec),)),
            view=(np.int32, (3,)),
            colours=(np.float32, (2, 3)),
            transforms=(np.float32, (max(1, shape.count), 2, 3)),  # nothing on the device is empty
        )
        arrays = self._inputs.device
        self._image = cuda.pinned_array(shape.image_bytes, np.uint8)
        self._spectrogram = spectrogram_arrays(spec, arrays["ring"], arrays["scales"], arrays["samples"])
        self._faces = face_arrays(shape, arrays["view"], arrays["colours"], arrays["transforms"])
        self.segment, self.crops = self._spectrogram.segment, self._faces.crops
        self._newest = 0  # ring column of the next step
        self._done = cuda.event()
        self._replay = _recorded(self._enqueue, self.stream, self)

    def begin(self) -> None:
        """Wait until the last run is done, so that its inputs may be written over; then there are none."""
        cuda.current_context()  # makes it this thread's, which may never have called CUDA
        self._done.synchronize()
        self._inputs.host["ring"][PRESENT] = False
        self._inputs.host["view"][COUNT] = 0

    def put_step(self, samples: npt.NDArray[np.float32], moments: Moments) -> None:
        """Add a step, with the samples that its frames see before it; standardise the segment by `moments`."""
        inputs, step = self._inputs.host, self._spec.step
        mean, deviation = moments
        inputs["samples"][:] = samples
        inputs["ring"][:] = True, self._newest
        shift = math.floor(samples[-step:].mean(dtype=np.float64) + 0.5)  # whole, so that samples stay exact
        inputs["scales"][:] = shift, math.floor(mean), mean - math.floor(mean), 1 / deviation**2
        self._newest = (self._newest + step // self._spec.hop_length) % self._spec.columns

    def put_faces(
        self,
        image: npt.NDArray[np.uint8],
        transforms: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        bias: npt.NDArray[np.float64],
    ) -> None:
        """Sample these faces, at least one, as `kernels.face_reference.sample_faces` does."""
        inputs = self._inputs.host
        left, top, right, bottom = visible_box(transforms, self._shape.size, *image.shape[:2])
        visible = image[top:bottom, left:right]
        self._image[: visible.size].reshape(visible.shape)[:] = visible
        self._faces.image[: visible.size].copy_to_device(self._image[: visible.size], stream=self.stream)
        inputs["view"][:] = len(transforms), *visible.shape[:2]
        inputs["colours"][:] = weights, bias
        inputs["transforms"][: len(transforms)] = transforms
        inputs["transforms"][: len(transforms), :, 2] = transforms[:, :, 2] - (left, top)

    def run(self) -> None:
        """Do what was put since `begin`; returns before it is done."""
        self._replay()
        self._done.record(self.stream)

    def _enqueue(self) -> None:
        spectrogram_blocks = int(self._spectrogram.adding + self._spectrogram.emitting)
        face_blocks = -(-self._shape.size // ROWS)
        grid = max(spectrogram_blocks, face_blocks), 1 + self._shape.count
        self._inputs.copy(self.stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaPerformanceWarning)  # fewer blocks than a large GPU could run
            tick_kernel[grid, THREADS, self.stream](self._spectrogram, self._faces)


def _recorded(enqueue: Callable[[], None], stream: Any, owner: object) -> Callable[[], None]:
    """What replays all that `enqueue` puts on the stream, as long as `owner` lives."""
    if config.ENABLE_CUDASIM:  # the simulator has no graphs
        return enqueue
    enqueue()  # compiles and loads the kernel, which cannot be done while recording
    stream.synchronize()
    handle = int(stream.handle)
    with cuda.defer_cleanup():  # nor can memory be freed
        _checked(driver.cuStreamBeginCapture(handle, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        try:
            enqueue()
        finally:
            (graph,) = _checked(driver.cuStreamEndCapture(handle))
    (replay,) = _checked(driver.cuGraphInstantiate(graph, 0))
    _checked(driver.cuGraphDestroy(graph))
    weakref.finalize(owner, driver.cuGraphExecDestroy, replay).atexit = False  # the context may have gone by then

    def run() -> None:
        _checked(driver.cuGraphLaunch(replay, handle))

    return run


def _checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a driver call returned beside its status."""
    status, *values = result
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"The CUDA driver reports {status.name}; expected CUDA_SUCCESS.")
    return tuple(values)
