"""A bundle: a folder of networks and the manifest that says what they are, checked against its hashes when read."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from bundle.engine_cache import write_atomically
from bundle.errors import ArtefactError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import STATE_OF_EMOTION

FORMAT = 1
"""Version of the manifest; a reader refuses a newer one."""

MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"

FLOAT32, INT8_TENSORRT, INT8_ONNXRUNTIME = "float32", "int8-tensorrt", "int8-onnxruntime"
"""Precisions: keys of `Part.files`."""

DEFAULT_BUNDLE = Path(__file__).parent / "default"

_Spec = TypeVar("_Spec", AudioSpec, VideoSpec, WindowSpec)


@dataclass(frozen=True)
class Part:
    """One network of a bundle.

    files : file name by precision, FLOAT32 always among them. inputs, outputs : shape by tensor name, without the
    batch; all float32.
    """

    files: Mapping[str, str]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]

    def file(self, precision: str) -> str:
        """Name of the file of `precision`, or in float32 where there is none."""
        return self.files.get(precision, self.files[FLOAT32])


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds and where it comes from.

    system : "mrpn". parts : "visual", "audio", "head". training, results : data, split, figures; free in form.
    calibration : passport of the INT8 files, as `calibration.passport` makes it; empty where there are none.
    """

    name: str
    system: str
    labels: tuple[str, ...]
    audio: AudioSpec
    video: VideoSpec
    window: WindowSpec
    parts: Mapping[str, Part]
    training: Mapping[str, Any]
    results: Mapping[str, Any]
    licence: str
    calibration: Mapping[str, Any] = field(default_factory=dict)


def write_manifest(folder: Path, manifest: Manifest, made: Path | None = None) -> None:
    """Write `manifest` and the hashes of the files it names; or leave what was there.

    made : subfolder of `folder` with new ones of these files, which are moved last, when no disk can be full any more.
        The others lie in `folder` already.
    """
    names = sorted(_files_of(manifest))
    new = {name: made / name for name in names if made and (made / name).exists()}
    hashes = {name: _sha256(new.get(name, folder / name)) for name in names}
    text = json.dumps({"format": FORMAT, **asdict(manifest), "sha256": hashes}, indent=2, ensure_ascii=False) + "\n"
    line = _hash_line(hashlib.sha256(text.encode()).hexdigest())
    with TemporaryDirectory(prefix=".manifest-", dir=folder) as staging:
        for name, content in ((MANIFEST, text), (MANIFEST_HASH, line)):
            new[name] = Path(staging) / name
            write_atomically(new[name], content.encode())  # synced
        for name, path in new.items():
            path.replace(folder / name)


def remove_unnamed(folder: Path, before: Manifest, now: Manifest) -> None:
    """Remove the files in `folder` that the manifest named before, and does not now."""
    for name in _files_of(before) - _files_of(now):
        (folder / name).unlink(missing_ok=True)


def _files_of(manifest: Manifest) -> set[str]:
    return {name for part in manifest.parts.values() for name in part.files.values()}


