"""edge-bench: a table for people on stderr, rows for programs on stdout."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmarks import DEMO
from bundle.command import exit_status
from bundle.manifest import DEFAULT_BUNDLE

if TYPE_CHECKING:
    from benchmarks.interleave import Comparison
    from benchmarks.runtime import Measure

VARIANTS = ("slim", "full")
"""Of MRPN: the default bundle's network, and the paper's."""

MOST_THREADS, MOST_ROUNDS = 64, 1_000


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return exit_status("edge-bench", lambda: _run(options), stopped="medians need the whole run", extra="dev")


def _run(options: argparse.Namespace) -> None:
    rows, draw = _rows(options)
    if options.subject == "runtime":
        print(_table_of_measures(cast("Sequence[Measure]", rows)), file=sys.stderr)
    else:
        print(_table_of_comparisons(cast("Sequence[Comparison]", rows)), file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2), flush=True)
    if draw:  # last: a disk that is full costs the picture, not the figures
        draw(options.figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-bench", description="Measure this machine; peers run in the same run.")
    subcommands = parser.add_subparsers(dest="subject", required=True)
    subcommands.add_parser("kernels", help="spectrograms and faces, against torch, librosa, SciPy and OpenCV")
    runtime = subcommands.add_parser("runtime", help="edge-run itself, in real time, on a clip in place of devices")
    runtime.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="(default: the built-in one)")
    runtime.add_argument("--clip", type=Path, metavar="FILE", help="of a driver (default: the demo's)")
    runtime.add_argument(
        "--duration", type=_seconds, default=60.0, metavar="S", help="after a warm-up (default: %(default)g)"
    )
    peers = subcommands.add_parser("peers", help="an update, against its whole window in PyTorch, ONNX Runtime, ...")
    cost = subcommands.add_parser("cost", help="by window, camera, faces and system; encoders and head apart")
    cost.add_argument("--of", nargs="+", metavar="NAME", help="a part of it (default: all; a wrong name lists them)")
    for subcommand in (peers, cost):
        subcommand.add_argument(
            "--variant", nargs="+", choices=VARIANTS, default=VARIANTS, help="of MRPN (default: both)"
        )
        subcommand.add_argument(
            "--threads", nargs="+", type=_up_to(MOST_THREADS), default=(1, 2), metavar="N",
            help="of each contestant (default: 1, then 2)",
        )  # fmt: skip
        subcommand.add_argument("--rounds", type=_up_to(MOST_ROUNDS), default=10, metavar="N", help="(default: 10)")
    for subcommand in subcommands.choices.values():
        subcommand.add_argument("--json", action="store_true", help="print the rows to stdout as JSON")
    for subcommand in (runtime, peers, cost):
        subcommand.add_argument("--figure", type=_figure, metavar="FILE", help="draw the rows; .png, .svg or .pdf")
    return parser


def _figure(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".png", ".svg", ".pdf") or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a .png, .svg or .pdf file in a folder that exists")
    return path


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 1 <= (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text} is not a number of seconds, 1 or more")


def _up_to(most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or not 0 < int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to {most}")
        return int(text)

    return whole


def _rows(options: argparse.Namespace) -> "tuple[Sequence[Comparison | Measure], Callable[[Path], None] | None]":
    """Measure what is asked for; the rows, and what draws them into a file, if that is asked for too."""
    if options.subject == "kernels":
        from benchmarks.kernels import bench_kernels

        return list(bench_kernels()), None
    if options.figure:
        from benchmarks import figures  # first: where Matplotlib is missing, nothing is measured
    if options.subject == "runtime":
        from benchmarks.runtime import run_runtime

        run = run_runtime(options.clip or DEMO, options.bundle, options.duration)
        return run.measures(), partial(figures.draw_runtime, run) if options.figure else None
    rows = _comparisons(options)
    return rows, partial(figures.draw_comparisons, rows) if options.figure else None


def _comparisons(options: argparse.Namespace) -> "list[Comparison]":
    if options.subject == "peers":
        from benchmarks.peers import bench_peers

        return list(bench_peers(options.variant, options.threads, options.rounds))
    from benchmarks.cost import COSTS, bench_cost

    return list(bench_cost(options.of or COSTS, options.variant, options.threads, options.rounds))


def _table_of_comparisons(rows: "Sequence[Comparison]") -> str:
    width = max(24, *(len(row.work) for row in rows))
    lines = [f"{'work':{width}} {'ours':>12}   {'peer':32} {'peer takes':>12} {'ratio':>8}  threads  cache"]
    for row in rows:
        ours, peer = f"{row.ours_us:.0f} us", f"{row.peer_us:.0f} us"
        lines.append(
            f"{row.work:{width}} {ours:>12}   {row.peer:32} {peer:>12} {row.ratio:>7.2f}x {row.threads:>8}  {row.cache}"
        )
    return "\n".join([*lines, f"medians; threads are each contestant's, our kernels take one; {rows[0].hardware}"])


def _table_of_measures(rows: "Sequence[Measure]") -> str:
    lines = [f"{'measure':28} {'unit':>12} {'count':>8} {'p50':>10} {'p90':>10} {'p99':>10} {'max':>10}"]
    for row in rows:
        quantiles = " ".join(f"{value:>10.2f}" for value in (row.p50, row.p90, row.p99, row.max))
        lines.append(f"{row.measure:28} {row.unit:>12} {row.count:>8} {quantiles}")
    return "\n".join([*lines, rows[0].hardware])


if __name__ == "__main__":
    sys.exit(main())
