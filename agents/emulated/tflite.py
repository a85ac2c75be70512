"""Networks as int8 TensorFlow Lite models, written without TensorFlow.

Codes are those of Vela's own enumerations (the extra `vela`), field numbers those of `schema.fbs`,
version 3, in TensorFlow's sources. Tensors are NHWC; every scale is made up and every weight is a
seeded int8, as only the work matters here. What differs from the network: `SAME` padding puts all
of an odd padding at the end (convolutions of stride 2), which is the same work; batch norm that
follows no convolution is a product and a sum; a convolution in groups is one for each group,
between a split and a concatenation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from ethosu.vela.tflite.ActivationFunctionType import ActivationFunctionType
from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
from ethosu.vela.tflite.BuiltinOptions import BuiltinOptions
from ethosu.vela.tflite.Padding import Padding
from ethosu.vela.tflite.TensorType import TensorType

from agents.emulated.flatbuffer import (
    BYTE,
    FLOAT,
    INT,
    LONG,
    UINT,
    Number,
    Numbers,
    Table,
    serialise,
)
from agents.on_device.loading import seeded_values
from farm.core.arguments import INPUT_NAME
from farm.spaces.graph import Graph, Node
from farm.spaces.ops import (
    Add,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    Conv,
    GlobalAvgPool,
    Linear,
    Relu,
    Shape,
    Zeros,
)

VERSION = "1"
"""To be raised when networks are written as other models than before."""

_SCALE = 0.05

_OPTIONS = {
    BuiltinOperator.ADD: BuiltinOptions.AddOptions,
    BuiltinOperator.AVERAGE_POOL_2D: BuiltinOptions.Pool2DOptions,
    BuiltinOperator.CONCATENATION: BuiltinOptions.ConcatenationOptions,
    BuiltinOperator.CONV_2D: BuiltinOptions.Conv2DOptions,
    BuiltinOperator.DEPTHWISE_CONV_2D: BuiltinOptions.DepthwiseConv2DOptions,
    BuiltinOperator.FULLY_CONNECTED: BuiltinOptions.FullyConnectedOptions,
    BuiltinOperator.MUL: BuiltinOptions.MulOptions,
    BuiltinOperator.RELU: BuiltinOptions.NONE,
    BuiltinOperator.RESHAPE: BuiltinOptions.ReshapeOptions,
    BuiltinOperator.SPLIT: BuiltinOptions.SplitOptions,
    BuiltinOperator.TRANSPOSE: BuiltinOptions.TransposeOptions,
}
"""The table of each operator's options."""

Options = Mapping[int, Any]

_NONE: Options = {}

_PLAIN = Number(BYTE, ActivationFunctionType.NONE)
"""Of an operator: no activation within it."""


def model(graph: Graph) -> bytes:
    """A .tflite file; the batch of `graph` must be 1."""
    writer = _Writer()
    names = {INPUT_NAME: writer.tensor(_nhwc(graph.input_shape))}
    for node in graph.nodes:
        names[node.name] = _write(writer, node, [names[name] for name in node.inputs], graph)
    return writer.finish(names[INPUT_NAME], names[graph.output])


def _nhwc(shape: Shape) -> Shape:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _int(value: int) -> Number:
    return Number(INT, value)


def _byte(value: int) -> Number:
    return Number(BYTE, value)


class _Writer:
    """Collects tensors and operators; tensors are known by their number."""

    def __init__(self) -> None:
        self._buffers = [Table({})]  # the first is what tensors without data point to
        self._tensors: list[Table] = []
        self._operators: list[Table] = []
        self._codes: list[int] = []
        self.shapes: list[Shape] = []

    def tensor(
        self,
        shape: Shape,
        data: bytes | None = None,
        kind: int = TensorType.INT8,
        scale: float = _SCALE,
    ) -> int:
        """data: of a constant."""
        quantization = Table({2: Numbers(FLOAT, [scale]), 3: Numbers(LONG, [0])})
        number = len(self._tensors)
        self.shapes.append(shape)
        self._tensors.append(
            Table(
                {
                    0: Numbers(INT, shape),
                    1: _byte(kind),
                    2: Number(UINT, self._buffer(data)),
                    3: f"t{number}",
                    4: quantization,
                }
            )
        )
        return number

    def _buffer(self, data: bytes | None) -> int:
        if data is None:
            return 0
        self._buffers.append(Table({0: data}))
        return len(self._buffers) - 1

    def weight(self, shape: Shape) -> int:
        values = seeded_values(0, len(self._tensors), prod(shape), 127.0)
        return self.tensor(shape, bytes(int(value) & 0xFF for value in values), scale=0.01)

    def bias(self, count: int) -> int:
        return self.tensor((count,), bytes(4 * count), TensorType.INT32, _SCALE * 0.01)

    def integers(self, values: Sequence[int]) -> int:
        data = b"".join(value.to_bytes(4, "little") for value in values)
        return self.tensor((len(values),) if len(values) > 1 else (), data, TensorType.INT32)

    def apply(
        self, operator: int, inputs: Sequence[int], shape: Shape, options: Options = _NONE
    ) -> int:
        """The output of an operator with one output."""
        return self.apply_many(operator, inputs, [shape], options)[0]

    def apply_many(
        self, operator: int, inputs: Sequence[int], shapes: Sequence[Shape], options: Options
    ) -> list[int]:
        outputs = [self.tensor(shape) for shape in shapes]
        if operator not in self._codes:
            self._codes.append(operator)
        fields: dict[int, Any] = {
            0: Number(UINT, self._codes.index(operator)),
            1: Numbers(INT, inputs),
            2: Numbers(INT, outputs),
        }
        if _OPTIONS[operator] != BuiltinOptions.NONE:
            fields |= {3: _byte(_OPTIONS[operator]), 4: Table(options)}
        self._operators.append(Table(fields))
        return outputs

    def finish(self, source: int, output: int) -> bytes:
        subgraph = Table(
            {
                0: self._tensors,
                1: Numbers(INT, [source]),
                2: Numbers(INT, [output]),
                3: self._operators,
                4: "main",
            }
        )
        fields = {
            0: Number(UINT, 3),
            1: [Table({0: _byte(code), 2: _int(1), 3: _int(code)}) for code in self._codes],
            2: [subgraph],
            4: self._buffers,
        }
        return serialise(Table(fields), b"TFL3")