def read_manifest(folder: str | Path) -> Manifest:
    """Read a bundle's manifest and verify every file that it names.

    Hashes detect corruption, not tampering.

    Raises
    ------
    ArtefactError : no manifest, a newer format, a missing or unusable field, a file that is missing or whose SHA-256
        differs.
    """
    folder = Path(folder)
    document = _verified_document(folder)
    try:
        manifest = _manifest_from_document(document)
        hashes = {str(name): str(value) for name, value in document["sha256"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ArtefactError(
            f"{folder / MANIFEST} lacks or misstates a field ({type(error).__name__}: {error}); expected bundle format "
            f"{FORMAT}. Export the bundle again with edge-export."
        ) from error
    for name in (name for part in manifest.parts.values() for name in part.files.values()):
        _verify(folder / name, hashes.get(name))
    return manifest


def manifest_sha256(folder: str | Path) -> str:
    """The hash of a bundle's manifest, and through it of every file: what tells one bundle from another."""
    return _sha256(Path(folder) / MANIFEST)


def choose_precision(manifest: Manifest, wanted: str | None, int8: str, *, allow_ungated: bool = False) -> str:
    """Key of the files to run: `int8` if "int8" is wanted, or nothing is and those passed the gate; else FLOAT32.

    int8 : the one for the engine at hand, INT8_TENSORRT or INT8_ONNXRUNTIME. A part without such a file stays in float.

    Raises
    ------
    ArtefactError : "int8" is wanted, and there are no such files, or they passed no gate and that is not allowed.
    """
    reason = why_ungated(manifest, int8)
    if wanted == FLOAT32 or (wanted is None and reason):
        return FLOAT32
    present = any(int8 in part.files for part in manifest.parts.values())
    if not present or (reason and not allow_ungated):
        raise ArtefactError(
            f"bundle {manifest.name} cannot be run in INT8: {reason}. Calibrate it with edge-calibrate, use "
            f"--precision {FLOAT32}{', or accept it with --allow-ungated' if present else ''}."
        )
    return int8


def why_ungated(manifest: Manifest, int8: str) -> str | None:
    """Why the INT8 files of one kind are not to be trusted; None where they passed the accuracy gate."""
    if not any(int8 in part.files for part in manifest.parts.values()):
        return f"it has no {int8} files"
    gate = manifest.calibration.get("gate")
    result = gate.get(int8) if isinstance(gate, Mapping) else None
    if not isinstance(result, Mapping):
        return f"its {int8} files went through no accuracy gate"
    if manifest.calibration.get("preprocessing_sha256") != preprocessing_sha256(manifest):
        return f"its {int8} files were calibrated for other features"
    if result.get("held") is not True:
        return f"its {int8} files failed the accuracy gate"
    return None


def preprocessing_sha256(manifest: Manifest) -> str:
    """Hash of all that makes network input of sound and images: networks calibrated for another one are stale."""
    specs = [asdict(spec) for spec in (manifest.audio, manifest.video, manifest.window)]
    return hashlib.sha256(json.dumps(specs, sort_keys=True).encode()).hexdigest()


def _verified_document(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtefactError(f"{folder} holds no {MANIFEST}; expected a bundle folder, such as {DEFAULT_BUNDLE}.")
    _verify(path, _recorded_hash(folder / MANIFEST_HASH))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{path} is not a bundle manifest: {error}. Export the bundle again.") from error
    if version != FORMAT:
        raise ArtefactError(
            f"{path} has format {version}; this version reads format {FORMAT}. "
            "Update edge-emotion, or export the bundle again with this version."
        )
    return document


def _manifest_from_document(document: Mapping[str, Any]) -> Manifest:
    labels = tuple(str(label) for label in document["labels"])
    unknown = [label for label in labels if label not in STATE_OF_EMOTION]
    if unknown or not labels:
        raise ValueError(f"labels {unknown or labels} are not among {sorted(STATE_OF_EMOTION)}")
    if document["window"]["step_s"] != document["audio"]["step_s"]:
        raise ValueError("window and audio have another step_s; an update takes one segment")
    return Manifest(
        name=str(document["name"]),
        system=str(document["system"]),
        labels=labels,
        audio=_spec_from_document(AudioSpec, document["audio"]),
        video=_spec_from_document(VideoSpec, document["video"]),
        window=_spec_from_document(WindowSpec, document["window"]),
        parts={str(name): _part_from_document(part) for name, part in document["parts"].items()},
        training=dict(document["training"]),
        results=dict(document["results"]),
        licence=str(document["licence"]),
        calibration=dict(document["calibration"]),
    )


def _spec_from_document(spec: type[_Spec], document: Mapping[str, Any]) -> _Spec:
    names = {entry.name for entry in fields(spec)}
    if set(document) != names:
        raise ValueError(f"{spec.__name__} has fields {sorted(document)}, expected {sorted(names)}")
    return spec(**document)


def _part_from_document(document: Mapping[str, Any]) -> Part:
    files = {str(precision): str(name) for precision, name in document["files"].items()}
    if FLOAT32 not in files or any(Path(name).name != name for name in files.values()):
        raise ValueError(f"files {files} need a {FLOAT32} entry and plain names")
    inputs, outputs = (
        {str(name): tuple(int(size) for size in shape) for name, shape in document[direction].items()}
        for direction in ("inputs", "outputs")
    )
    return Part(files, inputs, outputs)


def _hash_line(sha256: str) -> str:
    """What `sha256sum manifest.json` prints."""
    return f"{sha256}  {MANIFEST}\n"


def _recorded_hash(path: Path) -> str | None:
    """The manifest's hash in its own file; None where that is absent or holds anything else."""
    try:
        line = path.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    sha256 = line.split(" ", 1)[0]
    return sha256 if line == _hash_line(sha256) else None


def _verify(path: Path, expected: str | None) -> None:
    if expected is None:
        raise ArtefactError(f"no SHA-256 is recorded for {path}; expected one. Export the bundle again.")
    if not path.is_file():
        raise ArtefactError(f"{path} is missing; its manifest names it. Copy the whole bundle folder again.")
    found = _sha256(path)
    if found != expected:
        raise ArtefactError(
            f"{path} has SHA-256 {found[:16]}..., expected {expected[:16]}...: the file is corrupt or was edited. "
            "Copy the bundle again, or export it again."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
