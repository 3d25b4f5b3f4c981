"""The canary: what an engine must get right at start, before the loop trusts it."""

import numpy as np
import numpy.typing as npt

from bundle.errors import EngineError
from bundle.features import WindowSpec
from bundle.manifest import Part
from edge.clock import now_ns
from perception.engine import Engine, Tensors, check_finite
from perception.parity import random_inputs, sqnr_db

GOLDEN = 4
"""Golden inputs of a part."""

MAX_SHARE = 0.5
"""Of the time between updates that the runs of one part in it may take: faces, sound and other parts need the rest."""


def golden_inputs(part: Part) -> list[Tensors]:
    """Single inputs in the manifest's shapes, from a seed: the same every time. Masks are zeros and ones."""
    batch = random_inputs(part.inputs, GOLDEN)
    inputs = {name: value if name.endswith("_mask") else _brown(value) for name, value in batch.items()}
    return [{name: value[row : row + 1] for name, value in inputs.items()} for row in range(GOLDEN)]


def golden_outputs(engine: Engine, part: Part) -> tuple[Tensors, int]:
    """What an engine makes of the golden inputs [shape=(GOLDEN, ...)], and the nanoseconds of its fastest run.

    The first run is not timed: it may load kernels. One slow run is no finding on a machine that does other things.

    Raises
    ------
    EngineError : an output is missing, of another shape, or not finite.
    """
    inputs = golden_inputs(part)
    engine.run(inputs[0])
    outputs, took_ns = [], []
    for given in inputs:
        begun_ns = now_ns()
        outputs.append(engine.run(given))
        took_ns.append(now_ns() - begun_ns)
        _check_form(outputs[-1], part)
    return {name: np.concatenate([output[name] for output in outputs]) for name in part.outputs}, min(took_ns)


def decibels(outputs: Tensors, expected: Tensors, name: str) -> float:
    """Signal to noise of one golden output; the signal is its difference from the mean of the inputs' outputs."""
    mean = expected[name].mean(0)
    return sqnr_db(expected[name] - mean, outputs[name] - mean)


def check_values(outputs: Tensors, expected: Tensors, least_db: float) -> None:
    """EngineError where golden outputs are too far from those expected."""
    for name, value in expected.items():
        found_db = decibels(outputs, expected, name)
        if found_db < least_db:
            error = float(np.abs(outputs[name] - value).max())
            raise EngineError(
                f"{name} is off by up to {error:.2g}: {found_db:.0f} dB against ONNX Runtime; "
                f"expected {least_db:.0f} dB or more"
            )


def check_time(took_ns: int, part: str, window: WindowSpec) -> None:
    """EngineError where the runs of a part in an update take too much of its time."""
    runs = window.step_ns // window.image_period_ns if part == "visual" else 1
    share = took_ns * runs / window.step_ns
    if share > MAX_SHARE:
        raise EngineError(
            f"it is too slow: {runs} x {took_ns / 1e6:.0f} ms are {share:.0%} of the {window.step_ns / 1e6:.0f} ms "
            f"between updates; expected at most {MAX_SHARE:.0%}"
        )


def _brown(noise: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Noise summed along its last two axes, of mean 0 and deviation 1: it varies slowly, as faces and speech do.

    White noise all looks the same to the audio encoder.
    """
    axes = tuple(range(1, noise.ndim))
    for axis in axes[-2:]:
        noise = noise.cumsum(axis)
    return (noise - noise.mean(axes, keepdims=True)) / noise.std(axes, keepdims=True)


def _check_form(outputs: Tensors, part: Part) -> None:
    for name, shape in part.outputs.items():
        found = outputs[name].shape if name in outputs else "absent"
        if found != (1, *shape):
            raise EngineError(f"{name} is {found}; expected {(1, *shape)}")
    check_finite(outputs)
