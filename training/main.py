"""edge-train: corpora to a checkpoint."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bundle.command import exit_status, tell
from bundle.errors import ArgumentError, InputError

MOST_SEED, MOST_THREADS = (1 << 32) - 1, 1024
CORPORA = "composite", "ravdess", "ravdess-speech", "crema-d"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    _, rest = _sweep_parser().parse_known_args(arguments)
    anew = "begins anew" if dict(options.options).get("in_stages") else "resumes after the last whole epoch"
    return exit_status("edge-train", lambda: _run(options, rest), stopped=f"the same command {anew}")


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    if options.list:
        systems = _systems()
        print(json.dumps(systems, indent=2) if options.json else _table(systems))
    elif options.folds is None and (options.jobs or options.scheduler):
        raise ArgumentError("--jobs and --scheduler are for --folds; expected it.")
    elif options.folds is not None and options.fold is not None:
        raise ArgumentError(f"--fold {options.fold} and --folds do not go together; expected one of them.")
    elif options.folds is not None:
        found = _sweep(options, rest)
        tell(json.dumps(found, indent=2))
        return 1 if found["failed"] else 0
    else:
        results = _train(options)
        if results is not None:
            print(json.dumps(results, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-train",
        description="Train a network; run it again to resume. Figures on the held-out subjects go to stdout as JSON.",
        parents=[_sweep_parser()],
        allow_abbrev=False,
    )
    parser.add_argument("--list", action="store_true", help="show every system, its parts and its variants, and exit")
    parser.add_argument("--json", action="store_true", help="with --list: as JSON")
    parser.add_argument("--system", default="mrpn", help="what to train; see --list (default: %(default)s)")
    parser.add_argument("--variant", help="of the system; see --list (default: its first)")
    parser.add_argument(
        "--corpus", choices=CORPORA, default=CORPORA[0],
        help="composite: RAVDESS voices and FER2013 faces, of ravdess-speech-16k/ and fer2013.zip; "
        "ravdess, crema-d: audio-video clips below --data; ravdess-speech: its sound alone, for what needs no face "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder of the corpus")
    parser.add_argument("--output", type=Path, help="folder for checkpoints, metrics and caches")
    parser.add_argument("--cache", type=Path, help="folder for what is made of the corpus (default: --output)")
    parser.add_argument("--protocol", help="how subjects are split (default: the corpus's first)")
    parser.add_argument("--fold", type=_whole(0), help="of the protocol (default: 0)")
    parser.add_argument(
        "--weights", action="append", default=[], type=_part_and_path, metavar="PART=FILE",
        help="published weights for a part to start from; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--set", dest="options", action="append", default=[], type=_option, metavar="NAME=VALUE",
        help="option of the system's recipe, such as in_stages=true; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--on-error", choices=("refuse", "skip"), default="refuse",
        help="what to do about files that cannot be read (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=_whole(1), help="clips (default: the recipe's)")
    parser.add_argument("--epochs", type=_whole(1), help="at most (default: the recipe's)")
    parser.add_argument(
        "--keep", choices=("best", "last"), default="best",
        help="which epoch: the best on the validation subjects, or the last of all. Where a protocol has no test "
        "subjects, as most papers' folds, only the last makes the figures honest (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32",
        help="of training; bfloat16 is for a GPU, or a CPU with AMX or AVX-512 BF16 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=_whole(0, MOST_SEED), default=0, help="of all randomness (default: %(default)s)")
    parser.add_argument("--threads", type=_whole(1, MOST_THREADS), help="of the processor (default: all)")
    parser.add_argument(
        "--device",
        default="cpu",
        help="of PyTorch, such as cuda; with torchrun each process has its own (default: cpu)",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="refuse what a GPU computes in another order each time"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write OUTPUT/tensorboard, besides the tables")
    return parser


def _sweep_parser() -> argparse.ArgumentParser:
    """What makes a sweep; the rest of the command line is each fold's."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    sweep = parser.add_argument_group("several folds, each in OUTPUT/fold-N; run it again to resume")
    sweep.add_argument(
        "--folds", type=_folds, metavar="all|N,N...", help="which; {fold} in other options becomes the number"
    )
    sweep.add_argument("--jobs", type=_whole(1), help="folds at a time (default: as many as processors)")
    sweep.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that runs them: tcp://HOST:PORT")
    return parser


