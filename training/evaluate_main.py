"""edge-evaluate: a bundle's figures on its held-out actors, through the engines that edge-run uses."""

import argparse
import json
import sys
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bundle.errors import EdgeEmotionError
from bundle.features import PROBS
from bundle.manifest import DEFAULT_BUNDLE
from corpora.composite import composite_windows
from corpora.held_out import HeldOut, open_held_out, probs_of_window
from training.evaluate import figures_of_merit
from training.false_alarms import measure_false_alarms
from training.robustness import draw_robustness, measure_robustness

FIGURES = ".png", ".svg", ".pdf"


def main(arguments: list[str] | None = None) -> int:
    options = _parse_options(arguments)
    try:
        print(json.dumps(_evaluate(options), indent=2))
    except (EdgeEmotionError, OSError) as error:
        print(f"edge-evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edge-evaluate: stopped", file=sys.stderr)
        return 1
    return 0


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edge-evaluate", description="Evaluate a bundle on the actors that it was not trained on (composite)."
    )
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="(default: the built-in one)")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds ravdess-speech-16k/Actor_NN/ and fer2013.zip"
    )
    instead = parser.add_argument_group("instead of the plain figures").add_mutually_exclusive_group()
    instead.add_argument(
        "--robustness", action="store_true", help="recall under noise, reverberation, darkness, ..., level by level"
    )
    instead.add_argument(
        "--false-alarms", action="store_true", help="driver states over calm drives, and over those of other emotions"
    )
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help=f"with --robustness: draw it too ({', '.join(FIGURES)})"
    )
    parser.add_argument(
        "--road-noise", type=float, default=inf, metavar="DB",
        help="with --false-alarms: drive in noise, the speech so many dB above it (default: none)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.road_noise != inf and not options.false_alarms:
        parser.error("--road-noise is for --false-alarms; --robustness has levels of its own")
    if not options.road_noise >= -100:
        parser.error(f"--road-noise is {options.road_noise}; expected -100 dB or more")
    if options.figure:
        if not options.robustness:
            parser.error("--figure draws what --robustness measures; give both")
        if options.figure.suffix not in FIGURES or not options.figure.parent.is_dir():
            parser.error(f"--figure is {options.figure}; expected a {', '.join(FIGURES)} file in a folder that exists")
    return options


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    held_out = open_held_out(options.bundle, options.data)
    if options.false_alarms:
        return measure_false_alarms(held_out, options.road_noise)
    if not options.robustness:
        return plain_figures(held_out)
    results = measure_robustness(held_out)
    if options.figure:
        draw_robustness(results, 1 / len(held_out.network.labels), options.figure)
    return results


def plain_figures(held_out: HeldOut) -> dict[str, dict[str, float]]:
    """Figures of each output on the composite windows of the held-out actors, as training states them."""
    speech, draws = held_out.speech, held_out.draws
    windows = composite_windows(speech, held_out.pool, held_out.specs, held_out.seed, draws)
    labels, outputs = [], []
    for window in tqdm(windows, total=len(speech) * draws, desc="evaluate", leave=False):
        labels.append(window.label)
        outputs.append(probs_of_window(held_out.network, window))
    return {name: figures_of_merit(np.stack([output[name] for output in outputs]), np.array(labels)) for name in PROBS}


if __name__ == "__main__":
    sys.exit(main())
