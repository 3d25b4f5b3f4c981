"""Arrays in, arrays out: spectrograms of streaming audio and aligned face crops. Usable on its own."""

from kernels.face import preprocess_faces, similarity_from_eyes
from kernels.spectrogram import SpectrogramStream, mel_filterbank, spectrogram_segments

__all__ = [
    "SpectrogramStream",
    "mel_filterbank",
    "preprocess_faces",
    "similarity_from_eyes",
    "spectrogram_segments",
]
