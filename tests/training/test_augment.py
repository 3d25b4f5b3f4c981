"""Augmentation changes what it says, within the limits it says, and nothing else."""

import numpy as np
import pytest
import torch

from bundle.features import VideoSpec
from corpora.av_clip import AvClip
from corpora.fer2013 import MARGIN_PX
from kernels import preprocess_faces
from training.augment import (
    FaceJitter,
    center_faces,
    change_speech,
    disturb_faces,
    disturb_speech,
    jitter_faces,
    mask_spectrograms,
    mixup,
    random_gaps,
    slice_clip,
    spoil_face,
    spoil_speech,
)

SPEC = VideoSpec()
SIZE = SPEC.size_px + 2 * MARGIN_PX
STILL = FaceJitter(rotation_rad=0, scale=0, shift=0, gain=0, erase_probability=0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def crops(count=6):
    return torch.randint(0, 256, (count, SIZE, SIZE), dtype=torch.uint8, generator=seeded(9))


def test_the_middle_of_a_crop_is_what_the_kernel_gives():
    images = crops(2)
    expected = [
        preprocess_faces(
            np.repeat(image.numpy()[..., None], 3, 2), [[[1, 0, MARGIN_PX], [0, 1, MARGIN_PX]]], SPEC.size_px,
            supersample=1, mean=SPEC.mean, std=SPEC.std,
        )[0]
        for image in images
    ]  # fmt: skip
    np.testing.assert_allclose(center_faces(images, SPEC), expected, atol=1e-5)


def test_no_jitter_is_the_middle_of_the_crop():
    found = jitter_faces(crops(), SPEC, STILL, seeded(), flip=False)
    torch.testing.assert_close(found, center_faces(crops(), SPEC), atol=1e-3, rtol=0)


def test_faces_are_mirrored_or_not():
    found, plain = jitter_faces(crops(40), SPEC, STILL, seeded()), center_faces(crops(40), SPEC)
    as_is, mirrored = ((found - other).abs().amax((1, 2, 3)) < 1e-3 for other in (plain, plain.flip(3)))
    assert torch.equal(as_is, ~mirrored)
    assert 10 <= as_is.sum() <= 30


def test_each_face_gets_a_change_of_its_own_that_the_generator_repeats():
    same = crops(1).expand(8, -1, -1)
    once, again, other = (jitter_faces(same, SPEC, FaceJitter(), seeded(seed)) for seed in (1, 1, 2))
    assert once.shape == (8, *SPEC.shape)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert len(once.flatten(1).unique(dim=0)) == 8


@pytest.mark.parametrize("rotation_rad", [0.0, 0.26])
def test_a_dot_moves_as_far_as_the_limits_allow(rotation_rad):
    jitter = FaceJitter(rotation_rad, scale=0.0, shift=0.10, gain=0.0, erase_probability=0.0)
    y, x = torch.meshgrid(*[torch.arange(SIZE) - (SIZE - 1) / 2] * 2, indexing="ij")
    dot = (200 * torch.exp(-(x**2 + y**2) / 12)).to(torch.uint8)
    light = jitter_faces(dot.expand(200, -1, -1), SPEC, jitter, seeded())[:, 0] + SPEC.mean / SPEC.std
    place = torch.arange(SPEC.size_px) - (SPEC.size_px - 1) / 2
    columns, rows = light.sum(1), light.sum(2)
    shift = torch.stack(((columns * place).sum(1), (rows * place).sum(1))) / light.sum((1, 2))
    farthest = shift.norm(dim=0).max()
    limit = 0.10 * SIZE / 2 * 2**0.5
    assert 0.7 * limit < farthest < limit + 0.1


def test_contrast_changes_around_the_mean_within_its_limits():
    jitter = FaceJitter(rotation_rad=0, scale=0, shift=0, gain=0.3, erase_probability=0)
    plain = center_faces(crops(30), SPEC)
    found = jitter_faces(crops(30), SPEC, jitter, seeded(), flip=False)
    torch.testing.assert_close(found.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=1e-3, rtol=0)
    gains = found.std((1, 2, 3)) / plain.std((1, 2, 3))
    assert 0.7 <= gains.min() < 0.8
    assert 1.2 < gains.max() <= 1.3


def test_erased_faces_lose_one_even_rectangle():
    jitter = FaceJitter(rotation_rad=0, scale=0, shift=0, gain=0, erase_probability=0.5)
    changed = jitter_faces(crops(60), SPEC, jitter, seeded(), flip=False) - center_faces(crops(60), SPEC)
    changed = changed[:, 0].abs() > 1e-3
    erased = changed.flatten(1).any(1)
    assert 15 <= erased.sum() <= 45
    for face in changed[erased]:
        rows, columns = face.any(1).nonzero()[:, 0], face.any(0).nonzero()[:, 0]
        height, width = (int(places.max() - places.min()) + 1 for places in (rows, columns))
        assert max(height, width) < SPEC.size_px // 2
        assert face.sum() > 0.9 * height * width  # where the noise happens to be as gray, nothing changes


def test_images_of_one_clip_are_changed_alike():
    clip = crops(1).expand(6, -1, -1)
    for seed in range(12):
        changed = jitter_faces(clip, SPEC, FaceJitter(erase_probability=0.5), seeded(seed), alike=True)
        assert changed.shape == (6, *SPEC.shape)
        assert torch.equal(changed, changed[:1].expand_as(changed))
    once, other = (jitter_faces(clip, SPEC, FaceJitter(), seeded(seed), alike=True) for seed in (1, 2))
    assert not torch.equal(once, other)


def test_different_images_of_a_clip_get_the_same_geometry_light_and_rectangle():
    clip = crops(3)
    for seed in range(12):
        together = jitter_faces(clip, SPEC, FaceJitter(erase_probability=0.5), seeded(seed), alike=True)
        for image, found in zip(clip, together, strict=True):
            alone = jitter_faces(image[None], SPEC, FaceJitter(erase_probability=0.5), seeded(seed), alike=True)
            torch.testing.assert_close(alone[0], found, atol=1e-5, rtol=1e-5)


def av_clip(seconds, fps=10.0):
    """Each image shows the time, in tenths of a second; each sample, in 160ths of one."""
    images = np.arange(int(seconds * fps), dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    return AvClip((np.arange(int(seconds * 16_000)) // 100).astype(np.int16), images, fps, 3, 7)


def test_sliced_clips_last_a_second_or_more_and_their_sound_fits_their_images():
    starts, lengths = [], []
    for seed in range(300):
        clip = slice_clip(av_clip(4), np.random.default_rng(seed))
        assert (clip.label, clip.subject, clip.fps) == (3, 7, 10.0)
        start, end = clip.wave[0] / 160, clip.wave[-1] / 160
        starts.append(start)
        lengths.append(len(clip.wave) / 16_000)
        assert clip.images[0, 0, 0] / 10 == pytest.approx(start, abs=0.06)
        assert clip.images[-1, 0, 0] / 10 + 0.1 == pytest.approx(end, abs=0.06)
    assert 1.0 <= min(lengths) < 1.1
    assert 3.9 < max(lengths) <= 4.0
    assert min(starts) == 0
    assert max(starts) > 2.5


@pytest.mark.parametrize("seconds", [0.4, 1.0])
def test_a_clip_of_a_second_or_less_is_not_sliced(seconds):
    clip = slice_clip(av_clip(seconds), np.random.default_rng(0))
    np.testing.assert_array_equal(clip.wave, av_clip(seconds).wave)
    np.testing.assert_array_equal(clip.images, av_clip(seconds).images)


def speech(samples=48_000):
    return np.random.default_rng(0).normal(0, 3_000, samples).astype(np.int16)


def test_changed_speech_is_int16_of_another_length_that_the_generator_repeats():
    once, again, other = (change_speech(speech(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.dtype == np.int16
    np.testing.assert_array_equal(once, again)
    assert len(once) != len(other)


def test_changed_speech_keeps_most_of_the_clip():
    lengths = [len(change_speech(speech(), np.random.default_rng(seed))) / 48_000 for seed in range(60)]
    assert 0.6 * 0.88 - 0.001 <= min(lengths) < 0.65
    assert 0.95 < max(lengths) <= 1.14 + 0.001


def test_a_short_clip_is_kept_whole_but_for_its_speed():
    lengths = [len(change_speech(speech(16_000), np.random.default_rng(seed))) / 16_000 for seed in range(20)]
    assert min(lengths) >= 0.88 - 0.001
    assert max(lengths) <= 1.14 + 0.001


def test_speed_moves_the_pitch_with_the_length():
    tone = np.rint(9_000 * np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)).astype(np.int16)
    for seed in range(10):
        changed = change_speech(tone, np.random.default_rng(seed))
        spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
        pitch_hz = spectrum.argmax() * 16_000 / len(changed)
        assert pitch_hz == pytest.approx(1_000 * 16_000 / len(changed), abs=1.5)  # as many periods, in another time


def test_loud_speech_is_clipped_and_does_not_wrap_around():
    for seed in range(10):
        changed = change_speech(np.full(32_000, 32_767, np.int16), np.random.default_rng(seed))
        assert changed[200:-200].min() > 0.4 * 32_767


def test_silence_stays_silent():
    for seed in range(10):
        assert not change_speech(np.zeros(32_000, np.int16), np.random.default_rng(seed)).any()


def most_runs(places):
    """The largest number of unbroken runs of True in a row of the last axis."""
    begins = torch.nn.functional.pad(places.int(), (1, 0)).diff(dim=-1) == 1
    return int(begins.sum(-1).max())


def test_masked_spectrograms_hold_the_windows_mean_and_the_rest_is_untouched():
    before = torch.randn(20, 5, 1, 64, 100, generator=seeded())
    after = before.clone()
    mask_spectrograms(after, seeded(3))
    masked = after != before
    means = before.mean((1, 2, 3, 4)).reshape(20, 1, 1, 1, 1).expand_as(before)
    torch.testing.assert_close(after[masked], means[masked])
    bands = masked.all(4).all(1)[:, 0]  # (window, mel): in every segment, all along
    stretches = masked.all(3)[:, :, 0]  # (window, segment, column)
    assert torch.equal(masked[:, :, 0], bands[:, None, :, None] | stretches[:, :, None, :])
    assert bands.sum(1).max() <= 2 * (64 // 5 - 1)
    assert stretches.sum(2).max() <= 100 // 5 - 1
    assert [most_runs(places) for places in (bands, stretches)] == [2, 1]
    assert len(stretches.flatten(0, 1).unique(dim=0)) > 10  # each segment has its own


def test_gaps_spare_the_newest_slot_and_take_any_share_of_the_others():
    mask = random_gaps(torch.Size((2_000, 40)), seeded())
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask[:, -1].all()
    kept = mask[:, :-1].mean(1)
    assert kept.mean() == pytest.approx(0.65, abs=0.02)
    assert kept.min() < 0.35
    assert kept.max() == 1
    assert mask[:, :-1].mean(0).std() < 0.03  # no slot is favoured


def test_gaps_are_those_of_the_generator():
    assert torch.equal(random_gaps(torch.Size((5, 40)), seeded(1)), random_gaps(torch.Size((5, 40)), seeded(1)))
    assert not torch.equal(random_gaps(torch.Size((5, 40)), seeded(1)), random_gaps(torch.Size((5, 40)), seeded(2)))


def test_mixup_blends_windows_and_their_labels_alike():
    rng = np.random.default_rng(0)
    labels = torch.tensor([0, 1, 2, 3])
    batch = {
        "segments": torch.eye(8)[labels].reshape(4, 1, 1, 8, 1).expand(4, 5, 1, 8, 3),  # a window shows its label
        "audio_mask": torch.tensor([[0.0, 1, 1, 0, 1]]).repeat(4, 1) * torch.tensor([[1.0], [1], [0], [1]]),
    }
    blended = mixup(batch, labels, 8, rng)
    for slot in range(5):
        torch.testing.assert_close(blended["segments"][:, slot, 0, :, 0], blended["target"])
    torch.testing.assert_close(blended["target"].sum(1), torch.ones(4))
    assert not blended["audio_mask"][2].any()
    assert (blended["audio_mask"] <= batch["audio_mask"]).all()


def test_most_faces_stay_and_others_lose_light_or_detail():
    images = crops(400).numpy()
    before = images.copy()
    found = disturb_faces(images, np.random.default_rng(0))
    np.testing.assert_array_equal(images, before)
    assert (found.shape, found.dtype) == (images.shape, images.dtype)
    same = (found == images).all((1, 2))
    assert 0.5 < same.mean() < 0.7
    darker = found.mean((1, 2)) < 0.6 * images.mean((1, 2))
    smoother = found.std((1, 2)) < 0.6 * images.std((1, 2))
    assert 0.1 < darker.mean() < 0.2
    assert 0.1 < (smoother & ~darker).mean() < 0.2
    assert 0.05 < (~same & ~darker & ~smoother).mean() < 0.15  # covered in part


def test_a_spoiled_face_says_nothing():
    images = crops(300).numpy()
    rng = np.random.default_rng(0)
    found = np.concatenate([spoil_face(image[None], rng) for image in images])
    spoiled = (found != images).any((1, 2))
    assert 0.05 < spoiled.mean() < 0.15
    for before, after in zip(images[spoiled], found[spoiled], strict=True):
        assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.2


def test_some_speech_is_left_as_it_is_and_some_is_not():
    wave = speech()
    found = [disturb_speech(wave, np.random.default_rng(seed)) for seed in range(200)]
    assert {(heard.shape, heard.dtype) for heard in found} == {(wave.shape, wave.dtype)}
    same = np.mean([np.array_equal(heard, wave) for heard in found])
    assert 0.25 < same < 0.5


def test_spoiled_speech_is_drowned():
    wave, rng = speech(4_000), np.random.default_rng(0)
    found = [spoil_speech(wave, rng) for _ in range(1_000)]
    drowned = [heard for heard in found if not np.array_equal(heard, wave)]
    assert 0.08 < len(drowned) / len(found) < 0.12
    for heard in drowned:
        assert abs(np.corrcoef(wave, heard)[0, 1]) < 0.15
