"""API of TensorRT's Python bindings, read from the real ones: names of all members, and parameters of all methods.

The bindings are 1 MB; the libraries beneath them are gigabytes, and are replaced by empty ones that are good enough to
import. Nothing of TensorRT runs.

    python tests/export/read_bindings.py tensorrt-cu12-bindings==10.3.0 > tests/export/bindings/10.3.0.json
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CLASSES = (
    "Builder", "IBuilderConfig", "INetworkDefinition", "IOptimizationProfile", "OnnxParser", "ParserError", "ITensor",
    "ILayer", "ITimingCache", "IHostMemory", "ILogger", "IProgressMonitor", "Runtime", "ICudaEngine",
    "IExecutionContext", "IRuntimeConfig",
)  # fmt: skip
ENUMS = (
    "BuilderFlag", "NetworkDefinitionCreationFlag", "ProfilingVerbosity", "MemoryPoolType", "LayerType", "DataType",
    "CudaGraphStrategy",
)  # fmt: skip
NESTED_ENUMS = {"ILogger.Severity": ("ILogger", "Severity"), "TensorIOMode": ("TensorIOMode",)}

SYMBOLS = {
    "libnvinfer.so": [
        "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry", "getPluginRegistry",
    ],
    "libnvinfer_plugin.so": ["initLibNvInferPlugins"],
    "libnvonnxparser.so": [
        "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getNvOnnxParserVersion",
    ],
    "libnvparsers.so": [  # 8.6 has it
        "_ZN11nvuffparser15createUffParserEv", "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
        "_ZN14nvcaffeparser117createCaffeParserEv", "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
    ],
}  # fmt: skip
"""What the bindings look up when they are imported."""


def read_bindings(package: str) -> dict[str, Any]:
    """Download the wheel of `package`, such as "tensorrt-cu12-bindings==10.3.0", and read it in another process."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, package]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        _write_empty_libraries(Path(folder))
        environment = os.environ | {"LD_LIBRARY_PATH": folder, "PYTHONPATH": folder}
        command = [sys.executable, __file__, "--installed"]
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def read_installed(trt: Any) -> dict[str, Any]:
    """API of bindings that are imported."""
    api: dict[str, Any] = {"version": trt.__version__, "classes": {}, "enums": {}}
    for name in CLASSES:
        if hasattr(trt, name):
            members = getattr(trt, name)
            public = [member for member in dir(members) if not member.startswith("_")]
            api["classes"][name] = {member: _parameters(getattr(members, member)) for member in public}
    for name, path in {**{name: (name,) for name in ENUMS}, **NESTED_ENUMS}.items():
        value = trt
        for step in path:
            value = getattr(value, step, None)
        if value is not None:
            api["enums"][name] = {member: int(number) for member, number in value.__members__.items()}
    return api


def _parameters(member: Any) -> list[str] | None:
    """Names of a method's parameters, "=" behind those with a default; None for what is no method or is overloaded."""
    line = (getattr(member, "__doc__", None) or "").strip().split("\n")[0]
    match = re.match(r"\w+(\(.*\)) -> .*$", line)
    if not callable(member) or not match or "*args" in line:
        return None
    parameters, depth = [""], 0
    for character in match[1][1:-1]:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and not depth:
            parameters.append("")
        else:
            parameters[-1] += character
    return [parameter.split(":")[0].strip() + ("=" if "=" in parameter else "") for parameter in parameters]


def _write_empty_libraries(folder: Path) -> None:
    (bindings,) = folder.glob("tensorrt_bindings/tensorrt.so")
    needed = subprocess.run(["readelf", "-d", bindings], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"\[(libnv\w+\.so\.\d+)\]", needed):
        source = folder / "empty.c"
        symbols = SYMBOLS.get(library.rsplit(".", 1)[0], [])
        source.write_text("".join(f"void *{symbol}() {{ return 0; }}\n" for symbol in symbols))
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", folder / library, source]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--installed":
        import tensorrt_bindings  # type: ignore[import-not-found]

        print(json.dumps(read_installed(tensorrt_bindings)))
    else:
        print(json.dumps(read_bindings(sys.argv[1]), indent=1))
