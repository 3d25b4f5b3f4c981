"""3-D convolutions as 2-D ones: the same sums, for which ONNX Runtime has fast INT8 kernels and for 3-D has none.

y[t] = sum of w[k] * x[s t + k - p] over k is one 2-D convolution of the images x[s t - p], x[s t - p + 1], ..., taken
together as channels. So volumes (1, C, T, H, W) stay frames (T, C, H, W) from the graph's input to what pools them,
and quantized ones are shifted in time as bytes. onnx.ai/onnx/operators defines Conv, MaxPool and the rest.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FRAMEWISE = {"Conv", "MaxPool", "Relu", "Add", "BatchNormalization", "QuantizeLinear", "DequantizeLinear"}
"""Operations that do to frames, rewritten or as they are, what they do to a volume."""

CHANNELS = 4
"""ONNX Runtime's fastest INT8 convolution takes channels by fours: images with weights of zero fill them up."""


def has_volumes(path: Path) -> bool:
    """Whether the graph at `path` takes volumes."""
    return any(len(value.type.tensor_type.shape.dim) == 5 for value in onnx.load(path).graph.input)


def frames_from_volumes(path: Path) -> None:
    """Rewrite the graph at `path` in place, for batches of one; in float or with Q/DQ, its output stays the same.

    Convolutions are expected without groups and dilation, and padded the same on both sides.
    """
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    _Rewriting(onnx.shape_inference.infer_shapes(model)).write(path)


class _Rewriting:
    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._model, self._nodes = model, list[onnx.NodeProto]()
        self._producers = {name: node for node in graph.node for name in node.output}
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        known = (*graph.input, *graph.value_info)
        shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in known}
        self._volumes = {name: shape for name, shape in shapes.items() if len(shape) == 5}

    def write(self, path: Path) -> None:
        graph = self._model.graph
        renamed = {value.name: self._frames(value.name) for value in graph.input if value.name in self._volumes}
        for node in graph.node:
            volumes = [name for name in node.input if name in self._volumes]
            node.input[:] = [renamed.get(name, name) for name in node.input]
            if volumes and node.op_type not in FRAMEWISE:
                node.input[:] = [self._volume(name) if name in volumes else name for name in node.input]
            if volumes and node.op_type == "Conv":
                self._convolve(node, self._volumes[volumes[0]][2])
            elif volumes and node.op_type == "MaxPool":
                self._pool(node, self._volumes[node.output[0]][2])
            else:
                self._nodes.append(node)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self._in_use())
        onnx.save(self._model, path)

    def _in_use(self) -> list[onnx.NodeProto]:
        """The nodes that the outputs need: ONNX Runtime computes those that nothing needs any more too."""
        needed, nodes = {value.name for value in self._model.graph.output}, list[onnx.NodeProto]()
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        return nodes[::-1]

    def _convolve(self, node: onnx.NodeProto, images: int) -> None:
        """Shift and concatenate the convolution's input, and lay its weights out alike."""
        weights = self._weights(node.input[1])
        (step, *strides), (pad, *pads) = _attribute(node, "strides"), _attribute(node, "pads")[:3]
        channels, taps = weights.shape[1:3]
        length = (images + 2 * pad - taps) // step + 1
        data, zero = self._undequantized(node.input[0])
        if pad:
            sides = self._constant([pad, 0, 0, 0, pad, 0, 0, 0])
            data = self._add("Pad", [data, sides, *([zero] if zero else [])])
        if taps > 1 or step > 1:
            shifted = [self._shifted(data, tap, length, step) for tap in range(taps)]
            while zero and len(shifted) * channels % CHANNELS:
                shifted.append(shifted[-1])
            data = self._add("Concat", shifted, axis=1)
            weights = np.pad(weights, [(0, 0), (0, 0), (0, len(shifted) - taps), (0, 0), (0, 0)])
        self._set_weights(node.input[1], weights.transpose(0, 2, 1, 3, 4).reshape(len(weights), -1, *weights.shape[3:]))
        self._nodes.append(
            helper.make_node(
                "Conv", [self._dequantized(data, node.input[0]), *node.input[1:]], node.output, node.name,
                kernel_shape=weights.shape[3:], strides=strides, pads=[*pads, *pads],
            )
        )  # fmt: skip

    def _pool(self, node: onnx.NodeProto, length: int) -> None:
        """Pool in space, then in time: the maximum of maxima. The outermost images, once more, stand for padding."""
        (size, *sizes), (step, *strides) = _attribute(node, "kernel_shape"), _attribute(node, "strides")
        pad, *pads = _attribute(node, "pads")[:3]
        data, _ = self._undequantized(node.input[0])
        data = self._add("MaxPool", [data], kernel_shape=sizes, strides=strides, pads=[*pads, *pads])
        data = self._add("Pad", [data, self._constant([pad, 0, 0, 0, pad, 0, 0, 0])], mode="edge")
        data = self._add("Max", [self._shifted(data, tap, length, step) for tap in range(size)])
        self._nodes.append(helper.make_node("Identity", [self._dequantized(data, node.input[0])], node.output))

    def _shifted(self, frames: str, first: int, length: int, step: int) -> str:
        """Every `step`-th image, `length` of them, from `first` on."""
        ends = (first, first + (length - 1) * step + 1, 0, step)
        return self._add("Slice", [frames, *(self._constant([n]) for n in ends)])

    def _frames(self, volume: str) -> str:
        return self._add("Transpose", [self._add("Squeeze", [volume, self._constant([0])])], perm=[1, 0, 2, 3])

    def _volume(self, frames: str) -> str:
        return self._add("Unsqueeze", [self._add("Transpose", [frames], perm=[1, 0, 2, 3]), self._constant([0])])

    def _undequantized(self, name: str) -> tuple[str, str]:
        """The bytes behind a dequantized tensor and their zero point, or the float tensor itself and nothing."""
        producer = self._producers.get(name)
        if producer is None or producer.op_type != "DequantizeLinear":
            return name, ""
        return producer.input[0], producer.input[2]

    def _dequantized(self, data: str, like: str) -> str:
        producer = self._producers.get(like)
        if producer is None or producer.op_type != "DequantizeLinear":
            return data
        return self._add("DequantizeLinear", [data, *producer.input[1:]])

    def _weights(self, name: str) -> Any:
        return numpy_helper.to_array(self._initializers[self._undequantized(name)[0]])

    def _set_weights(self, name: str, weights: Any) -> None:
        stored = self._undequantized(name)[0]
        self._initializers[stored].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights), stored))

    def _constant(self, values: list[int]) -> str:
        name = f"frames_constant_{'_'.join(map(str, values))}"
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.array(values, np.int64), name)
            self._model.graph.initializer.append(self._initializers[name])
        return name

    def _add(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        output = f"frames_{operation}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [output], output, **attributes))
        return output


def _attribute(node: onnx.NodeProto, name: str) -> list[int]:
    return list(next(attribute.ints for attribute in node.attribute if attribute.name == name))