def _write(writer: _Writer, node: Node, inputs: list[int], graph: Graph) -> int:
    """The number of the tensor that the node makes."""
    shape = _nhwc(graph.shapes[node.name])
    match node.op:
        case Conv() as op:
            return _conv(writer, op, inputs[0], shape)
        case BatchNorm():
            return _scale_and_shift(writer, inputs[0], shape)
        case Relu():
            return writer.apply(BuiltinOperator.RELU, inputs, shape)
        case AvgPool(kernel=kernel, stride=stride, padding=padding):
            kept = Padding.SAME if padding else Padding.VALID
            return _pool(writer, inputs[0], shape, kernel, stride, kept)
        case Add():
            return writer.apply(BuiltinOperator.ADD, inputs, shape, {0: _PLAIN})
        case Zeros():
            return writer.tensor(shape, bytes(prod(shape)))
        case ChannelShuffle(groups=groups):
            return _shuffle(writer, inputs[0], shape, groups)
        case GlobalAvgPool():
            return _global_pool(writer, inputs[0], shape)
        case Linear(features=features):
            weight = writer.weight((features, writer.shapes[inputs[0]][-1]))
            operands = [inputs[0], weight, writer.bias(features)]
            return writer.apply(BuiltinOperator.FULLY_CONNECTED, operands, shape, {0: _PLAIN})


def _scale_and_shift(writer: _Writer, x: int, shape: Shape) -> int:
    operands = [x, writer.weight(shape[-1:])]
    scaled = writer.apply(BuiltinOperator.MUL, operands, shape, {0: _PLAIN})
    operands = [scaled, writer.weight(shape[-1:])]
    return writer.apply(BuiltinOperator.ADD, operands, shape, {0: _PLAIN})


def _conv(writer: _Writer, op: Conv, x: int, shape: Shape) -> int:
    channels = writer.shapes[x][-1]
    if op.groups == channels == op.channels:
        weight = writer.weight((1, op.kernel, op.kernel, channels))
        fields = {**_slide(op.stride), 3: _int(1), 4: _PLAIN, 5: _int(1), 6: _int(1)}
        operands = [x, weight, writer.bias(channels)]
        return writer.apply(BuiltinOperator.DEPTHWISE_CONV_2D, operands, shape, fields)
    if op.groups == 1:
        return _dense_conv(writer, op, x, shape)
    part = (*writer.shapes[x][:-1], channels // op.groups)
    axis = writer.integers([3])
    fields = {0: _int(op.groups)}
    parts = writer.apply_many(BuiltinOperator.SPLIT, [axis, x], [part] * op.groups, fields)
    narrow = (*shape[:-1], shape[-1] // op.groups)
    outputs = [_dense_conv(writer, op, part, narrow) for part in parts]
    return writer.apply(BuiltinOperator.CONCATENATION, outputs, shape, {0: _int(3), 1: _PLAIN})


def _dense_conv(writer: _Writer, op: Conv, x: int, shape: Shape) -> int:
    weight = writer.weight((shape[-1], op.kernel, op.kernel, writer.shapes[x][-1]))
    fields = {**_slide(op.stride), 3: _PLAIN, 4: _int(1), 5: _int(1)}
    return writer.apply(BuiltinOperator.CONV_2D, [x, weight, writer.bias(shape[-1])], shape, fields)


def _slide(stride: int, padding: int = Padding.SAME) -> dict[int, Number]:
    return {0: _byte(padding), 1: _int(stride), 2: _int(stride)}


def _pool(writer: _Writer, x: int, shape: Shape, kernel: int, stride: int, padding: int) -> int:
    fields = {**_slide(stride, padding), 3: _int(kernel), 4: _int(kernel), 5: _PLAIN}
    return writer.apply(BuiltinOperator.AVERAGE_POOL_2D, [x], shape, fields)


def _global_pool(writer: _Writer, x: int, shape: Shape) -> int:
    n, height, _, channels = writer.shapes[x]
    pooled = _pool(writer, x, (n, 1, 1, channels), height, height, Padding.VALID)
    return _reshape(writer, pooled, shape)


def _reshape(writer: _Writer, x: int, shape: Shape) -> int:
    operands = [x, writer.integers(shape)]
    return writer.apply(BuiltinOperator.RESHAPE, operands, shape, {0: Numbers(INT, shape)})


def _shuffle(writer: _Writer, x: int, shape: Shape, groups: int) -> int:
    n, height, width, channels = shape
    pixels, each = n * height * width, channels // groups
    apart = _reshape(writer, x, (pixels, groups, each))
    order = writer.integers([0, 2, 1])
    turned = writer.apply(BuiltinOperator.TRANSPOSE, [apart, order], (pixels, each, groups))
    return _reshape(writer, turned, shape)
