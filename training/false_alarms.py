"""How long a calm driver is called anything else, and how soon another emotion shows: states over a whole drive."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from bundle.labels import STATE_OF_EMOTION, STATES
from corpora.drives import compose_drive, states_of_drive
from corpora.held_out import HeldOut
from corpora.ravdess import Speech
from training.disturbances import with_road_noise


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
        drive = compose_drive(clips, held_out.pool, network, rng)
        states = states_of_drive(network, with_road_noise(drive.wave, snr_db, rng), drive.images)
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
