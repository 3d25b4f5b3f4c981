"""What a bundle says of the subjects held out as the driver's state over whole drives; and several folds as one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.features import PROBS
from bundle.labels import STATE_OF_EMOTION
from corpora.drives import Drive, compose_drive, states_of_drive
from corpora.held_out import HeldOut, Ints, Predictions
from perception.network import Network

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Driven:
    """Of n subjects, each on a drive of all its clips; all [shape=(n,)].

    hours : of the drive. flips : changes of the state that was reported. changes : clips that ask for another state
    than the one before. delay_s : from their starts until it was reported, or they ended without it; summed.
    """

    subjects: Ints
    hours: Numbers
    flips: Numbers
    changes: Numbers
    delay_s: Numbers


def drive_subjects(network: Network, held_out: HeldOut) -> Driven:
    """The network on one drive of each subject held out: the same drives for each network."""
    subjects = sorted({clip.actor for clip in held_out.speech})
    rows: list[tuple[float, ...]] = []
    for subject in tqdm(subjects, desc="drives", leave=False):
        clips = [clip for clip in held_out.speech if clip.actor == subject]
        rng = np.random.default_rng((held_out.seed, subject))
        drive = compose_drive(clips, held_out.pool, network, rng)
        states = [*states_of_drive(network, drive.wave, drive.images)]
        delays = detection_delays_s(drive, states, network)
        rows.append((len(states) * network.window.step_s / 3600, count_flips(states), len(delays), sum(delays)))
    return Driven(np.array(subjects), *np.array(rows).T)


def count_flips(states: Sequence[str]) -> int:
    """How often the state at an update differs from the one before."""
    return sum(before != after for before, after in pairwise(states))


def detection_delays_s(drive: Drive, states: Sequence[str], network: Network) -> list[float]:
    """For each clip whose state differs from that of the clip before: seconds from its start until it is reported.

    Where it never is, until the clip and its pause end: to leave those out would reward a network that misses more.
    """
    period_ns, step_ns = network.window.image_period_ns, network.window.step_ns
    wanted = [STATE_OF_EMOTION[network.labels[label]] for label in drive.labels]
    ends = [*drive.starts[1:], len(drive.images)]
    delays = []
    for number in range(1, len(wanted)):
        if wanted[number] == wanted[number - 1]:
            continue
        start_ns, end_ns = drive.starts[number] * period_ns, ends[number] * period_ns
        updates = range(start_ns // step_ns, min(end_ns // step_ns, len(states)))  # update n is at (n + 1) steps
        hits = ((n + 1) * step_ns for n in updates if states[n] == wanted[number])
        delays.append((next(hits, end_ns) - start_ns) / 1e9)
    return delays


def join_predictions(folds: Sequence[Predictions]) -> Predictions:
    """Those of several folds as one."""
    subjects, labels = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("subjects", "labels"))
    return Predictions(subjects, labels, {name: np.concatenate([fold.probs[name] for fold in folds]) for name in PROBS})


def join_drives(folds: Sequence[Driven]) -> Driven:
    """Those of several folds as one."""
    names = [field.name for field in fields(Driven)]
    return Driven(*(np.concatenate([getattr(fold, name) for fold in folds]) for name in names))
