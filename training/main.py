"""edge-train: corpora to a checkpoint."""

import argparse
import json
import sys
from pathlib import Path

from bundle.errors import EdgeEmotionError, InputError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="edge-train",
        description="Train a network; run it again to resume. Figures on the held-out actors go to stdout as JSON.",
    )
    parser.add_argument("--system", choices=("mrpn",), default="mrpn", help="what to train (default: %(default)s)")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds ravdess-speech-16k/Actor_NN/ and fer2013.zip"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints, metrics and caches")
    parser.add_argument("--fold", type=int, choices=range(5), default=0, help="actors held out (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of the processor (default: all)")
    options = parser.parse_args(arguments)
    try:
        results = _train(options)
    except (EdgeEmotionError, OSError) as error:
        print(f"edge-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edge-train: stopped; the same command resumes after the last whole epoch", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=2))
    return 0


def _train(options: argparse.Namespace) -> dict[str, object]:
    if not options.data.is_dir():
        raise InputError(f"--data {options.data} is not a folder; expected ravdess-speech-16k/ and fer2013.zip in it.")
    import torch

    from training.mrpn import MrpnRecipe, MrpnTraining

    if options.threads:
        torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    return MrpnTraining(MrpnRecipe(options.fold, options.seed), options.data, options.output).run()


if __name__ == "__main__":
    sys.exit(main())
