"""edge-evaluate: figures of a bundle's float32 files on its held-out actors; or trainings'."""

import argparse
import json
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundle.command import exit_status
from bundle.manifest import DEFAULT_BUNDLE

if TYPE_CHECKING:
    from corpora.held_out import HeldOut

FIGURES = ".png", ".svg", ".pdf"


def main(arguments: list[str] | None = None) -> int:
    options = _parse_options(arguments)

    def evaluate() -> None:
        print(_compare(options) if options.runs else json.dumps(_evaluate(options), indent=2))

    return exit_status("edge-evaluate", evaluate, stopped="the same command begins anew")


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edge-evaluate",
        description="Evaluate a bundle, in float32, on the actors that it was not trained on (composite); or compare "
        "trainings.",
    )
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="(default: the built-in one)")
    parser.add_argument(
        "--data", type=Path, help="folder that holds ravdess-speech-16k/Actor_NN/ and fer2013.zip; for a bundle"
    )
    instead = parser.add_argument_group("instead of the plain figures").add_mutually_exclusive_group()
    instead.add_argument(
        "--robustness", action="store_true", help="recall under noise, reverberation, darkness, ..., level by level"
    )
    instead.add_argument(
        "--false-alarms", action="store_true", help="driver states over calm drives, and over those of other emotions"
    )
    instead.add_argument(
        "--runs", action="append", nargs="+", metavar="[NAME=]DIR",
        help="no bundle: folds of one training, by their folders or the one above; their predictions are pooled. "
        "Repeat it to set several trainings side by side",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", nargs=2, type=int, metavar=("A", "B"),
        help="with --runs: product and mean of the calibrated posteriors of the A-th and the B-th --runs, too",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="with --runs: JSON instead of Markdown tables")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE",
        help=f"with --robustness or --runs (confusion matrices): draw it too ({', '.join(FIGURES)})",
    )  # fmt: skip
    parser.add_argument(
        "--road-noise", type=float, default=inf, metavar="DB",
        help="with --false-alarms: drive in noise, the speech so many dB above it (default: none)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if not options.runs and options.data is None:
        parser.error("--data is missing; expected the folder of the corpora, or --runs")
    if (options.baseline or options.json) and not options.runs:
        parser.error("--baseline and --json are for --runs")
    if options.baseline and not {*options.baseline} <= {*range(1, len(options.runs) + 1)}:
        parser.error(f"--baseline is {options.baseline}; expected two of 1..{len(options.runs)}, the --runs in order")
    if options.road_noise != inf and not options.false_alarms:
        parser.error("--road-noise is for --false-alarms; --robustness has levels of its own")
    if not options.road_noise >= -100:
        parser.error(f"--road-noise is {options.road_noise}; expected -100 dB or more")
    if options.figure:
        if not options.robustness and not options.runs:
            parser.error("--figure draws what --robustness or --runs measures; give both")
        if options.figure.suffix not in FIGURES or not options.figure.parent.is_dir():
            parser.error(f"--figure is {options.figure}; expected a {', '.join(FIGURES)} file in a folder that exists")
    return options


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from corpora.held_out import open_held_out
    from training.false_alarms import measure_false_alarms
    from training.robustness import draw_robustness, measure_robustness

    held_out = open_held_out(options.bundle, options.data)
    if options.false_alarms:
        return measure_false_alarms(held_out, options.road_noise)
    if not options.robustness:
        return plain_figures(held_out)
    results = measure_robustness(held_out)
    if options.figure:
        draw_robustness(results, 1 / len(held_out.network.labels), options.figure)
    return results


def _compare(options: argparse.Namespace) -> str:
    """Tables of trainings' pooled predictions."""
    from training.pooled_figures import draw_confusion, markdown, pooled_figures
    from training.pools import baselines, pool_runs

    pools = []
    for run in options.runs:
        name, separator, first = run[0].partition("=")
        if not separator or Path(run[0]).exists():
            name, first = "", run[0]
        pools.append(pool_runs([Path(first), *map(Path, run[1:])], name or None))
    scores = [each for pool in pools for each in pool]
    if options.baseline:
        scores += baselines(*(pools[number - 1][0] for number in options.baseline))
    rows = [pooled_figures(each) for each in scores]
    if options.figure:
        draw_confusion(rows, options.figure)
    return json.dumps(rows, indent=2) if options.json else markdown(rows)


def plain_figures(held_out: "HeldOut") -> dict[str, dict[str, float]]:
    """Figures of each output on the composite windows of the held-out actors, as training states them."""
    from corpora.held_out import predict_windows
    from training.evaluate import figures_of_merit

    found = predict_windows(held_out.network, held_out)
    return {name: figures_of_merit(probs, found.labels) for name, probs in found.probs.items()}


if __name__ == "__main__":
    sys.exit(main())
