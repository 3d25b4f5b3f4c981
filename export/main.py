"""edge-export: checkpoint to ONNX to bundle to engines, each step compared with the one before."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bundle.command import exit_status, tell
from bundle.errors import ArgumentError, ArtefactError
from bundle.folders import engine_folder
from bundle.manifest import DEFAULT_BUNDLE, Manifest, Part, read_manifest, remove_unnamed, write_manifest

if TYPE_CHECKING:
    from bundle.engine_cache import Precision
    from export.onnx_from_checkpoint import ExportedPart

LICENCE = "CC BY-NC-SA 4.0 (non-commercial: trained on RAVDESS)"
LICENCES = {"crema-d": "ODbL 1.0, contents DbCL 1.0 (trained on CREMA-D)"}
"""Of weights, by the corpus that they were trained on; LICENCE for all others."""

PRECISIONS: tuple["Precision", ...] = ("float32", "float16", "int8")

ENGINE_DEFAULTS = {"flavour": None, "compute_capability": None, "max_batch": 8, "workspace_mb": 1024, "rebuild": False}
"""Of the options of commands that build engines."""

LEFT = {
    "bundle": "{output} is as it was, the same command makes the bundle",
    "onnx": "{output} may lack parts, the same command writes them all",
    "float16": "{bundle} is as it was",
    "engine": "engines that were built are kept, the same command builds the rest",
    "compare": "nothing is lost",
}
"""What a stopped command leaves."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    commands = {
        "bundle": _export_bundle, "onnx": _export_onnx, "float16": _add_float16, "compare": _compare,
        "engine": _build_engines,
    }  # fmt: skip
    return exit_status(
        "edge-export", lambda: commands[options.command](options),
        stopped=LEFT[options.command].format(**vars(options)),
        extra="tensorrt" if options.command == "engine" else "train",
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-export", description="Export a trained network, and build engines.")
    commands = parser.add_subparsers(dest="command", required=True)

    bundle = commands.add_parser("bundle", help="checkpoint of mrpn to a bundle folder that edge-run reads")
    bundle.add_argument("--checkpoint", type=Path, required=True, help="mrpn.pt, written by edge-train")
    bundle.add_argument("--output", type=Path, required=True, help="folder of the new bundle")
    bundle.add_argument("--name", help="of the bundle, shown in messages (default: the folder's name)")
    bundle.add_argument("--licence", help="of the weights (default: that of their corpus)")

    onnx = commands.add_parser("onnx", help="checkpoint of any system to one ONNX file for each of its parts")
    onnx.add_argument("--checkpoint", type=Path, required=True, help="written by edge-train")
    onnx.add_argument("--output", type=Path, required=True, help="folder for the files")

    half = commands.add_parser("float16", help="add float16 files to a bundle, or make them anew")
    half.add_argument("--bundle", type=Path, required=True)

    engine = commands.add_parser("engine", help="bundle to TensorRT engines, kept in the cache")
    source = engine.add_mutually_exclusive_group()
    source.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="(default: the default bundle)")
    source.add_argument("--onnx", type=Path, nargs="+", help="files of edge-export onnx, instead of a bundle")
    engine.add_argument(
        "--precision", choices=PRECISIONS,
        help="of a bundle the lowest, others where a part has no such file (default: float16); of --onnx its own",
    )  # fmt: skip
    _add_engine_options(engine)

    compare = commands.add_parser("compare", help="error and SQNR of each output after each step of the export")
    compare.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="(default: the default bundle)")
    compare.add_argument("--checkpoint", type=Path, help="that the bundle was exported from: compare with PyTorch too")
    compare.add_argument("--clip", type=Path, help="whose faces and speech are the inputs (default: seeded noise)")
    compare.add_argument("--engines", action="store_true", help="build engines of all precisions, and look into them")
    _add_engine_options(compare)
    for command in (onnx, engine, compare):
        command.add_argument("--json", action="store_true", help="write what was found to standard output as JSON")
    return parser


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--flavour", choices=("tensorrt", "tensorrt_rtx"), help="(default: the first of these that is installed)"
    )
    parser.add_argument(
        "--compute-capability", type=int, metavar="CC",
        help="of the GPU to build for, such as 89; TensorRT-RTX alone builds for absent ones (default: this machine's)",
    )  # fmt: skip
    parser.add_argument("--max-batch", type=int, help="largest batch (default: %(default)s)")
    parser.add_argument(
        "--workspace-mb",
        type=int,
        help="memory of a layer, of engines that are built anew: see --rebuild (default: %(default)s)",
    )
    parser.add_argument("--rebuild", action="store_true", help="build anew what is in the cache")
    parser.set_defaults(**ENGINE_DEFAULTS)


