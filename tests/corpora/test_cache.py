"""What is kept is found again while nothing that it is made of has changed, and is made by one at a time."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from bundle.errors import InputError
from corpora.cache import alone, kept_arrays, kept_path, written_whole


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"pictures")
    return path


def test_the_same_source_and_settings_have_the_same_place(film, tmp_path):
    path = kept_path(tmp_path, film, 48, "gray")
    assert path == kept_path(tmp_path, film, 48, "gray")
    assert path.name.startswith("film-")
    assert path.suffix == ".npz"


def test_whatever_changes_leads_to_another_place(film, tmp_path):
    paths = {kept_path(tmp_path, film, 48), kept_path(tmp_path, film, 64), kept_path(tmp_path / "b", film, 48)}
    os.utime(film, ns=(1, 1))
    paths.add(kept_path(tmp_path, film, 48))
    film.write_bytes(b"longer pictures")
    os.utime(film, ns=(1, 1))
    paths.add(kept_path(tmp_path, film, 48))
    (tmp_path / "other").mkdir()
    namesake = tmp_path / "other" / "film.mp4"
    namesake.write_bytes(b"longer pictures")
    os.utime(namesake, ns=(1, 1))
    paths.add(kept_path(tmp_path, namesake, 48))
    assert len(paths) == 6


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.mp4 cannot be read"):
        kept_path(tmp_path, tmp_path / "gone.mp4")


def test_what_is_interrupted_leaves_nothing(tmp_path):
    def half_written(path):
        with written_whole(path) as partial:
            partial.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_written(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())
    with written_whole(tmp_path / "a.npz") as partial:
        np.savez(partial, ones=np.ones(3))
        assert partial != tmp_path / "a.npz"
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_cache_is_filled_by_one_at_a_time(tmp_path):
    def fill(_):
        with alone(tmp_path / "cache"):
            start = time.monotonic()
            time.sleep(0.1)
            return start, time.monotonic()

    with ThreadPoolExecutor(3) as executor:
        turns = sorted(executor.map(fill, range(3)))
    assert all(end <= start for (_, end), (start, _) in pairwise(turns))


def test_arrays_are_those_that_were_kept(tmp_path):
    path = tmp_path / "kept.npz"
    np.savez_compressed(path, wave=np.arange(5, dtype=np.int16), faces=np.zeros((0, 48, 48), np.uint8))
    arrays = kept_arrays(path)
    assert list(arrays) == ["wave", "faces"]
    assert arrays["wave"].tolist() == [0, 1, 2, 3, 4]
    assert arrays["faces"].shape == (0, 48, 48)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:200] + bytes(byte ^ 255 for byte in content[200:220]) + content[220:],
        lambda content: b"\x80\x04N.",
    ],
)
def test_damaged_arrays_are_refused_with_the_remedy(tmp_path, damage):
    path = tmp_path / "kept.npz"
    np.savez_compressed(path, wave=np.random.default_rng(0).integers(0, 9, 999))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"kept\.npz is damaged \(.*\)\. Delete it: it is made again\."):
        kept_arrays(path)
