"""Random changes of faces and speech that keep the emotion, drawn anew for each use."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.features import VideoSpec
from corpora.av_clip import SAMPLE_RATE_HZ, AvClip
from training.disturbances import Faces, Wave, blurred, darkened, occluded, reverberated, with_road_noise

SHORTEST_SLICE_S = 1.0
"""Of a clip (Chang & Skarbek 2021, 4.4)."""

SPOILED = 0.1
"""Share of faces, and of voices, that the fused stage gets without anything left to see or hear in them."""


@dataclass(frozen=True)
class FaceJitter:
    """Limits of the random geometry and light of face crops."""

    rotation_rad: float = 0.26
    scale: float = 0.15
    shift: float = 0.10  # of the crop's half width
    gain: float = 0.3  # contrast, as a fraction
    erase_probability: float = 0.3


def jitter_faces(
    crops: Tensor, spec: VideoSpec, jitter: FaceJitter, generator: torch.Generator, *, flip: bool = True,
    alike: bool = False,
) -> Tensor:  # fmt: skip
    """Network input from crops, which may have a margin: uint8 (B, size + 2 margin, ...) -> float32 (B, 1, size, size).

    Each crop gets its own rotation, scale, shift, mirror image, contrast and erased rectangle; or, `alike`, all get
    the same, as the images of one clip must (Chang & Skarbek 2021, 4.4 and Fig. 8).
    """
    count = 1 if alike else len(crops)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    angle, scale = uniform(count) * jitter.rotation_rad, 1 + uniform(count) * jitter.scale
    scale = scale * spec.size_px / crops.shape[-1]  # a crop of the middle, without the margin
    mirror = torch.where(uniform(count) < 0, -1.0, 1.0) if flip else torch.ones(count)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = torch.cos(angle) * scale * mirror, -torch.sin(angle) * scale
    affine[:, 1, 0], affine[:, 1, 1] = torch.sin(angle) * scale * mirror, torch.cos(angle) * scale
    affine[:, :, 2] = uniform(count, 2) * jitter.shift
    grid = F.affine_grid(affine.expand(len(crops), -1, -1), [len(crops), 1, *[spec.size_px] * 2], align_corners=False)
    faces = F.grid_sample(crops[:, None].float(), grid, padding_mode="border", align_corners=False)
    middle = faces.mean((1, 2, 3), keepdim=True)
    faces = middle + (faces - middle) * (1 + uniform(count, 1, 1, 1) * jitter.gain)
    _erase(faces, jitter.erase_probability, generator, alike)
    return (faces - spec.mean) / spec.std


def disturb_faces(crops: Faces, rng: np.random.Generator) -> Faces:
    """Crops [shape=(n, height, width)] as a car's camera sees them: dark, blurred, half covered, or as they are."""
    disturbed = []
    for crop in crops[:, None]:
        kind = rng.random()
        if kind < 0.15:
            crop = darkened(crop, rng.uniform(1, 5), rng)
        elif kind < 0.3:
            crop = blurred(crop, rng.uniform(0.5, 2.5), rng)
        elif kind < 0.4:
            crop = occluded(crop, rng.uniform(0.1, 0.4), rng)
        disturbed.append(crop)
    return np.concatenate(disturbed)


def spoil_face(crop: Faces, rng: np.random.Generator) -> Faces:
    """Now and then, nothing but a smear in the dark; else the crop [shape=(1, height, width)] as it is."""
    if rng.random() >= SPOILED:
        return crop
    return darkened(blurred(crop, rng.uniform(6, 12), rng), rng.uniform(4, 7), rng)


def center_faces(crops: Tensor, spec: VideoSpec) -> Tensor:
    """Network input without any jitter: the middle of crops with a margin, as `preprocess_faces` returns it."""
    margin = (crops.shape[-1] - spec.size_px) // 2
    middle = crops[:, None, margin : margin + spec.size_px, margin : margin + spec.size_px]
    return (middle.float() - spec.mean) / spec.std