def _export_bundle(options: argparse.Namespace) -> int:
    from export.onnx_from_checkpoint import bundle_manifest, check_deployable, export_parts, read_checkpoint

    folder = options.output
    checkpoint = read_checkpoint(options.checkpoint)
    check_deployable(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    before = _bundle_in(folder)
    with TemporaryDirectory(prefix=".export-", dir=folder) as staging:
        exported = export_parts(checkpoint, Path(staging))
        _print_parts(exported)
        parts = {name: part.part for name, part in exported.items()}
        name = options.name or folder.resolve().name
        licence = options.licence or LICENCES.get(checkpoint.corpus, LICENCE)
        write_manifest(folder, bundle_manifest(name, checkpoint, parts, licence), Path(staging))
    manifest = read_manifest(folder)
    if before:
        remove_unnamed(folder, before, manifest)
    size = sum((folder / file).stat().st_size for part in manifest.parts.values() for file in part.files.values())
    print(f"{folder}: {', '.join(manifest.parts)}; {size / 1e6:.1f} MB, verified", file=sys.stderr)
    return 0


def _bundle_in(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except ArtefactError:  # none, or one whose files nobody knows
        return None


def _export_onnx(options: argparse.Namespace) -> int:
    from export.onnx_from_checkpoint import export_parts, read_checkpoint

    checkpoint = read_checkpoint(options.checkpoint)
    options.output.mkdir(parents=True, exist_ok=True)
    exported = export_parts(checkpoint, options.output)
    _print_parts(exported)
    _print_json(options, {"system": checkpoint.system, "labels": checkpoint.labels, "parts": _documents(exported)})
    return 0


def _print_parts(exported: Mapping[str, "ExportedPart"]) -> None:
    for name, part in exported.items():
        before, after = part.nodes
        kept = "" if "float16" in part.part.files else ", too far off: left out"
        print(f"{name}: {before} nodes, {after} simplified; float16 {part.float16_db:.0f} dB{kept}", file=sys.stderr)


def _documents(exported: Mapping[str, "ExportedPart"]) -> dict[str, Any]:
    return {name: asdict(part) for name, part in exported.items()}


def _add_float16(options: argparse.Namespace) -> int:
    from export.float16_onnx import export_float16

    folder, manifest = options.bundle, read_manifest(options.bundle)
    with TemporaryDirectory(prefix=".export-", dir=folder) as staging:
        parts = {name: export_float16(folder, name, part, Path(staging)) for name, part in manifest.parts.items()}
        halved = replace(manifest, parts={name: part for name, (part, _) in parts.items()})
        write_manifest(folder, halved, Path(staging))
    remove_unnamed(folder, manifest, halved)
    for name, (part, decibels) in parts.items():
        kept = part.files.get("float16", "too far off: left out")
        print(f"{name}: float16 {decibels:.0f} dB against float32, {kept}", file=sys.stderr)
    return 0


def _build_engines(options: argparse.Namespace) -> int:
    from export.engines import Source, sources_of_bundle

    if options.onnx:
        if options.precision is None:
            raise ArgumentError("--precision is missing; expected that of the files, which --onnx does not tell.")
        sources = [Source(path.stem, path, options.precision) for path in options.onnx]
    else:
        sources = sources_of_bundle(options.bundle, options.precision or "float16")
    engines = [asdict(report) for report in _engines(options, sources)]
    _print_json(options, {"engines": engines})
    return 0


def _engines(options: argparse.Namespace, sources: list[Any]) -> list[Any]:
    """Build, and say of each engine what it is."""
    from export.engines import build_engines, target_capability
    from perception.gpu import compute_capability
    from perception.tensorrt import load_flavour

    trt = load_flavour(options.flavour)
    capability = target_capability(trt, options.compute_capability, compute_capability())
    print(f"{trt.__name__} {trt.__version__} for compute capability {capability}", file=sys.stderr)
    reports = []
    for report in build_engines(
        trt, sources, capability, engine_folder(), max_batch=options.max_batch, workspace_mb=options.workspace_mb,
        rebuild=options.rebuild,
    ):  # fmt: skip
        if report.reason:
            print(f"{report.reason}; built anew", file=sys.stderr)
        print(report.text(), file=sys.stderr)
        reports.append(report)
    return reports


def _compare(options: argparse.Namespace) -> int:
    from export.clip_inputs import clip_inputs
    from export.compare import BATCH, compare_bundle, document, noise_inputs, table

    idle = [name for name, default in ENGINE_DEFAULTS.items() if getattr(options, name) != default]
    if idle and not options.engines:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise ArgumentError(f"{given} without --engines, which builds them; expected both or neither.")
    if options.engines and options.max_batch < BATCH:
        raise ArgumentError(f"--max-batch is {options.max_batch}; expected {BATCH} or more, as many as are compared.")
    manifest = read_manifest(options.bundle)
    if options.clip:
        inputs = clip_inputs(options.bundle, options.clip, BATCH)
    else:
        inputs = noise_inputs(manifest)
        print("inputs: noise, which says little of INT8; give --clip for a face and speech", file=sys.stderr)
    rows = [*compare_bundle(options.bundle, manifest, inputs, options.checkpoint)]
    proofs: list[Any] = []
    if options.engines:
        engine_rows, proofs = _compare_engines(options, manifest.parts, inputs)
        rows += engine_rows
    print(table(rows), *(proof.text() for proof in proofs), sep="\n", file=sys.stderr)
    _print_json(options, document(rows, proofs))
    return 0 if all(finding.passed for finding in (*rows, *proofs)) else 1


def _compare_engines(
    options: argparse.Namespace, parts: Mapping[str, Part], inputs: Mapping[str, Any]
) -> tuple[list[Any], list[Any]]:
    from export.compare import compare_engine
    from export.engines import sources_of_bundle
    from perception.gpu import compute_capability
    from perception.tensorrt import load_flavour

    sources = {
        source.path: source for precision in PRECISIONS for source in sources_of_bundle(options.bundle, precision)
    }
    reports = _engines(options, [*sources.values()])
    present = compute_capability()
    on_gpu = present is not None and options.compute_capability in (None, present)
    if not on_gpu:
        print("no GPU to run these engines on: their outputs are not compared", file=sys.stderr)
    trt = load_flavour(options.flavour)
    found = [
        compare_engine(trt, options.bundle, parts[report.name], report, inputs[report.name], on_gpu)
        for report in reports
    ]
    return [row for _, rows in found for row in rows], [proof for proof, _ in found]


def _print_json(options: argparse.Namespace, content: Mapping[str, Any]) -> None:
    if options.json:
        tell(json.dumps(content, indent=2))


if __name__ == "__main__":
    sys.exit(main())
