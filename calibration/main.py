"""edge-calibrate: INT8 files for a bundle, from subjects that were neither trained on nor evaluated."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from bundle.errors import EdgeEmotionError
from bundle.features import EMBEDDING
from bundle.manifest import Manifest, Part, read_manifest, write_manifest
from calibration.batches import Batches, calibration_batches
from calibration.ranges import Method


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="edge-calibrate", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="gets the INT8 files")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds ravdess-speech-16k/Actor_NN/ and fer2013.zip"
    )
    parser.add_argument("--method", choices=get_args(Method), default="Entropy", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        manifest = read_manifest(options.bundle)
        batches = calibration_batches(manifest, options.data)
        with TemporaryDirectory(prefix=".calibration-", dir=options.bundle) as staging:  # a stop spoils nothing
            calibrated = calibrate_bundle(options.bundle, manifest, batches, options.method, Path(staging))
            for file in Path(staging).iterdir():
                file.replace(options.bundle / file.name)
        write_manifest(options.bundle, calibrated)
    except (EdgeEmotionError, OSError) as error:
        print(f"edge-calibrate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edge-calibrate: stopped; the bundle is as it was", file=sys.stderr)
        return 1
    for name, decibels in calibrated.calibration["sqnr_db"].items():
        print(f"{name}: {decibels:.1f} dB against float32", file=sys.stderr)
    return 0


def calibrate_bundle(
    folder: Path, manifest: Manifest, batches: Mapping[str, Batches], method: Method, target: Path
) -> Manifest:
    """Write two INT8 files for each encoder of `folder`'s bundle to `target`; returns the manifest that names them.

    The head stays in float: it is small, and an LSTM does not gain from INT8.
    """
    from calibration.qdq import write_for_onnxruntime, write_for_tensorrt
    from calibration.ranges import activation_ranges

    writers = {"int8-tensorrt": write_for_tensorrt, "int8-onnxruntime": write_for_onnxruntime}
    parts, sqnr_db = dict(manifest.parts), {}
    for name in tqdm(batches, desc="calibrate", leave=False):
        source = folder / parts[name].files["float32"]
        ranges = activation_ranges(source, batches[name], method)
        files = dict(parts[name].files)
        for precision, write in writers.items():
            files[precision] = f"{name}.{precision}.onnx"
            write(source, target / files[precision], ranges)
            sqnr_db[files[precision]] = _sqnr_db(source, target / files[precision], batches[name][::10])
        parts[name] = Part(files, parts[name].inputs, parts[name].outputs)
    passport: dict[str, Any] = {
        "subjects": sorted(manifest.training["split"]["calibration"]),
        "samples": {name: sum(len(next(iter(batch.values()))) for batch in batches[name]) for name in batches},
        "method": method,
        "sqnr_db": sqnr_db,
        "gate": "not run: the INT8 files are not used by edge-run",
    }
    return replace(manifest, parts=parts, calibration=passport)


def _sqnr_db(reference: Path, quantized: Path, batches: Batches) -> float:
    """Signal to quantization noise of the embeddings, dB."""
    from perception.onnxrt import OnnxRuntimeEngine

    signal = noise = 0.0
    engines = OnnxRuntimeEngine(reference), OnnxRuntimeEngine(quantized)
    for batch in batches:
        expected, found = (engine.run(batch)[EMBEDDING] for engine in engines)
        signal += float(np.square(expected).sum())
        noise += float(np.square(found - expected).sum())
    return round(10 * float(np.log10(signal / max(noise, 1e-30))), 2)


if __name__ == "__main__":
    sys.exit(main())
