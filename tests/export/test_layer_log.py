"""Types of layers, read from lines that TensorRT-RTX 1.7.1 wrote."""

from export.layer_log import convolution_types, layers_from_log, text_of_types

TENSOR = (
    "{{ Name: {0}, Dimensions: [-1,16,48,48], Strides: [36864,1,768,16], StrideOrder: [3,0,2,1], Datatype: {1}, "
    "Format: (NHWC) Channel major format }}"
)


def line(name, kind, inputs, constants, outputs):
    lists = [", ".join(TENSOR.format("t", kind) for kind in kinds) for kinds in (inputs, constants, outputs)]
    inputs, constants, outputs = (f"[ {tensors}]" if tensors else "[]" for tensors in lists)
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: {inputs}, Constants: {constants}, Outputs: {outputs}, "
        "TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: /conv1/Conv]"
    )


LOG = "\n".join(
    [
        "Layers:",
        line("__mye1812_0_myl0_0", "shape_call", [], [], []),
        line("__myl_MulAddRelu_myl0_2", "kgen", ["Float"], ["Float", "Float"], ["Int8"]),
        line("/conv1/Conv_myl0_3", "correlation", ["Int8"], ["Int8", "Float", "Float"], ["Float"]),
        line("/conv1/Conv_1_myl0_4", "correlation", ["Half", "Half"], ["Half", "Float"], ["Half"]),
        line("/conv2/Conv_myl0_5", "correlation", ["Int8"], ["Half", "Float"], ["Half"]),
        "",
        "I/O Tensors:",
        " Name: face, IOMode: Input, DataType: Float, Dimensions: [-1,1,48,48], Location: Device",
    ]
)


def test_layers_have_their_types():
    layers = layers_from_log(["something else", LOG])
    assert [layer.kind for layer in layers] == ["shape_call", "kgen", "correlation", "correlation", "correlation"]
    assert layers[1].constants == ("Float", "Float")
    assert layers[2].inputs == ("Int8",)
    assert layers[2].outputs == ("Float",)


def test_convolutions_are_counted_by_type_and_those_not_found_too():
    names = {"/conv1/Conv", "/conv1/Conv_1", "/conv2/Conv", "/conv3/Conv"}
    assert convolution_types(layers_from_log([LOG]), names) == {"Int8": 1, "Half": 1, "Int8 x Half": 1, "unread": 1}


def test_the_last_listing_counts():
    other = LOG.replace("Int8", "Float")
    assert convolution_types(layers_from_log([LOG, other]), {"/conv1/Conv"}) == {"Float": 1}


def test_a_log_without_a_listing_tells_nothing():
    assert layers_from_log(["[MemUsageChange] Init CUDA: CPU +2"]) == []


def test_types_in_words():
    assert text_of_types({"Int8": 20, "Half": 1}) == "convolutions: 1 Half, 20 Int8"
    assert text_of_types({}) == "no convolutions"
    assert text_of_types(None) == "convolutions of unknown types"
