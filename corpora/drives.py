"""A whole drive of composite clips, and what the runtime makes of it: the driver's state at each update."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bundle.features import VideoSpec
from corpora.composite import FacePool, face_track
from corpora.ravdess import Speech
from perception.chunks import AudioChunk, VideoChunk
from perception.face import Detect, FaceDetection
from perception.network import Network
from perception.pipeline import Perception
from perception.state import StateMachine

PAUSE_S = 0.5
"""Between clips, in which the sound is silent and the face stays as it was."""
ENLARGED = 4
"""Pixels of the image to one of a crop; the runtime's supersampling then returns the very crop."""

Wave = npt.NDArray[np.int16]
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Drive:
    """Clips one after another.

    wave : 16 kHz. images : gray [shape=(periods, size, size)], as long as the wave; each clip has one face of its
    emotion and its actor. labels : of the clips, as they were played. starts : the period in which each begins.
    """

    wave: Wave
    images: Images
    labels: tuple[int, ...]
    starts: tuple[int, ...]


def compose_drive(clips: Sequence[Speech], pool: FacePool, network: Network, rng: np.random.Generator) -> Drive:
    """Clips in an order that `rng` draws, each with a face from `pool`."""
    period = round(network.window.image_period_s * network.audio.sample_rate_hz)
    pause = round(PAUSE_S / network.window.image_period_s)
    spec = replace(network.video, mean=0, std=1)
    sound, faces, labels, starts, end = [], [], [], [], 0
    for number in rng.permutation(len(clips)):
        clip = clips[number]
        slots = -(-len(clip.wave) // period)
        track = face_track(pool.draw(clip.label, clip.actor, rng), spec, slots, rng)[:, 0]
        faces.append(np.pad(track, ((0, pause), (0, 0), (0, 0)), mode="edge"))
        sound.append(np.pad(clip.wave, (0, (slots + pause) * period - len(clip.wave))))
        labels.append(clip.label)
        starts.append(end)
        end += slots + pause
    images = np.rint(np.concatenate(faces)).clip(0, 255).astype(np.uint8)
    return Drive(np.concatenate(sound), images, tuple(labels), tuple(starts))


def states_of_drive(network: Network, wave: Wave, images: Images) -> Iterator[str]:
    """The driver's state at each update, by the runtime's own way from a detected face and sound to a state."""
    window = network.window
    perception = Perception(network, detect=_framed(network.video), microphone=True, start_ns=0)
    machine = StateMachine(network.labels)
    step = round(window.step_s * network.audio.sample_rate_hz)
    per_step = window.step_ns // window.image_period_ns
    for number in range(len(wave) // step):
        perception.push(AudioChunk(wave[number * step : (number + 1) * step], number * window.step_ns))
        for slot in range(number * per_step, (number + 1) * per_step):
            image = images[slot].repeat(ENLARGED, 0).repeat(ENLARGED, 1)[..., None].repeat(3, 2)
            perception.push(VideoChunk(image, slot * window.image_period_ns + window.image_period_ns // 2))
        yield machine.update(perception.estimate(number + 1)).state


def _framed(video: VideoSpec) -> Detect:
    """Finds a face that fills the image as it fills a crop."""

    def place(x: float, y: float) -> tuple[float, float]:
        """A point of the crop, in fractions, in the image, whose pixel centres are at whole numbers."""
        return ENLARGED * x * video.size_px - 0.5, ENLARGED * y * video.size_px - 0.5

    side = float(ENLARGED * video.size_px)
    eyes = place(video.eye_x, video.eye_y), place(1 - video.eye_x, video.eye_y)
    face = FaceDetection((0, 0, side, side), *eyes, mouth=place(0.5, 0.5), score=1.0)
    return lambda _: [face]
