"""What an update costs, against recomputing its whole window as one would without a cache."""

from pathlib import Path

import numpy as np

from benchmarks.interleave import Comparison, compare
from bundle.features import AUDIO_EMBEDDINGS, AUDIO_MASK, EMBEDDING, FACE, SPECTROGRAM, VISUAL_EMBEDDINGS, VISUAL_MASK
from kernels import HighPass, SpectrogramStream, preprocess_faces, similarity_from_eyes
from perception.network import open_network
from perception.segments import segments_of_wave


def bench_runtime(bundle: Path) -> list[Comparison]:
    """The work of one update: two images, one segment, the head; and of the same window from nothing."""
    network = open_network(bundle)
    video, audio, window = network.video, network.audio, network.window
    images, segments = window.image_slots, window.segment_slots(audio)
    new_images = round(window.step_s / window.image_period_s)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (720, 1280, 3), dtype=np.uint8)
    wave = (rng.standard_normal(round(window.window_s * audio.sample_rate_hz)) * 2_000).astype(np.int16)
    matrix = similarity_from_eyes((600, 300), (680, 305), video.size_px, mouth=(640, 390))
    visual = rng.standard_normal((1, images, network.embedding_sizes["visual"]), np.float32)
    heard = rng.standard_normal((1, segments, network.embedding_sizes["audio"]), np.float32)
    masks = np.ones((1, images), np.float32), np.ones((1, segments), np.float32)
    filtering, stream = HighPass(audio.highpass_hz), SpectrogramStream(**audio.stream_options())
    stream.push(wave)
    list(stream.segments())

    def encode_images(count: int) -> np.ndarray:
        crops = [preprocess_faces(image, [matrix], video.size_px, supersample=video.supersample) for _ in range(count)]
        return network.engines["visual"].run({FACE: np.concatenate(crops)})[EMBEDDING]

    def encode_segments(spectrograms: np.ndarray) -> np.ndarray:
        return network.engines["audio"].run({SPECTROGRAM: spectrograms[:, None]})[EMBEDDING]

    def run_head(visual: np.ndarray, heard: np.ndarray) -> None:
        inputs = {
            VISUAL_EMBEDDINGS: visual, VISUAL_MASK: masks[0], AUDIO_EMBEDDINGS: heard, AUDIO_MASK: masks[1],
        }  # fmt: skip
        network.engines["head"].run(inputs)

    def update() -> None:
        encode_images(new_images)
        stream.push(filtering.push(wave[: audio.step_samples]))
        encode_segments(np.stack(list(stream.segments())))
        run_head(visual, heard)

    def whole_window() -> None:
        spectrograms = segments_of_wave(wave, audio)
        run_head(encode_images(images)[None], encode_segments(spectrograms)[None])

    return [
        *compare("update", update, {"the whole window recomputed": whole_window}),
        *compare("update", update, {"of which the head": lambda: run_head(visual, heard)}),
    ]