def _folds(text: str) -> list[int]:
    """Numbers between commas; none for all."""
    return [] if text == "all" else sorted({_whole(0)(number) for number in text.split(",")})


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """What reads a whole number within these bounds."""
    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")
        return int(text)

    return number


def _part_and_path(text: str) -> tuple[str, Path]:
    part, separator, path = text.partition("=")
    if not separator or not part or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not PART=FILE, such as visual=resnet18.pth")
    return part, Path(path)


def _option(text: str) -> tuple[str, bool | int | str]:
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as in_stages=true")
    if value in ("true", "false"):
        return name, value == "true"
    return name, int(value) if value.isdecimal() else value


def _systems() -> list[dict[str, Any]]:
    from networks.systems import SYSTEMS, describe

    return [
        {
            "system": name,
            "paper": kind.paper,
            "variants": {variant: describe(name, variant) for variant in kind.variants},
        }
        for name, kind in SYSTEMS.items()
    ]


def _table(systems: list[dict[str, Any]]) -> str:
    """A line per variant, and below a system's first the parts that it is made of."""
    lines = []
    for system in systems:
        lines.append(f"{system['system']}  ({system['paper']})")
        for number, (variant, found) in enumerate(system["variants"].items()):
            lines.append(f"  {variant:22} {found['parameters']:>12,} parameters")
            for name, part in found["parts"].items() if not number else ():
                inputs = ", ".join(f"{tensor} {'x'.join(map(str, shape))}" for tensor, shape in part["inputs"].items())
                lines.append(f"    {name:8} per {part['runs']:8} {part['parameters']:>12,}  {inputs}")
    return "\n".join(lines)


def _check_folders(options: argparse.Namespace) -> None:
    for name in ("data", "output"):
        if getattr(options, name) is None:
            raise ArgumentError(f"--{name} is missing; expected a folder. See edge-train --help.")
    if not options.data.is_dir():
        raise InputError(f"--data {options.data} is not a folder; expected one that holds the corpus.")


def _sweep(options: argparse.Namespace, rest: list[str]) -> Mapping[str, Any]:
    """Train folds with what the command line says besides."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ArgumentError("--folds under torchrun, whose processes share one fold; expected --fold.")
    _check_folders(options)
    from training.sweep import train_folds
    from training.systems import count_folds

    count = count_folds(options.corpus, options.protocol)
    folds = options.folds or range(count)
    if max(folds) >= count:
        raise ArgumentError(f"--folds names {max(folds)}; expected 0..{count - 1}.")
    threads = options.threads or 1
    jobs = options.jobs or max(1, (os.cpu_count() or 1) // threads)
    absolute = [*rest, "--data", str(options.data.resolve())]  # workers of a cluster may start elsewhere
    if options.cache:
        absolute += ["--cache", str(options.cache.resolve())]
    absolute += [f"--weights={part}={path.resolve()}" for part, path in options.weights]
    return train_folds(
        absolute, folds, options.output.resolve(), jobs=jobs, threads=threads, scheduler=options.scheduler
    )  # fmt: skip


def _train(options: argparse.Namespace) -> Mapping[str, Any] | None:
    """Figures; None in all but the first of the processes that torchrun started."""
    _check_folders(options)
    import torch

    from training.fit import has_bfloat16
    from training.ranks import joined, own_device, rank
    from training.systems import Request, train

    if options.threads:
        torch.set_num_threads(options.threads)
    if options.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # as PyTorch's documentation of the next line asks for
        torch.use_deterministic_algorithms(True)
    options.output.mkdir(parents=True, exist_ok=True)
    chosen = {name: getattr(options, name) for name in Request.__dataclass_fields__}
    chosen |= {"weights": dict(options.weights), "options": dict(options.options), "fold": options.fold or 0}
    device = own_device(options.device)
    _check_device(device)
    with joined(device):
        if options.precision == "bfloat16" and device == "cpu" and not has_bfloat16():
            raise ArgumentError(
                "--precision is bfloat16, which this processor does not have and would emulate, ten times slower than "
                "float32, and in an LSTM not at all; expected float32, or a GPU."
            )
        results = train(Request(**chosen | {"device": device}))
        return results if rank() == 0 else None


def _check_device(device: str) -> None:
    import torch

    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ArgumentError(
            f"--device {device} cannot be used: {reason}. Give cpu, or what PyTorch finds here."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
