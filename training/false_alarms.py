"""How long a calm driver is called anything else, and how soon another emotion shows: states over a whole drive."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.features import VideoSpec
from bundle.labels import STATE_OF_EMOTION, STATES
from corpora.composite import FacePool, face_track
from corpora.ravdess import Speech
from perception.chunks import AudioChunk, VideoChunk
from perception.face import Detect, FaceDetection
from perception.network import Network
from perception.pipeline import Perception
from perception.state import StateMachine
from training.disturbances import with_road_noise
from training.held_out import HeldOut

PAUSE_S = 0.5
"""Between clips, in which the sound is silent and the face stays as it was."""
ENLARGED = 4
"""Pixels of the image to one of a crop; the runtime's supersampling then returns the very crop."""

Wave = npt.NDArray[np.int16]
Images = npt.NDArray[np.uint8]


def measure_false_alarms(held_out: HeldOut, snr_db: float = np.inf) -> dict[str, Any]:
    """Figures by what was played: neutral and calm clips together, and those of each other emotion.

    An actor's clips are one drive, `snr_db` above its road noise, and drawn anew as often as the bundle's training
    draws faces. "state" : the right one. "hours" : of all drives. "share_right" : of the time, 0..1.
    "seconds_per_hour" : in each other state. "delay_s" : until the right state was first reported in each drive, None
    where it never was.
    """
    network, labels = held_out.network, held_out.network.labels
    drives: dict[tuple[str, int], list[Speech]] = {}
    for clip in held_out.speech:
        calm = STATE_OF_EMOTION[labels[clip.label]] == "calm"
        drives.setdefault(("neutral and calm" if calm else labels[clip.label], clip.actor), []).append(clip)
    played: dict[str, list[list[str]]] = {}
    plays = [(name, clips, draw) for (name, _), clips in drives.items() for draw in range(held_out.draws)]
    for name, clips, draw in tqdm(plays, desc="drives", leave=False):
        rng = np.random.default_rng((held_out.seed, clips[0].actor, clips[0].label, draw))
        wave, images = compose_drive(clips, held_out.pool, network, rng)
        states = states_of_drive(network, with_road_noise(wave, snr_db, rng), images)
        played.setdefault(name, []).append([*states])
    right = {name: STATE_OF_EMOTION[labels[clips[0].label]] for (name, _), clips in drives.items()}
    return {name: figures_of_drives(found, right[name], network.window.step_s) for name, found in played.items()}


def figures_of_drives(drives: Sequence[Sequence[str]], right: str, step_s: float) -> dict[str, Any]:
    """Of the states at each update of some drives, all of which should be `right`; see `measure_false_alarms`."""
    states = [state for drive in drives for state in drive]
    hours = len(states) * step_s / 3600
    return {
        "state": right,
        "hours": round(hours, 4),
        "share_right": states.count(right) / len(states),
        "seconds_per_hour": {
            state: round(states.count(state) * step_s / hours, 1) for state in STATES if state != right
        },
        "delay_s": [round((drive.index(right) + 1) * step_s, 3) if right in drive else None for drive in drives],
    }


def compose_drive(
    clips: Sequence[Speech], pool: FacePool, network: Network, rng: np.random.Generator
) -> tuple[Wave, Images]:
    """Clips one after another, in an order that `rng` draws: sound, and a face per image period.

    Returns
    -------
    wave : 16 kHz. images : uint8 gray [shape=(periods, size, size)], as long as the wave; each clip has one face of its
    emotion and its actor.
    """
    period = round(network.window.image_period_s * network.audio.sample_rate_hz)
    pause = round(PAUSE_S / network.window.image_period_s)
    spec = replace(network.video, mean=0, std=1)
    sound, faces = [], []
    for number in rng.permutation(len(clips)):
        clip = clips[number]
        slots = -(-len(clip.wave) // period)
        track = face_track(pool.draw(clip.label, clip.actor, rng), spec, slots, rng)[:, 0]
        faces.append(np.pad(track, ((0, pause), (0, 0), (0, 0)), mode="edge"))
        sound.append(np.pad(clip.wave, (0, (slots + pause) * period - len(clip.wave))))
    return np.concatenate(sound), np.rint(np.concatenate(faces)).clip(0, 255).astype(np.uint8)


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
            perception.push(VideoChunk(image, slot * window.image_period_ns))
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
