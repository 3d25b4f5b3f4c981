"""The whole network on one window, from raw chunks, with nothing kept from earlier windows: what updates must equal."""

from collections.abc import Sequence

import numpy as np

from bundle.features import EMBEDDING, FACE, PROBS, SPECTROGRAM
from kernels import high_pass, preprocess_faces, spectrogram_segments
from perception.chunks import Source, VideoChunk
from perception.face import Detect
from perception.network import Network

OUTPUT = dict(zip(("audio+video", "video", "audio"), PROBS, strict=True))


def uncached_probs(
    network: Network, wave: np.ndarray, images: Sequence[VideoChunk], detect: Detect, number: int, source: Source
) -> np.ndarray:
    """Probabilities of update `number` of a recording that starts at 0, [shape=(labels,)].

    wave : int16, 16 kHz, from 0. images : with one face at most, so that nobody needs to follow the driver.
    """
    visual, visual_mask = _visual(network, images, detect, number)
    audio, audio_mask = _audio(network, wave, number)
    outputs = network.engines["head"].run(
        {"visual_embeddings": visual, "visual_mask": visual_mask, "audio_embeddings": audio, "audio_mask": audio_mask}
    )
    return outputs[OUTPUT[source]][0]


def _visual(
    network: Network, images: Sequence[VideoChunk], detect: Detect, number: int
) -> tuple[np.ndarray, np.ndarray]:
    video = network.video
    crops, mask = [], np.zeros((1, 40), np.float32)
    for position, slot in enumerate(range(2 * number - 39, 2 * number + 1)):
        inside = [chunk.image for chunk in images if (chunk.captured_ns + 50_000_000) // 100_000_000 == slot]
        faces = detect(inside[0]) if inside else []
        if faces:
            crops.append(preprocess_faces(inside[0], [faces[0].crop_matrix(video)], video.size_px))
            mask[0, position] = 1
    embeddings = np.zeros((1, 40, network.embedding_sizes["visual"]), np.float32)
    if crops:
        embeddings[mask > 0] = network.engines["visual"].run({FACE: np.concatenate(crops)})[EMBEDDING]
    return embeddings, mask


def _audio(network: Network, wave: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    heard = high_pass(wave[: number * 3_200], network.audio.highpass_hz)
    segments = spectrogram_segments(heard, **network.audio.stream_options())[-16:]
    mask = np.zeros((1, 16), np.float32)
    embeddings = np.zeros((1, 16, network.embedding_sizes["audio"]), np.float32)
    if len(segments):
        mask[0, -len(segments) :] = 1
        embeddings[mask > 0] = network.engines["audio"].run({SPECTROGRAM: segments[:, None]})[EMBEDDING]
    return embeddings, mask
