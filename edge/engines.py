"""Which engine runs each part of a network: the first that can be had and passes the canary, and why not the others."""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from bundle.command import warn
from bundle.engine_cache import FILES, PRECISION_OF_FILE, Precision, engines_of, find_engine
from bundle.errors import ArtefactError, EngineError
from bundle.folders import engine_folder
from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME, INT8_TENSORRT, Manifest, choose_precision
from edge.canary import check_time, check_values, golden_outputs
from perception.engine import Engine, Tensors
from perception.gpu import compute_capability
from perception.onnxrt import OnnxRuntimeEngine
from perception.openvino import OpenVinoEngine
from perception.parity import ENGINE_DB
from perception.resilient import ResilientEngine
from perception.tensorrt import Flavour, TensorRtEngine, load_flavour

FLAVOURS: dict[str, Flavour] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
AUTO = (*FLAVOURS, "onnxruntime")
"""Tried in this order where none is asked for. OpenVINO is one more package for the same processor: for who asks."""


class Engines:
    """Opens the parts of a bundle, each on an engine that has passed the canary.

    Parameters
    ----------
    kind : as --engine has them; "auto": the first of AUTO that can be had.
    precision : "float32", "int8", or None: INT8 where it passed the bundle's gate.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, kind: str, precision: str | None, *, allow_ungated: bool = False
    ) -> None:
        self._folder, self._manifest, self._kind = folder, manifest, kind
        self._wanted, self._allow_ungated = precision, allow_ungated
        own = precision == "int8" and kind in FLAVOURS  # its INT8 files are others
        self.precision = choose_precision(
            manifest, None if own else precision, INT8_ONNXRUNTIME, allow_ungated=allow_ungated
        )
        self._kinds: dict[str, str] = {}
        self._opened: dict[str, ResilientEngine] = {}
        self._refused: dict[tuple[str, str], list[str]] = {}
        self._expected: dict[tuple[str, str], Tensors] = {}

    @property
    def name(self) -> str:
        """On what the parts run now, by one name where it is the same for all."""
        names = {part: engine.name for part, engine in self._opened.items()}
        if len({name.split()[0] for name in names.values()}) == 1:
            return names["visual"]  # the encoders' precision is what differs
        return ", ".join(f"{part} {name}" for part, name in names.items())

    @property
    def failing(self) -> list[str]:
        """Parts that no engine can run."""
        return [part for part, engine in self._opened.items() if not engine.works]

    def open(self, part: str, disturb: Callable[[Engine], Engine] | None = None) -> ResilientEngine:
        """The best engine of a part, and ONNX Runtime anew should it fail later. `disturb` : wraps both.

        Raises
        ------
        ArtefactError : the kind that was asked for, or ONNX Runtime, cannot be had or is refused.
        """
        best = self._first(part)
        openers = [lambda: best, lambda: self._from_onnx("onnxruntime", part, self.precision)[0]]
        if disturb:
            openers = [lambda opener=opener: disturb(opener()) for opener in openers]  # type: ignore[misc]
        self._opened[part] = ResilientEngine(part, openers, _say)
        return self._opened[part]

    def open_int8(self, part: str) -> Engine | None:
        """The INT8 engine that may stand in for ONNX Runtime in float32; None where another runs, or there is none."""
        described = self._manifest.parts[part]
        if self._kinds[part] != "onnxruntime" or INT8_ONNXRUNTIME not in described.files:
            return None
        engine, _ = self._from_onnx("onnxruntime", part, INT8_ONNXRUNTIME)
        try:
            golden_outputs(engine, described)
        except EngineError as error:
            _say(f"{part} cannot go to INT8 under load: {error}")
            return None
        return engine

    def report(self) -> None:
        """Say what is used, and in one line each why the others are not."""
        for (kind, reason), parts in sorted(self._refused.items(), key=lambda entry: AUTO.index(entry[0][0])):
            where = "" if len(parts) == len(self._opened) else f" for {' and '.join(parts)}"
            _say(f"{kind} is not used{where}: {reason}")
        _say(f"runs on {self.name}")

    def _first(self, part: str) -> Engine:
        for kind in AUTO if self._kind == "auto" else (self._kind,):
            try:
                engine = self._trusted(kind, part)
            except Exception as error:  # engines share no base class of errors
                reason = " ".join(str(error).split()).rstrip(".")  # some write paragraphs
                self._refused.setdefault((kind, reason), []).append(part)
            else:
                self._kinds[part] = kind
                return engine
        remedy = "" if self._kind == "auto" else ". Leave --engine out to use what can be had."
        raise ArtefactError(f"{part} cannot be run on {kind}: {reason}{remedy}")

    def _trusted(self, kind: str, part: str) -> Engine:
        engine, file = self._open(kind, part)
        outputs, took_ns = golden_outputs(engine, self._manifest.parts[part])
        if kind != "onnxruntime":  # with which the others are compared
            check_values(outputs, self._reference(part, file), ENGINE_DB[_precision(file)])
        try:
            check_time(took_ns, part, self._manifest.window)
        except EngineError as error:
            if kind != "onnxruntime":
                raise
            _say(f"{part} on {engine.name}: {error}. Updates will be left out")  # there is nothing faster
        return engine

    def _reference(self, part: str, file: str) -> Tensors:
        """ONNX Runtime's golden outputs for the same file, or for float32; its session is not kept."""
        key = part, FLOAT32 if file == "float16" else file
        if key not in self._expected:
            described = self._manifest.parts[part]
            engine = OnnxRuntimeEngine(self._folder / described.files[key[1]], optimize=file != INT8_TENSORRT)
            self._expected[key], _ = golden_outputs(engine, described)
        return self._expected[key]

    def _open(self, kind: str, part: str) -> tuple[Engine, str]:
        """An engine, and the key of the file that it was made from."""
        if kind in FLAVOURS:
            return self._tensorrt(FLAVOURS[kind], part)
        return self._from_onnx(kind, part, self.precision)

    def _from_onnx(self, kind: str, part: str, precision: str) -> tuple[Engine, str]:
        described = self._manifest.parts[part]
        in_float = (kind, part) == ("openvino", "head")  # it is slower at products whose activations are measured
        file = precision if precision in described.files and not in_float else FLOAT32
        path = self._folder / described.files[file]
        return _named(OpenVinoEngine(path) if kind == "openvino" else OnnxRuntimeEngine(path), file), file

    def _tensorrt(self, flavour: Flavour, part: str) -> tuple[Engine, str]:
        if importlib.util.find_spec(flavour) is None:
            raise ArtefactError("it is not installed; docs/engines.md tells how")
        capability = compute_capability()
        if capability is None:
            raise ArtefactError("this machine has no NVIDIA GPU, or not its driver")
        trt, folder, reason = load_flavour(flavour), engine_folder(), ""
        files, precision = self._tensorrt_files(part)
        for file in files:
            path = self._folder / self._manifest.parts[part].files[file]
            for key in engines_of(hashlib.sha256(path.read_bytes()).hexdigest(), folder):
                found = key.flavour, key.version, key.compute_capability, key.precision
                if found == (flavour, trt.__version__, capability, PRECISION_OF_FILE[file]):
                    cached = find_engine(key, folder)
                    if cached.plan is not None:
                        return _named(TensorRtEngine(trt, cached.plan), file), file
                    reason = f" ({cached.reason})"
        raise ArtefactError(
            f"no engine of this bundle for {flavour} {trt.__version__} on SM {capability / 10}{reason}: "
            f"edge-export engine --bundle {self._folder} --precision {precision} --flavour {flavour}"
        )

    def _tensorrt_files(self, part: str) -> tuple[Sequence[str], Precision]:
        """Files whose engines will do, the best first, and the precision to build. What is asked for must be."""
        chosen = choose_precision(self._manifest, self._wanted, INT8_TENSORRT, allow_ungated=self._allow_ungated)
        in_float: Precision = "float32" if self._wanted == FLOAT32 else "float16"
        precision: Precision = "int8" if chosen == INT8_TENSORRT else in_float
        files = [file for file in FILES[precision] if file in self._manifest.parts[part].files]
        return files[:1] if self._wanted else files, precision


def _named(engine: Engine, file: str) -> Engine:
    """Its name tells the precision, where that is not float32."""
    if file != FLOAT32:
        engine.name = f"{engine.name} {_precision(file)}"
    return engine


def _precision(file: str) -> str:
    """Of the file under a key of a bundle: "int8" of "int8-tensorrt"."""
    return file.partition("-")[0]


def _say(text: str) -> None:
    warn(f"edge-run: {text}")
