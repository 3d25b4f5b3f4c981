"""edge-calibrate: INT8 files for bundles, from subjects that were neither trained on nor judge them."""

import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from bundle.command import exit_status, tell
from bundle.manifest import INT8_ONNXRUNTIME, INT8_TENSORRT, Manifest, read_manifest, remove_unnamed, write_manifest

try:
    from tqdm import tqdm

    from calibration.calibrate import Fold, Outcome, calibrate, check_folds, parts_with, say_in_float
    from calibration.passport import passport
    from calibration.ranges import Method, activation_ranges
    from calibration.report import write_report
    from calibration.samples import (
        INPUTS,
        Samples,
        check_samples,
        make_samples,
        read_samples,
        subjects_of,
        write_samples,
    )
    from corpora.held_out import open_held_out
except ModuleNotFoundError as missing:
    sys.exit(f"edge-calibrate: {missing.name} is not installed; expected it. pip install -e '.[train]'")

PRECISIONS = INT8_TENSORRT, INT8_ONNXRUNTIME


def main(arguments: list[str] | None = None) -> int:
    """Calibrate; the exit status is 0 if the gate held, 1 if it did not or an error is told, 2 for wrong usage."""
    options = _parse_options(arguments)

    def run() -> int:
        outcomes = _calibrate(options)
        for outcome in outcomes:
            tell(_table(outcome))
        return 0 if all(outcome.held for outcome in outcomes) else 1

    return exit_status("edge-calibrate", run, stopped="the bundles are as they were")


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edge-calibrate",
        description="Add INT8 files to a bundle, and say whether they are as good as float on the subjects held out.",
    )
    parser.add_argument(
        "--bundle", type=Path, nargs="+", required=True,
        help="gets the INT8 files; several, one for each held-out fold, are judged together",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds ravdess-speech-16k/Actor_NN/ and fer2013.zip"
    )
    parser.add_argument("--method", choices=get_args(Method), default="MinMax", help="(default: %(default)s)")
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="calibration samples to use; if there is no FILE, it is made"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page with all figures and pictures; .html")
    options = parser.parse_args(arguments)
    if options.samples and len(options.bundle) > 1:
        parser.error("--samples holds those of one bundle; give one --bundle")
    for name, suffix in (("samples", ".npz"), ("report", ".html")):
        path: Path | None = getattr(options, name)
        is_kept = path and name == "samples" and path.exists()
        if path and (path.suffix != suffix or not (is_kept or os.access(path.parent, os.W_OK))):
            parser.error(f"--{name} is {path}; expected an {suffix} file in a folder that exists and can be written to")
    return options


def _calibrate(options: argparse.Namespace) -> list[Outcome]:
    """Both kinds of INT8 graphs. Files are made beside each bundle and moved at the end: a stop spoils nothing."""
    manifests = [read_manifest(folder) for folder in options.bundle]
    check_folds(manifests)
    with ExitStack() as stack:
        folds = []
        for folder, manifest in zip(options.bundle, manifests, strict=True):
            staging = Path(stack.enter_context(TemporaryDirectory(prefix=".calibration-", dir=folder)))
            folds.append(_open_fold(folder, manifest, staging, options))
        seed = manifests[0].training["seed"]
        in_float = say_in_float(folds)
        outcomes = [calibrate(folds, precision, in_float, seed) for precision in PRECISIONS]
        if options.report:
            write_report(options.report, folds, in_float, outcomes)
        for position, fold in enumerate(folds):
            calibrated = replace(
                fold.manifest,
                parts=parts_with(fold, PRECISIONS),
                calibration=passport(folds, position, options.method, outcomes),
            )
            write_manifest(fold.folder, calibrated, fold.staging)
            remove_unnamed(fold.folder, fold.manifest, calibrated)  # INT8 that did not hold this time
    return outcomes


def _open_fold(folder: Path, manifest: Manifest, staging: Path, options: argparse.Namespace) -> Fold:
    samples = _samples(manifest, options)
    check_samples(samples, manifest)
    ranges = {
        part: activation_ranges(
            folder / manifest.parts[part].files["float32"],
            tqdm(samples.batches(part), desc=f"ranges of {part}", leave=False),
            options.method,
        )
        for part in INPUTS
    }
    return Fold(folder, manifest, samples, ranges, open_held_out(folder, options.data), staging)


def _samples(manifest: Manifest, options: argparse.Namespace) -> Samples:
    subjects_of(manifest, "calibration")  # a bundle that cannot be calibrated is refused before its corpora are read
    if options.samples and options.samples.exists():
        return read_samples(options.samples)
    samples = make_samples(manifest, options.data)
    if options.samples:
        write_samples(options.samples, samples)
    return samples


def _table(outcome: Outcome) -> str:
    """The gate's figures, a line each."""
    layers = ", ".join(f"{part}: {layer}" for part, layer in outcome.left_in_float) or "none"
    lines = [f"{outcome.precision}: the gate {'held' if outcome.held else 'FAILED'}; layers left in float: {layers}"]
    lines += [
        f"  {'ok  ' if figure.held else 'FAIL'} {figure.of:<13} {figure.name:<28} {figure.value:+.4f} "
        f"[{figure.low:+.4f}, {figure.high:+.4f}], limit {figure.limit:g} of its "
        f"{'upper 95 % bound' if figure.bounded == 'high' else 'value'}"
        for figure in outcome.figures
    ]
    lines += [
        f"  worst subject {worst.of:<13} {worst.subject}: UAR drop {worst.uar_drop:+.4f}"
        for worst in outcome.worst_subjects
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
