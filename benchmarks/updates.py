"""Our side of a comparison: the runtime's own perception, fed with images and sound, one update after another."""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.untrained import UntrainedPart, untrained, untrained_parts, with_int8, with_int8_head
from bundle.features import (
    AUDIO_EMBEDDINGS,
    AUDIO_MASK,
    EMBEDDING,
    VISUAL_EMBEDDINGS,
    VISUAL_MASK,
    AudioSpec,
    VideoSpec,
    WindowSpec,
)
from bundle.labels import RAVDESS_LABELS
from bundle.manifest import FLOAT32
from networks.mrpn import VARIANTS
from perception.chunks import AudioChunk, VideoChunk
from perception.engine import Engine, Tensors
from perception.face import FaceDetection
from perception.network import Network
from perception.onnxrt import OnnxRuntimeEngine
from perception.pipeline import Perception

SPECS = {
    "slim": (AudioSpec(), VideoSpec()),
    "full": (AudioSpec(highpass_hz=0.0, hop_length=64, output="logmag"), VideoSpec(size_px=224)),
}
"""Features of MRPN by variant: the default bundle's, and the paper's 256 x 250 segments and faces of 224 pixels."""

FPS = 10
"""Images per second that are encoded, whatever the camera gives."""

IMAGES = 7
"""Different images, shown in turn."""