def _erase(faces: Tensor, probability: float, generator: torch.Generator, alike: bool) -> None:
    """Fill a random rectangle of some faces, or of all, with gray, in place: a hand, a phone, the steering wheel."""
    size = faces.shape[-1]
    groups = [faces] if alike else faces.split(1)
    for index in torch.nonzero(torch.rand(len(groups), generator=generator) < probability)[:, 0].tolist():
        height, width = (int(v) for v in torch.randint(size // 8, size // 2, (2,), generator=generator))
        top = int(torch.randint(0, size - height, (1,), generator=generator))
        left = int(torch.randint(0, size - width, (1,), generator=generator))
        groups[index][:, :, top : top + height, left : left + width] = 255 * torch.rand(1, generator=generator)


def slice_clip(clip: AvClip, rng: np.random.Generator) -> AvClip:
    """A random stretch of a clip of at least one second, its images and sound alike (Chang & Skarbek 2021, 4.4).

    A clip of less than that is kept whole.
    """
    shortest = min(len(clip.wave), round(SHORTEST_SLICE_S * SAMPLE_RATE_HZ))
    kept = int(rng.integers(shortest, len(clip.wave) + 1))
    start = int(rng.integers(0, len(clip.wave) - kept + 1))
    first, last = (round(sample / SAMPLE_RATE_HZ * clip.fps) for sample in (start, start + kept))
    return replace(clip, wave=clip.wave[start : start + kept], images=clip.images[first:last])


def disturb_speech(wave: Wave, rng: np.random.Generator) -> Wave:
    """Sound as a car's microphone may hear it: in a small cabin, in road noise, in both, in neither."""
    if rng.random() < 0.25:
        wave = reverberated(wave, rng.uniform(50, 400), rng)
    if rng.random() < 0.5:
        wave = with_road_noise(wave, rng.uniform(-10, 25), rng)
    return wave


def spoil_speech(wave: Wave, rng: np.random.Generator) -> Wave:
    """Now and then, drowned by the road; else as it is."""
    return with_road_noise(wave, rng.uniform(-40, -25), rng) if rng.random() < SPOILED else wave


def change_speech(wave: Wave, rng: np.random.Generator) -> Wave:
    """A random slice (Chang & Skarbek 2021, 4.4) at another speed and loudness, with or without noise."""
    import soxr

    changed = wave.astype(np.float32)
    changed = changed[_random_slice(len(changed), rng)]
    changed = soxr.resample(changed, 16_000, 16_000 * rng.uniform(0.88, 1.14), quality="LQ")
    if rng.random() < 0.3:
        noise_rms = changed.std() * 10 ** (-rng.uniform(10, 30) / 20)
        changed = changed + rng.standard_normal(len(changed), np.float32) * noise_rms
    return np.clip(np.rint(changed * rng.uniform(0.5, 1.2)), -32768, 32767).astype(np.int16)


def _random_slice(length: int, rng: np.random.Generator) -> slice:
    """At least 1.1 s and 60 % of the clip, so that it still holds most of the sentence."""
    shortest = min(length, max(18_000, int(0.6 * length)))
    kept = int(rng.integers(shortest, length + 1))
    start = int(rng.integers(0, length - kept + 1))
    return slice(start, start + kept)


def mask_spectrograms(segments: Tensor, generator: torch.Generator) -> None:
    """SpecAugment (Park et al. 2019), in place: two bands of mels per window, one stretch of time per segment.

    segments : (B, T, 1, mels, columns); masked values become the window's mean.
    """
    mels, columns = segments.shape[-2:]
    fill = segments.mean((1, 2, 3, 4))
    for window, value in zip(segments, fill, strict=True):
        for _ in range(2):
            low, width = _stretch(mels, mels // 5, generator)
            window[:, :, low : low + width] = value
        for segment in window:
            low, width = _stretch(columns, columns // 5, generator)
            segment[:, :, low : low + width] = value


def random_gaps(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A mask (B, T) that loses a random share of each window's slots, but never the newest."""
    kept = 0.3 + 0.7 * torch.rand(shape[0], 1, generator=generator)
    mask = (torch.rand(shape, generator=generator) < kept).float()
    mask[:, -1] = 1
    return mask


def mixup(batch: Mapping[str, Tensor], labels: Tensor, classes: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """Blend each example with another (Zhang et al. 2018); "target" holds the blended label probabilities.

    Of two masks, what both have is left.
    """
    share = float(rng.beta(0.4, 0.4))
    other = torch.from_numpy(rng.permutation(len(labels)))
    target = F.one_hot(labels, classes).float()
    blended = {"target": share * target + (1 - share) * target[other]}
    for name, values in batch.items():
        is_mask = name.endswith("_mask")
        blended[name] = values * values[other] if is_mask else share * values + (1 - share) * values[other]
    return blended


def _stretch(length: int, longest: int, generator: torch.Generator) -> tuple[int, int]:
    width = int(torch.randint(0, longest, (1,), generator=generator))
    return int(torch.randint(0, length - width, (1,), generator=generator)), width
