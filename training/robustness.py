"""How a bundle's figures stand what a car does: the same clips and faces under each disturbance, level by level."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.features import FACE, PROBS, PROBS_AUDIO, PROBS_FUSED, PROBS_VISUAL, SPECTROGRAM
from corpora.composite import audio_slots, composite_window
from corpora.held_out import Floats, HeldOut, Slots, embed, head_probs
from corpora.ravdess import Speech
from training import disturbances
from training.evaluate import figures_of_merit

Disturb = Callable[[npt.NDArray, float, np.random.Generator], npt.NDArray]


@dataclass(frozen=True)
class Sweep:
    """A disturbance and the levels at which it is measured.

    output : the one that it touches, besides the fused. clean : level that changes nothing, an end of the scale or not.
    """

    disturb: Disturb
    output: str
    unit: str
    levels: Sequence[float]
    clean: float = 0.0


SWEEPS: Mapping[str, Sweep] = {
    "gain": Sweep(disturbances.amplified, PROBS_AUDIO, "dB", (-20, -10, 10, 20, 30)),
    "road noise": Sweep(disturbances.with_road_noise, PROBS_AUDIO, "dB SNR", (40, 30, 20, 10, 0, -10), np.inf),
    "reverberation": Sweep(disturbances.reverberated, PROBS_AUDIO, "ms RT60", (50, 100, 200, 400)),
    "darkness": Sweep(disturbances.darkened, PROBS_VISUAL, "stops", (1, 2, 3, 4, 5)),
    "blur": Sweep(disturbances.blurred, PROBS_VISUAL, "px", (0.5, 1, 2, 3)),
    "occlusion": Sweep(disturbances.occluded, PROBS_VISUAL, "share", (0.1, 0.2, 0.3, 0.5)),
    "rotation": Sweep(disturbances.rotated, PROBS_VISUAL, "degrees", (5, 10, 20, 30, 45)),
}
CLEAN = "clean", 0.0

Condition = tuple[str, float]
"""Name of a sweep and a level of it, or CLEAN."""


def measure_robustness(held_out: HeldOut) -> dict[str, Any]:
    """Unweighted average recall by output: "clean", and a list of levels by disturbance.

    Each clip has one face, and one draw of each disturbance for all its levels.
    """
    probs: dict[Condition, list[Mapping[str, Floats]]] = {}
    for number, clip in enumerate(tqdm(held_out.speech, desc="robustness", leave=False)):
        for condition, outputs in _probs_of_clip(held_out, number, clip):
            probs.setdefault(condition, []).append(outputs)
    labels = np.array([clip.label for clip in held_out.speech])

    def uar(condition: Condition, names: Sequence[str]) -> dict[str, float]:
        rows = {name: np.stack([outputs[name] for outputs in probs[condition]]) for name in names}
        return {name: figures_of_merit(rows[name], labels)["uar"] for name in names}

    return {"clean": uar(CLEAN, PROBS)} | {
        name: [
            {"level": level, "unit": sweep.unit} | uar((name, level), (sweep.output, PROBS_FUSED))
            for level in sweep.levels
        ]
        for name, sweep in SWEEPS.items()
    }


def _probs_of_clip(held_out: HeldOut, number: int, clip: Speech) -> Iterator[tuple[Condition, Mapping[str, Floats]]]:
    """The window of one clip under every condition; only the encoder that a disturbance touches runs again."""
    network, specs = held_out.network, held_out.specs
    audio, video, spec = specs
    window = composite_window(clip, held_out.pool, specs, np.random.default_rng((held_out.seed, number, 0)))
    images = np.rint(window.faces[:, 0] * video.std + video.mean).clip(0, 255).astype(np.uint8)

    def seen(images: npt.NDArray[np.uint8]) -> Slots:
        faces = (images[:, None] - np.float32(video.mean)) / np.float32(video.std)
        return embed(network.engines["visual"], FACE, faces, window.visual_mask), window.visual_mask

    def heard(wave: npt.NDArray[np.int16]) -> Slots:
        segments, mask = audio_slots(wave, audio, spec)
        return embed(network.engines["audio"], SPECTROGRAM, segments, mask), mask

    clean_face, clean_voice = seen(images), heard(clip.wave)
    yield CLEAN, head_probs(network, clean_face, clean_voice)
    for position, (name, sweep) in enumerate(SWEEPS.items()):
        for level in sweep.levels:
            rng = np.random.default_rng((held_out.seed, number, 1, position))
            if sweep.output == PROBS_AUDIO:
                face, voice = clean_face, heard(sweep.disturb(clip.wave, level, rng))
            else:
                face, voice = seen(sweep.disturb(images, level, rng)), clean_voice
            yield (name, level), head_probs(network, face, voice)


STYLES: Mapping[str, Mapping[str, Any]] = {
    PROBS_FUSED: {"label": "fused", "color": "#000000", "marker": "o"},
    PROBS_AUDIO: {"label": "audio alone", "color": "#0072B2", "marker": "s"},
    PROBS_VISUAL: {"label": "face alone", "color": "#D55E00", "marker": "^"},
}
"""Colours of Okabe & Ito (2008), told apart by the colour-blind."""
OTHER_STYLE = {"label": "the other one alone, undisturbed", "color": "#666666", "linestyle": "--", "linewidth": 1}
CHANCE_STYLE = {"label": "chance", "color": "#666666", "linestyle": ":"}


def draw_robustness(results: Mapping[str, Any], chance: float, path: Path) -> None:
    """Write the curves of `measure_robustness` as a picture, a panel per disturbance; chance : recall of a guess."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    *panels, legend = figure.subplots(2, 4, sharey=True).ravel()
    for panel, (name, sweep) in zip(panels, SWEEPS.items(), strict=True):
        recalls = {sweep.clean: results["clean"]} | {row["level"]: row for row in results[name]}
        levels = sorted(recalls, reverse=sweep.clean == max(recalls))
        for output in (sweep.output, PROBS_FUSED):
            panel.plot([recalls[level][output] for level in levels], **STYLES[output])
        other = PROBS_VISUAL if sweep.output == PROBS_AUDIO else PROBS_AUDIO
        panel.axhline(results["clean"][other], **OTHER_STYLE | {"color": STYLES[other]["color"]})
        panel.axhline(chance, **CHANCE_STYLE)
        panel.set_xticks(range(len(levels)), ["clean" if level == sweep.clean else f"{level:g}" for level in levels])
        panel.set(title=name, xlabel=sweep.unit, ylim=(0, 1))
        panel.grid(alpha=0.3)
    for panel in panels[::4]:
        panel.set_ylabel("unweighted average recall")
    for style in (*STYLES.values(), OTHER_STYLE, CHANCE_STYLE):
        legend.plot([], [], **style)
    legend.axis("off")
    legend.legend(loc="center", frameon=False)
    FigureCanvasAgg(figure).print_figure(path, dpi=110)