class Variant:
    """MRPN of one size, untrained, as what we and peers need of it.

    Parameters
    ----------
    name : of `SPECS`. folder : for its ONNX files. encoders : of another window's variant, which are the same.
    """

    def __init__(
        self, name: str, folder: Path, window: WindowSpec = WindowSpec(),  # noqa: B008 (immutable)
        encoders: Mapping[str, UntrainedPart] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.window = name, window
        self.audio, self.video = SPECS[name]
        images, segments = window.image_slots, window.segment_slots(self.audio)
        config = replace(VARIANTS[name], labels=len(RAVDESS_LABELS), image_slots=images, segment_slots=segments)
        parts = untrained("mrpn", config).parts()
        if encoders:
            self.parts = {**encoders, **untrained_parts({"head": parts["head"]}, folder)}
        else:
            self.parts = untrained_parts(parts, folder)
            for part, chunks in self.remember()[0].items():
                tensor = next(iter(self.parts[part].part.inputs))
                self.parts[part] = with_int8(self.parts[part], {tensor: chunks})
        self.parts["head"] = with_int8_head(self.parts["head"])

    @property
    def encoders(self) -> Mapping[str, UntrainedPart]:
        return {name: part for name, part in self.parts.items() if name != "head"}

    def engines(self, precision: str = FLOAT32, threads: int = 1) -> dict[str, Engine]:
        """ONNX Runtime for each part."""
        return {name: OnnxRuntimeEngine(part.file(precision), threads=threads) for name, part in self.parts.items()}

    def remember(self, precision: str = FLOAT32) -> tuple[dict[str, npt.NDArray[np.float32]], Tensors]:
        """A window as updates met it: its chunks [shape=(slots, ...)] by encoder, and what the updates said of it."""
        engines = self.engines(precision)
        slots = {"visual": self.window.image_slots, "audio": self.window.segment_slots(self.audio)}
        remembering = {name: Remembering(engines[name], count) for name, count in slots.items()}
        outputs = Updates(self.opened({**engines, **remembering})).outputs()
        return {name: engine.chunks() for name, engine in remembering.items()}, outputs

    def opened(self, engines: Mapping[str, Engine]) -> Network:
        """What the runtime would open."""
        sizes = {name: self.parts[name].part.outputs[EMBEDDING][0] for name in ("visual", "audio")}
        return Network(self.name, RAVDESS_LABELS, self.audio, self.video, self.window, engines, sizes)


class Updates:
    """Perception of a drive that never ends, from 720p images whose faces are found for nothing.

    Parameters
    ----------
    fps : images per second of the camera, a multiple of the updates'. faces : in each image; one of them is the driver.
    """

    def __init__(self, network: Network, fps: int = FPS, faces: int = 1) -> None:
        self._head, window = network.engines["head"], network.window
        self._step_ns, self._images_per_step = window.step_ns, round(fps * window.step_s)
        self._number = 0
        rng, found = np.random.default_rng(0), [_face(number) for number in range(faces)]
        self._images, self._waves = cycle(_images(rng)), cycle(_sound(rng, network.audio))
        self._perception = Perception(network, detect=lambda _: found, microphone=True, start_ns=0)
        for _ in range(round((window.window_s + network.audio.segment_s) / window.step_s)):
            self.update()

    def update(self) -> None:
        """One update: all that the runtime does between camera, microphone and probabilities, but finding faces."""
        self.push()
        self.estimate()

    def push(self) -> None:
        """What the encoders do for an update."""
        begin_ns, interval_ns = self._number * self._step_ns, self._step_ns // self._images_per_step
        for number in range(1, self._images_per_step + 1):
            self._perception.push(VideoChunk(next(self._images), begin_ns + number * interval_ns))
        self._perception.push(AudioChunk(next(self._waves), begin_ns))
        self._number += 1

    def estimate(self) -> None:
        """What the head does for an update."""
        self._perception.estimate(self._number)

    def outputs(self) -> Tensors:
        """All that the head says of the newest window, every slot of which holds something."""
        seen = self._perception.observe(self._number)
        if not (seen.visual_mask.all() and seen.audio_mask.all()):
            raise RuntimeError("The window has gaps; the comparison would not be one.")
        return self._head.run(full_window(seen.visual, seen.audio))


class Remembering:
    """An engine that keeps its newest inputs: the chunks of a window, as the runtime made them."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self.name, self._engine = engine.name, engine
        self._inputs: deque[npt.NDArray[np.float32]] = deque(maxlen=slots)

    def run(self, inputs: Tensors) -> Tensors:
        self._inputs.extend(value.copy() for value in inputs.values())
        return self._engine.run(inputs)

    def chunks(self) -> npt.NDArray[np.float32]:
        """[shape=(slots, ...)], the newest last."""
        return np.concatenate(list(self._inputs))


def full_window(visual: npt.NDArray[np.float32], audio: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """The head's input, a batch of one, from the embeddings of all slots."""
    return {
        VISUAL_EMBEDDINGS: visual[None],
        VISUAL_MASK: np.ones((1, len(visual)), np.float32),
        AUDIO_EMBEDDINGS: audio[None],
        AUDIO_MASK: np.ones((1, len(audio)), np.float32),
    }


def _images(rng: np.random.Generator) -> list[npt.NDArray[np.uint8]]:
    coarse = [rng.integers(0, 256, (90, 160, 3), np.uint8) for _ in range(IMAGES)]
    return [cv2.resize(image, (1280, 720), interpolation=cv2.INTER_CUBIC) for image in coarse]


def _sound(rng: np.random.Generator, audio: AudioSpec) -> list[npt.NDArray[np.int16]]:
    """Eleven seconds of noise in steps: more than what standardisation remembers."""
    wave = rng.standard_normal(11 * audio.sample_rate_hz) * 3_000 * (1 + np.sin(np.arange(11 * audio.sample_rate_hz)))
    return list(wave.astype(np.int16).reshape(-1, audio.step_samples))


def _face(number: int) -> FaceDetection:
    """The driver's face, and others behind it, ever smaller."""
    x, size = 480.0 + 60 * number, 280.0 / (number + 1)
    eye_y = 200 + 0.4 * size
    return FaceDetection(
        (x, 200.0, x + size, 200.0 + size), (x + 0.3 * size, eye_y), (x + 0.7 * size, eye_y),
        (x + 0.5 * size, 200 + 0.75 * size), 0.9,
    )  # fmt: skip
