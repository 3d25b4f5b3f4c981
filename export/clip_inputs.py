"""What each part of a bundle gets to see in a clip, for comparing on real input."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.manifest import read_manifest
from perception.clip import decode_clip
from perception.engine import Engine, Tensors
from perception.network import Network, network_from_engines
from perception.onnxrt import OnnxRuntimeEngine
from perception.pipeline import Perception


class RecordingEngine:
    """An engine that keeps its inputs."""

    def __init__(self, engine: Engine) -> None:
        self.name, self._engine = engine.name, engine
        self.seen: list[Tensors] = []

    def run(self, inputs: Tensors) -> Tensors:
        self.seen.append({name: value.copy() for name, value in inputs.items()})
        return self._engine.run(inputs)


def clip_inputs(folder: Path, clip: Path, count: int) -> dict[str, dict[str, npt.NDArray[np.float32]]]:
    """Up to `count` inputs of each part, spread over the clip, batch first, as the float32 bundle makes them.

    Raises
    ------
    InputError : a part sees nothing in the clip: no face, or no speech.
    """
    manifest = read_manifest(folder)
    engines = {
        name: RecordingEngine(OnnxRuntimeEngine(folder / part.files["float32"]))
        for name, part in manifest.parts.items()
    }
    _perceive(network_from_engines(manifest, engines), clip)
    inputs = {}
    for name, engine in engines.items():
        if not engine.seen:
            raise InputError(f"{clip} gives {name} nothing to see; expected a clip with a face and speech.")
        chosen = np.linspace(0, len(engine.seen) - 1, min(count, len(engine.seen))).round().astype(int)
        inputs[name] = {
            tensor: np.concatenate([engine.seen[index][tensor] for index in chosen]) for tensor in engine.seen[0]
        }
    return inputs


def _perceive(network: Network, clip: Path) -> None:
    from perception.mediapipe_face import MediaPipeFaceDetector

    perception = Perception(network, detect=MediaPipeFaceDetector().detect, microphone=True, start_ns=0)
    number = 1
    for chunk in decode_clip(clip):
        perception.push(chunk)
        while number * network.window.step_ns <= chunk.captured_ns:
            perception.estimate(number)
            number += 1
