"""A bundle opened for running: its definitions, and an engine for each part."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundle.errors import ArtefactError
from bundle.features import (
    AUDIO_EMBEDDINGS,
    AUDIO_MASK,
    EMBEDDING,
    FACE,
    PROBS,
    SPECTROGRAM,
    VISUAL_EMBEDDINGS,
    VISUAL_MASK,
    AudioSpec,
    VideoSpec,
    WindowSpec,
)
from bundle.manifest import FLOAT32, Manifest, read_manifest
from perception.engine import Engine
from perception.onnxrt import OnnxRuntimeEngine

PARTS = ("visual", "audio", "head")


@dataclass(frozen=True)
class Network:
    """Ready to run.

    engines : by part. embedding_sizes : of "visual" and "audio".
    """

    name: str
    labels: tuple[str, ...]
    audio: AudioSpec
    video: VideoSpec
    window: WindowSpec
    engines: Mapping[str, Engine]
    embedding_sizes: Mapping[str, int]

    @property
    def engine_name(self) -> str:
        return self.engines["head"].name


def open_network(folder: str | Path, precision: str = FLOAT32) -> Network:
    """Verify the bundle in `folder` and open its parts, those without a file of `precision` in float32.

    Raises
    ------
    ArtefactError : as `read_manifest`; a part is absent; or a file cannot be run.
    """
    folder, manifest = Path(folder), read_manifest(folder)
    files = {name: folder / part.file(precision) for name, part in manifest.parts.items()}
    return network_from_engines(manifest, {name: OnnxRuntimeEngine(file) for name, file in files.items()})


def check_runnable(manifest: Manifest) -> None:
    """Refuse a bundle that is no network of ours.

    Raises
    ------
    ArtefactError : a part is absent; one takes other inputs than the features and the window that the bundle defines;
        an encoder gives no embedding; or the head has other outputs than a probability for each label, of both senses
        together and of each alone.
    """
    missing = [part for part in PARTS if part not in manifest.parts]
    if missing:
        raise ArtefactError(
            f"bundle {manifest.name} has parts {sorted(manifest.parts)}, without {missing}; expected {list(PARTS)}. "
            "Export it again with edge-export."
        )
    for part in ("visual", "audio"):
        outputs = dict(manifest.parts[part].outputs)
        if list(outputs) != [EMBEDDING] or len(outputs[EMBEDDING]) != 1:
            raise ArtefactError(
                f"bundle {manifest.name} has a part {part!r} with outputs {outputs}; expected {EMBEDDING!r} alone, of "
                "one axis. Export it again with edge-export."
            )
    for part, expected in _inputs(manifest).items():
        inputs = dict(manifest.parts[part].inputs)
        if inputs != expected:
            raise ArtefactError(
                f"bundle {manifest.name} has a part {part!r} with inputs {inputs}; its features and its window are "
                f"{expected}. Export it again with edge-export."
            )
    outputs, expected = dict(manifest.parts["head"].outputs), dict.fromkeys(PROBS, (len(manifest.labels),))
    if outputs != expected:
        raise ArtefactError(
            f"bundle {manifest.name} has {len(manifest.labels)} labels, and a head with outputs {outputs}; expected "
            f"{expected}. Export it again with edge-export."
        )


def _inputs(manifest: Manifest) -> Mapping[str, Mapping[str, tuple[int, ...]]]:
    """Of each part, by name, as the features and the window are defined."""
    audio, video, window, sizes = manifest.audio, manifest.video, manifest.window, embedding_sizes(manifest)
    images, segments = window.image_slots, window.segment_slots(audio)
    return {
        "visual": {FACE: video.shape},
        "audio": {SPECTROGRAM: audio.shape},
        "head": {
            VISUAL_EMBEDDINGS: (images, sizes["visual"]), VISUAL_MASK: (images,),
            AUDIO_EMBEDDINGS: (segments, sizes["audio"]), AUDIO_MASK: (segments,),
        },
    }  # fmt: skip


def network_from_engines(manifest: Manifest, engines: Mapping[str, Engine]) -> Network:
    """A network of engines that are open already."""
    check_runnable(manifest)
    sizes = embedding_sizes(manifest)
    return Network(manifest.name, manifest.labels, manifest.audio, manifest.video, manifest.window, engines, sizes)


def embedding_sizes(manifest: Manifest) -> Mapping[str, int]:
    """Lengths of the encoders' embeddings, of "visual" and "audio"; KeyError for a bundle without such parts."""
    return {part: manifest.parts[part].outputs[EMBEDDING][0] for part in ("visual", "audio")}
