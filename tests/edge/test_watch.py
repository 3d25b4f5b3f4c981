"""What a device's own data say: stories told in seconds."""

import numpy as np

from edge.watch import ImageWatch, SoundWatch

S = 1_000_000_000


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (64, 48, 3), dtype=np.uint8)


def test_image_that_repeats_for_two_seconds_is_frozen_until_it_changes() -> None:
    watch, told = ImageWatch(), []
    for number in range(100):  # 10 per second
        watch.update(noise(number if not 20 <= number < 60 else 20), number * S // 10)
        told.append(watch.health)
    assert told[:40] == ["ok"] * 40
    assert told[40:60] == ["frozen"] * 20
    assert told[60:] == ["ok"] * 40


def test_frozen_image_is_known_again_after_reopening() -> None:
    watch = ImageWatch()
    for second in (0, 1, 2):
        watch.update(noise(0), second * S)
    watch.reopened()
    watch.update(noise(0), 4 * S)
    assert watch.health == "frozen"
    watch.update(noise(1), 5 * S)
    assert watch.health == "ok"


def test_black_images_are_black_and_not_frozen() -> None:
    watch = ImageWatch()
    for second in range(5):
        watch.update(np.zeros((64, 48), np.uint8), second * S)
    assert watch.health == "black"


def test_under_five_images_a_second_are_slow() -> None:
    watch, times_ns = ImageWatch(), [*range(0, 3 * S, S // 30), *range(3 * S, 8 * S, S // 4)]
    told = {}
    for number, time_ns in enumerate(times_ns):
        watch.update(noise(number), time_ns)
        told[time_ns] = watch.health
    assert {health for time_ns, health in told.items() if time_ns < 4 * S} == {"ok"}
    assert {health for time_ns, health in told.items() if time_ns > 5 * S} == {"slow"}


def test_silence_counts_from_the_first_of_samples_that_are_all_the_same() -> None:
    watch = SoundWatch()
    for samples, second, expected_s in (
        ([1, 2, 3], 0, 0),
        ([3, 3, 3], 1, 0),
        ([3, 3, 3], 2, 1),
        ([3], 5, 4),
        ([0, 0], 6, 0),
        ([0, 0], 7, 1),
        ([0, 1], 8, 0),
    ):
        watch.update(np.array(samples, np.int16), second * S)
        assert watch.silent_ns == expected_s * S, second
