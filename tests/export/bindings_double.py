"""A TensorRT of any version as far as its names go: what the real bindings lack raises AttributeError here too.

It builds nothing. Calls are checked against the parameters of the real methods, and kept.
"""

import inspect
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

FOLDER = Path(__file__).parent / "bindings"
VERSIONS = sorted(path.stem for path in FOLDER.glob("*.json"))

INPUTS = {"face": (-1, 1, 48, 48), "mask": (-1, 40)}
RETURNS = {
    "create_network": "INetworkDefinition",
    "create_builder_config": "IBuilderConfig",
    "create_optimization_profile": "IOptimizationProfile",
    "create_timing_cache": "ITimingCache",
    "get_timing_cache": "ITimingCache",
    "deserialize_cuda_engine": "ICudaEngine",
    "create_runtime_config": "IRuntimeConfig",
    "create_execution_context": "IExecutionContext",
}
"""Class of what a method returns."""


class Recorder:
    """An instance of one class of the bindings. values : what its other methods and attributes give."""

    def __init__(self, api: dict[str, Any], class_name: str, calls: list[Any], **values: Any) -> None:
        vars(self).update(
            _api=api, _class=class_name, _calls=calls, _values=values, _members=api["classes"][class_name]
        )

    def __getattr__(self, name: str) -> Any:
        if name not in self._members:
            raise AttributeError(f"TensorRT {self._api['version']} has no {self._class}.{name}")
        if name in self._values and not callable(self._values[name]):
            return self._values[name]

        def method(*args: Any, **kwargs: Any) -> Any:
            if self._members[name] is not None:
                _signature(self._members[name]).bind(self, *args, **kwargs)
            self._calls.append((f"{self._class}.{name}", args))
            if name in RETURNS:
                return Recorder(self._api, RETURNS[name], self._calls, **VALUES.get(RETURNS[name], {}))
            return self._values[name](*args) if name in self._values else True

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._members:
            raise AttributeError(f"TensorRT {self._api['version']} has no {self._class}.{name}")
        self._calls.append((f"{self._class}.{name}", (value,)))


VALUES: dict[str, dict[str, Any]] = {
    "INetworkDefinition": {
        "num_inputs": len(INPUTS),
        "get_input": lambda index: SimpleNamespace(name=list(INPUTS)[index], shape=list(INPUTS.values())[index]),
        "num_layers": 0,
    },
    "ITimingCache": {"serialize": lambda: b"times"},
    "Builder": {"build_serialized_network": lambda network, config: b"plan"},
}


def tensorrt_double(version: str) -> tuple[Any, list[Any]]:
    """A stand-in for the module `tensorrt` of a version, and the list that its calls are added to."""
    return double_of(json.loads((FOLDER / f"{version}.json").read_text()), "tensorrt")


def double_of(api: dict[str, Any], name: str) -> tuple[Any, list[Any]]:
    """The same of any API that `read_bindings` gives."""
    calls: list[Any] = []

    def create(name: str) -> Any:
        return lambda *args: Recorder(api, name, calls, **VALUES.get(name, {}))

    enums = {name: SimpleNamespace(**members) for name, members in api["enums"].items() if "." not in name}
    severity = SimpleNamespace(**api["enums"]["ILogger.Severity"])
    bases = {"ILogger": type("ILogger", (), {"Severity": severity})}
    if "IProgressMonitor" in api["classes"]:
        bases["IProgressMonitor"] = type("IProgressMonitor", (), {})
    functions = {name: create(name) for name in ("Builder", "OnnxParser", "Runtime")}
    trt = ModuleType(name)  # can be a key, as the real one
    vars(trt).update(__version__=api["version"], **enums, **bases, **functions)
    return trt, calls


def _signature(parameters: list[str]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [
            inspect.Parameter(name.rstrip("="), kind, default=None if name.endswith("=") else inspect.Parameter.empty)
            for name in sorted(parameters, key=lambda name: name.endswith("="))
        ]
    )
