"""edge-bench: a table for people on stderr, rows for programs on stdout."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.interleave import Comparison
from bundle.errors import EdgeEmotionError
from bundle.manifest import DEFAULT_BUNDLE


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        rows = _rows(options)
    except EdgeEmotionError as error:
        print(f"edge-bench: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"edge-bench: {error}; peers come with pip install 'edge-emotion[dev]'.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edge-bench: stopped; medians need the whole run", file=sys.stderr)
        return 1
    print(_table(rows), file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-bench", description="Measure this machine; peers run in the same run.")
    subcommands = parser.add_subparsers(dest="subject", required=True)
    kernels = subcommands.add_parser("kernels", help="spectrograms, against torch, librosa and SciPy")
    runtime = subcommands.add_parser("runtime", help="an update of the network, against its whole window")
    runtime.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="(default: the built-in one)")
    for subcommand in (kernels, runtime):
        subcommand.add_argument("--json", action="store_true", help="print the rows to stdout as JSON")
    return parser


def _rows(options: argparse.Namespace) -> list[Comparison]:
    if options.subject == "kernels":
        from benchmarks.kernels import bench_kernels

        return list(bench_kernels())
    from benchmarks.runtime import bench_runtime

    return bench_runtime(options.bundle)


def _table(rows: list[Comparison]) -> str:
    lines = [f"{'work':24} {'ours':>12}   {'peer':32} {'peer takes':>12} {'ratio':>8}  threads  cache"]
    for row in rows:
        ours, peer = f"{row.ours_us:.0f} us", f"{row.peer_us:.0f} us"
        lines.append(
            f"{row.work:24} {ours:>12}   {row.peer:32} {peer:>12} {row.ratio:>7.2f}x {row.threads:>8}  {row.cache}"
        )
    return "\n".join([*lines, f"medians; threads are the peers', ours take one; {rows[0].hardware}"])


if __name__ == "__main__":
    sys.exit(main())
