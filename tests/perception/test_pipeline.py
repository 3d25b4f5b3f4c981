"""Cached embeddings against the whole network on each window, and what happens when a modality is missing."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from bundle.errors import EngineError
from bundle.manifest import DEFAULT_BUNDLE
from perception.chunks import AudioChunk, Estimate, VideoChunk
from perception.engine import Tensors
from perception.face import FaceDetection
from perception.network import Network, open_network
from perception.pipeline import Perception
from tests.uncached import uncached_probs

STEP_NS = 200_000_000


@pytest.fixture(scope="module")
def network() -> Network:
    return open_network(DEFAULT_BUNDLE)


@pytest.fixture(scope="module")
def speech(espeak: np.ndarray) -> np.ndarray:
    """Seven seconds: a second of silence, then speech, then silence."""
    wave = np.zeros(7 * 16_000, np.int16)
    wave[16_000 : 16_000 + 56_000] = espeak[:56_000]
    return wave


class Scene:
    """A face that drifts through noise, 30 images a second, with gaps: what `detect` finds is known exactly."""

    def __init__(self, seconds: float, hidden: Sequence[int] = ()) -> None:
        rng = np.random.default_rng(3)
        self.images = [
            VideoChunk(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8), round(i * 1e9 / 30))
            for i in range(round(30 * seconds))
        ]
        self.hidden = {id(self.images[i].image) for i in hidden}
        self.by_bytes = {chunk.image.tobytes()[:64]: i for i, chunk in enumerate(self.images)}

    def detect(self, image: np.ndarray) -> list[FaceDetection]:
        i = self.by_bytes[image.tobytes()[:64]]
        if id(self.images[i].image) in self.hidden:
            return []
        x = 20 + 0.05 * i
        return [FaceDetection((x, 10, x + 60, 70), (x + 19, 31), (x + 41, 32), (x + 30, 54), 0.9)]


def audio_chunks(wave: np.ndarray, sizes: Iterator[int]) -> Iterator[AudioChunk]:
    start = 0
    while start < len(wave):
        size = next(sizes)
        yield AudioChunk(wave[start : start + size], start * 62_500)
        start += size


def endless(*sizes: int) -> Iterator[int]:
    while True:
        yield from sizes


def estimates(
    network: Network, audio: Sequence[AudioChunk], scene: Scene | None, updates: int, start_ns: int = 0
) -> list[Estimate]:
    """Every update, after the least that must have been pushed for it."""
    perception = Perception(network, detect=scene and scene.detect, microphone=bool(audio), start_ns=start_ns)
    chunks = sorted([*audio, *(scene.images if scene else [])], key=lambda chunk: chunk.captured_ns)
    result, position = [], 0
    for number in range(updates):
        while position < len(chunks) and chunks[position].captured_ns <= start_ns + number * STEP_NS:
            perception.push(chunks[position])
            position += 1
        result.append(perception.estimate(number))
    return result


@pytest.mark.parametrize("sizes", [(640,), (160, 1, 4_799), (16_000,), (112_000,)])
def test_every_update_equals_the_uncached_network_whatever_the_chunk_sizes(
    network: Network, speech: np.ndarray, sizes: tuple[int, ...]
) -> None:
    scene = Scene(seconds=7, hidden=[*range(60, 75), 99, 120, *range(150, 200)])
    got = estimates(network, [*audio_chunks(speech, endless(*sizes))], scene, updates=35)
    sources = {estimate.source for estimate in got}
    assert sources == {"none", "video", "audio+video", "audio"}
    for number, estimate in enumerate(got):
        if estimate.probs is not None:
            expected = uncached_probs(network, speech, scene.images, scene.detect, number, estimate.source)
            np.testing.assert_allclose(estimate.probs, expected, atol=1e-4)


def test_estimates_do_not_depend_on_chunk_sizes_bit_for_bit(network: Network, speech: np.ndarray) -> None:
    def probs(*sizes: int) -> list[bytes]:
        got = estimates(network, [*audio_chunks(speech, endless(*sizes))], Scene(seconds=7), updates=35)
        return [b"" if e.probs is None else e.probs.tobytes() for e in got]

    assert probs(640) == probs(1, 5_000, 33) == probs(112_000)


def test_sound_that_begins_off_the_grid_is_cut_on_the_grid(network: Network, speech: np.ndarray) -> None:
    """A microphone that starts 130 ms late hears the same segments as one that started in time."""
    late = [
        AudioChunk(chunk.samples, chunk.captured_ns + 130_000_000)
        for chunk in audio_chunks(speech[2_080:], endless(640))
    ]
    in_time = estimates(network, [*audio_chunks(speech, endless(640))], None, updates=34)
    got = estimates(network, late, None, updates=34)
    both = [(a, b) for a, b in zip(in_time, got, strict=True) if a.source == b.source == "audio"]
    assert len(both) >= 10
    assert {estimate.newest_ns % STEP_NS for _, estimate in both if estimate.newest_ns} == {0}


def test_head_branch_of_the_modality_present_speaks(network: Network, speech: np.ndarray) -> None:
    audio = [*audio_chunks(speech, endless(640))]
    assert estimates(network, audio, None, updates=20)[-1].source == "audio"
    assert estimates(network, [], Scene(seconds=4), updates=20)[-1].source == "video"
    silent = [*audio_chunks(np.zeros_like(speech), endless(640))]
    both = estimates(network, silent, Scene(seconds=4), updates=20)[-1]
    assert (both.source, both.voice, both.face) == ("video", "silent", "ok")


def test_newest_sample_is_one_that_was_used(network: Network, speech: np.ndarray) -> None:
    silent = [*audio_chunks(np.zeros_like(speech), endless(640))]
    seen = estimates(network, silent, Scene(seconds=4), updates=20)[-1]
    assert seen.source == "video"
    assert seen.newest_ns == 3_766_666_667  # the first image from 50 ms before the update, not the sound after it
    both = estimates(network, [*audio_chunks(speech, endless(640))], Scene(seconds=4), updates=20)[-1]
    assert both.source == "audio+video"
    assert both.newest_ns == 3_800_000_000


def test_without_face_and_speech_the_reason_says_which_is_missing(network: Network) -> None:
    silence = [*audio_chunks(np.zeros(96_000, np.int16), endless(640))]
    last = estimates(network, silence, None, updates=25)[-1]
    assert (last.source, last.probs, last.newest_ns) == ("none", None, None)
    assert last.reason == "no camera in use, nobody speaks"
    blind = estimates(network, silence, Scene(seconds=6, hidden=range(180)), updates=25)[-1]
    assert (blind.face, blind.reason) == ("lost", "no face in the image, nobody speaks")


def test_face_that_the_network_fails_to_encode_is_not_blamed_on_the_camera(network: Network) -> None:
    class Broken:
        name = "broken"

        def run(self, _: Tensors) -> Tensors:
            raise EngineError("out of memory")

    blind = replace(network, engines={**network.engines, "visual": Broken()})
    scene = Scene(seconds=3)
    perception = Perception(blind, detect=scene.detect, microphone=False, start_ns=0)
    for chunk in scene.images:
        with suppress(EngineError):
            perception.push(chunk)
    found = perception.estimate(14)
    assert (found.source, found.face, found.reason) == ("none", "ok", "face seen too briefly, no microphone in use")


def test_image_without_light_is_called_dark(network: Network) -> None:
    scene = Scene(seconds=4)
    dark = [VideoChunk(np.full((90, 120, 3), 5, np.uint8), chunk.captured_ns) for chunk in scene.images]
    perception = Perception(network, detect=lambda _: [], microphone=False, start_ns=0)
    for chunk in dark:
        perception.push(chunk)
    assert perception.estimate(20).face == "dark"
    assert perception.estimate(20).reason == "image too dark, no microphone in use"


def test_lost_microphone_is_told_and_its_return_is_heard(network: Network, speech: np.ndarray) -> None:
    first = [*audio_chunks(speech, endless(640))]
    second = [AudioChunk(chunk.samples, chunk.captured_ns + 10_000_000_000) for chunk in first]
    got = estimates(network, first + second, None, updates=85)
    assert got[20].source == "audio"
    assert {estimate.voice for estimate in got[38:50]} == {"lost"}
    assert {estimate.source for estimate in got[38:50]} == {"none"}
    assert got[70].source == "audio"


def test_one_image_per_period_is_encoded_however_fast_the_camera(network: Network) -> None:
    scene = Scene(seconds=4)
    seen: list[int] = []
    perception = Perception(
        network, detect=lambda image: seen.append(1) or scene.detect(image), microphone=False, start_ns=0
    )
    for chunk in scene.images:
        perception.push(chunk)
    assert len(scene.images) == 120
    assert len(seen) == 41  # a point each 100 ms, 0 and 4 s included


def test_image_from_after_the_update_counts_if_it_comes_in_time(network: Network) -> None:
    """A camera of five images per second, 40 ms off the grid: waiting for the newest sound, the update gets it."""
    scene = Scene(seconds=4)
    perception = Perception(network, detect=scene.detect, microphone=False, start_ns=0)
    for chunk in scene.images[::6]:
        perception.push(VideoChunk(chunk.image, chunk.captured_ns + 40_000_000))
    assert perception.estimate(15).newest_ns == 3_040_000_000
