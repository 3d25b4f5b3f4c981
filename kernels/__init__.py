"""Arrays in, arrays out: spectrograms and features of streaming audio, aligned face crops. Usable on its own."""

from kernels.clip_features import ClipFeatures, clip_features
from kernels.face import preprocess_faces, similarity_from_eyes
from kernels.pitch import PitchStream, pitch
from kernels.spectrogram import SpectrogramStream, mel_filterbank, spectrogram_segments
from kernels.spectrogram_image import image_from_spectrogram

__all__ = [
    "ClipFeatures",
    "PitchStream",
    "SpectrogramStream",
    "clip_features",
    "image_from_spectrogram",
    "mel_filterbank",
    "pitch",
    "preprocess_faces",
    "similarity_from_eyes",
    "spectrogram_segments",
]
