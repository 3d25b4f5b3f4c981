"""edge-export: checkpoint to bundle."""

import argparse
import sys
from pathlib import Path

from bundle.errors import EdgeEmotionError
from bundle.manifest import read_manifest, write_manifest

LICENCE = "CC BY-NC-SA 4.0 (non-commercial: trained on RAVDESS)"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="edge-export", description="Export a trained network as a bundle.")
    commands = parser.add_subparsers(dest="command", required=True)
    bundle = commands.add_parser("bundle", help="checkpoint to a bundle folder that edge-run reads")
    bundle.add_argument("--checkpoint", type=Path, required=True, help="mrpn.pt, written by edge-train")
    bundle.add_argument("--output", type=Path, required=True, help="folder of the new bundle")
    bundle.add_argument("--name", help="of the bundle, shown in messages (default: the folder's name)")
    bundle.add_argument("--licence", default=LICENCE, help="of the weights (default: %(default)s)")
    options = parser.parse_args(arguments)
    name = options.name or options.output.resolve().name
    try:
        _export_bundle(options.checkpoint, options.output, name, options.licence)
    except (EdgeEmotionError, OSError) as error:
        print(f"edge-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"edge-export: stopped; {options.output} holds no bundle yet, the same command makes it", file=sys.stderr)
        return 1
    return 0


def _export_bundle(checkpoint_path: Path, folder: Path, name: str, licence: str) -> None:
    from export.onnx_from_checkpoint import bundle_manifest, export_parts, read_checkpoint

    checkpoint = read_checkpoint(checkpoint_path)
    folder.mkdir(parents=True, exist_ok=True)
    parts = export_parts(checkpoint, folder)
    write_manifest(folder, bundle_manifest(name, checkpoint, parts, licence))
    manifest = read_manifest(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {', '.join(manifest.parts)}; {size / 1e6:.1f} MB, verified", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
