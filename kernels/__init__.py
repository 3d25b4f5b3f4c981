"""Arrays in, arrays out: spectrograms and features of streaming audio; face crops, and how they move. Usable alone."""

from kernels.clip_features_stream import ClipFeatures, clip_features
from kernels.face import preprocess_faces, similarity_from_eyes
from kernels.high_pass_stream import HighPass, high_pass
from kernels.pitch_stream import PitchStream, pitch
from kernels.space_time_points import interest_point_features, interest_points
from kernels.spectrogram import SpectrogramStream, mel_filterbank, spectrogram_segments
from kernels.spectrogram_image import image_from_spectrogram

__all__ = [
    "ClipFeatures",
    "HighPass",
    "PitchStream",
    "SpectrogramStream",
    "clip_features",
    "high_pass",
    "image_from_spectrogram",
    "interest_point_features",
    "interest_points",
    "mel_filterbank",
    "pitch",
    "preprocess_faces",
    "similarity_from_eyes",
    "spectrogram_segments",
]
