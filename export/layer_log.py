"""What a build really made of each layer, read from what the builder logs; no GPU is needed."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

LAYERS = "Layers:"
"""How the message begins in which TensorRT-RTX lists an engine's layers, in DETAILED verbosity, to a VERBOSE logger."""

_LAYER = re.compile(
    r"^\s*Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: (?P<inputs>.*?), Constants: (?P<constants>.*?), "
    r"Outputs: (?P<outputs>.*?), TacticName: "
)
_SUFFIX = re.compile(r"_myl\d+_\d+$")
"""What the compiler appends to the name of an ONNX node."""


@dataclass(frozen=True)
class Layer:
    """One layer of an engine, with the data types of what it reads, of its weights, and of what it writes."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]


def layers_from_log(messages: Iterable[str]) -> list[Layer]:
    """The layers of the last engine that the messages tell of; none where this TensorRT writes them otherwise."""
    listings = [message for message in messages if message.startswith(LAYERS)]
    found = [_LAYER.match(line) for line in listings[-1].splitlines()[1:]] if listings else []
    return [
        Layer(line["name"], line["kind"], *(_types(line[key]) for key in ("inputs", "constants", "outputs")))
        for line in found
        if line
    ]


def convolution_types(layers: Iterable[Layer], convolutions: Collection[str]) -> dict[str, int]:
    """How many of the named convolutions read and weigh in which type: {"Int8": 20}; others are "unread"."""
    types = Counter[str]()
    for layer in layers:
        if _SUFFIX.sub("", layer.name) in convolutions and layer.kind == "correlation":
            data, weights = layer.inputs[0], layer.constants[0]
            types[data if data == weights else f"{data} x {weights}"] += 1
    unread = len(convolutions) - types.total()
    return dict(types) | ({"unread": unread} if unread else {})


def text_of_types(convolutions: Mapping[str, int] | None) -> str:
    """What `convolution_types` found, in words; None: the log did not tell."""
    if convolutions is None:
        return "convolutions of unknown types"
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(convolutions.items()))
    return f"convolutions: {counts}" if counts else "no convolutions"


def _types(tensors: str) -> tuple[str, ...]:
    return tuple(re.findall(r"Datatype: (\w+)", tensors))
