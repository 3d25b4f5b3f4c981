"""All folds of a training, each by a process of its own: in parallel on this machine, or on a Dask cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tqdm import tqdm

from bundle.errors import ArgumentError
from corpora.cache import written_whole

Show = Callable[[int, str], None]
"""Takes a fold and the newest line of its progress."""

LOG, RESULTS = "log.txt", "results.json"
SILENT_S = 30.0
"""Between two lines of one fold where the screen cannot be redrawn."""

_running: set[subprocess.Popen[str]] = set()


def train_folds(
    arguments: Sequence[str],
    folds: Sequence[int],
    output: Path,
    *,
    jobs: int,
    threads: int,
    scheduler: str | None = None,
) -> dict[str, Any]:
    """Train each fold in `output`/fold-N, as `edge-train` with `arguments` does; returns "folds" and "failed" by fold.

    A fold that fails is named with its last line, and the others go on. Run again, each fold resumes.

    Parameters
    ----------
    arguments : of edge-train, but for folds and folders; "{fold}" in them becomes the fold's number.
    jobs : folds at a time. threads : of the processor, for each.
    scheduler : address of a Dask cluster that is to run them instead, as many at a time as it has worker threads. Its
        workers have the project installed and see the same folders.

    Raises
    ------
    ArgumentError : Dask is not installed.
    OSError : no scheduler there.
    """
    results, failed = {}, {}
    show = Board(folds).show
    with _executor(jobs, scheduler) as executor:
        futures: dict[Future[tuple[int, str]], int] = {}
        for fold in folds:
            command = fold_command(arguments, fold, output, threads)
            local = () if scheduler else (show,)
            futures[executor.submit(run_fold, command, fold, output / f"fold-{fold}", threads, *local)] = fold
        try:
            for future in as_completed(futures):
                fold = futures[future]
                problem = _problem(future)
                if problem is None:
                    results[fold] = json.loads((output / f"fold-{fold}" / RESULTS).read_text(encoding="utf-8"))
                else:
                    failed[fold] = problem
                show(fold, problem or "done")
        except KeyboardInterrupt:
            for future in futures:
                future.cancel()
            for process in [*_running]:
                process.send_signal(signal.SIGINT)
            raise
    return {"folds": dict(sorted(results.items())), "failed": dict(sorted(failed.items()))}


def fold_command(arguments: Sequence[str], fold: int, output: Path, threads: int) -> list[str]:
    """The command that trains one fold; what is made of the corpus is shared by all."""
    own = ["--fold", str(fold), "--output", str(output / f"fold-{fold}"), "--threads", str(threads)]
    asked = [argument.replace("{fold}", str(fold)) for argument in arguments]
    return ["--cache", str(output), *asked, *own]  # of an option that is there twice, the last counts


def run_fold(
    arguments: Sequence[str], fold: int, folder: Path, threads: int, show: Show = lambda fold, line: None
) -> tuple[int, str]:
    """Train one fold in a process; returns its exit code and last line. Both ends go to files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "training.main", *arguments]
    limits = {"OMP_NUM_THREADS": str(threads), "TQDM_MININTERVAL": "2"}
    line = ""
    with (
        TemporaryFile() as results,
        (folder / LOG).open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command, stdout=results, stderr=subprocess.PIPE, encoding="utf-8", env=os.environ | limits
        ) as process,
    ):
        _running.add(process)
        assert process.stderr is not None
        for text in process.stderr:  # a bar that is redrawn counts as a line: \r ends one too
            log.write(text)
            if text.strip():
                line = text.strip()
                show(fold, line)
        _running.discard(process)
        if process.wait() == 0:  # a fold that fails leaves the figures of an earlier one that did not
            results.seek(0)
            with written_whole(folder / RESULTS) as partial:
                partial.write_bytes(results.read())
    return process.returncode, line


class Board:
    """Shows the newest line of each fold: in place on a terminal, now and then elsewhere."""

    def __init__(self, folds: Sequence[int]) -> None:
        self._shown: dict[int, float] = {}
        self._bars: Mapping[int, Any] = {}
        if sys.stderr.isatty():
            self._bars = {fold: tqdm(bar_format="{desc}", position=place) for place, fold in enumerate(folds)}

    def show(self, fold: int, line: str) -> None:
        now = time.monotonic()
        if fold in self._bars:
            self._bars[fold].set_description_str(f"fold {fold}: {line}")
        elif now - self._shown.get(fold, -SILENT_S) >= SILENT_S or line == "done" or line.startswith("failed"):
            self._shown[fold] = now
            print(f"fold {fold}: {line}", file=sys.stderr, flush=True)


@contextmanager
def _executor(jobs: int, scheduler: str | None) -> Iterator[Executor]:
    if scheduler is None:
        with ThreadPoolExecutor(jobs) as executor:
            yield executor
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ArgumentError("--scheduler needs Dask; install it: pip install -e '.[cluster]'") from error
    with Client(scheduler) as client, client.get_executor(pure=False, retries=0) as executor:
        yield executor


def _problem(future: "Future[tuple[int, str]]") -> str | None:
    """Why a fold failed; None where it did not."""
    error = future.exception()
    if error is not None:
        return f"failed: {type(error).__name__}: {error}"
    code, line = future.result()
    return f"failed with exit code {code}: {line}" if code else None
