"""CREMA-D (Cao et al. 2014): 7,442 clips, 91 actors, six emotions.

File names are `actor_sentence_emotion_level`, such as 1001_DFA_ANG_XX, in the folders AudioWAV, AudioMP3 and VideoFlash
(.flv, with sound and picture) of the official repository.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle.errors import InputError
from bundle.labels import CREMA_D_LABELS
from corpora.ravdess import Speech
from corpora.reading import ClipFile, OnError, complain, read_each

Kind = Literal["wav", "mp3", "flv"]

_NAME = re.compile(r"10(0[1-9]|[1-8]\d|9[01])_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_(XX|X|LO|MD|HI)", re.ASCII)
_EMOTIONS = dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), range(len(CREMA_D_LABELS)), strict=True))
_NAMES, _ACTORS = "SentenceFilenames.csv", "VideoDemographics.csv"


@dataclass(frozen=True)
class CremaDActor:
    """age : years. sex : as the corpus's table says."""

    age: int
    sex: Literal["Male", "Female"]


def list_crema_d(
    folder: str | Path,
    kind: Kind,
    actors: Iterable[int] | None = None,
    *,
    complete: bool = False,
    on_error: OnError = "refuse",
) -> list[ClipFile]:
    """Clips of one kind of file below `folder`, ordered by path, each once; of `actors` only, where given.

    Parameters
    ----------
    complete : expect all that the corpus's own SentenceFilenames.csv names.

    Raises
    ------
    InputError : no clip there; or, unless skipped, a name that is not CREMA-D's, an actor of whom there is none, or a
        clip that is missing from a complete corpus. With `complete`, a list that is missing or not CREMA-D's.
    """
    paths = sorted(Path(folder).rglob(f"*.{kind}"))
    strange = [str(path) for path in paths if not _NAME.fullmatch(path.stem)]
    if strange:
        complain(f"{len(strange)} without a CREMA-D name such as 1001_DFA_ANG_XX", strange, on_error)
    first = {path.stem: path for path in reversed(paths)}  # of copies
    clips = [
        ClipFile(path, *_actor_and_label(path.stem)) for path in sorted(first.values()) if _NAME.fullmatch(path.stem)
    ]
    wanted = {clip.actor for clip in clips} if actors is None else set(actors)
    clips = [clip for clip in clips if clip.actor in wanted]
    if not clips:
        raise InputError(f"no CREMA-D clip (.{kind}) below {folder}; expected AudioWAV, AudioMP3 or VideoFlash.")
    absent = sorted(wanted - {clip.actor for clip in clips})
    if absent:
        complain(f"{len(absent)} CREMA-D actors have no clip below {folder}", [*map(str, absent)], on_error)
    if complete:
        _require_all(folder, {clip.path.stem for clip in clips}, wanted, on_error)
    return clips


def read_crema_d(
    folder: str | Path, kind: Kind, actors: Iterable[int], *, on_error: OnError = "refuse"
) -> list[Speech]:
    """The actors' speech, read with progress; errors as `list_crema_d` and `read_each`."""
    clips = list_crema_d(folder, kind, actors, on_error=on_error)
    return read_each(
        "CREMA-D", clips, lambda clip: Speech(clip.read_speech(), clip.label, clip.actor), on_error
    )  # fmt: skip


def read_actors(folder: str | Path) -> dict[int, CremaDActor]:
    """The actors by number, from VideoDemographics.csv.

    Raises
    ------
    InputError : no such table in `folder`, or not with ActorID, Age and Sex.
    """
    path = Path(folder) / _ACTORS
    try:
        return {
            int(row["ActorID"]): CremaDActor(int(row["Age"]), "Female" if row["Sex"] == "Female" else "Male")
            for row in _rows(path)
        }
    except (KeyError, ValueError, TypeError) as error:  # a row that ends early holds None
        raise InputError(f"{path} is not CREMA-D's table of ActorID, Age and Sex ({error}). Fetch it again.") from error


def _require_all(folder: str | Path, found: set[str], actors: set[int], on_error: OnError) -> None:
    """Complain about clips that the corpus's own list names and that are not there."""
    path = Path(folder) / _NAMES
    named = [row.get("Filename") or "" for row in _rows(path)]
    strange = [f"line {number}: {name!r}" for number, name in enumerate(named, 2) if not _NAME.fullmatch(name)]
    if strange:
        raise InputError(
            f"{path} is not CREMA-D's list: {len(strange)} without a name such as 1001_DFA_ANG_XX; the first in "
            f"{strange[0]}. Fetch it again."
        )
    missing = [name for name in named if _actor_and_label(name)[0] in actors and name not in found]
    if missing:
        complain(f"{len(missing)} CREMA-D clips are missing below {folder}", missing, on_error)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected CREMA-D's own table. Copy it from the corpus's repository.")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [*csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not CREMA-D's table ({error}). Fetch it again.") from error
    if not rows:
        raise InputError(f"{path} is not CREMA-D's table: it has no rows. Fetch it again.")
    return rows


def _actor_and_label(name: str) -> tuple[int, int]:
    actor, _, emotion, _ = name.split("_")
    return int(actor), _EMOTIONS[emotion]
