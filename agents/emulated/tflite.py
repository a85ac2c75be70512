"""Networks as int8 TensorFlow Lite models, written without TensorFlow.

Field numbers and codes are those of `schema.fbs`, version 3, in TensorFlow's sources. Tensors are
NHWC; every scale is made up and every weight is a seeded int8, as only the work matters here. What
differs from the network: `SAME` padding puts all of an odd padding at the end (convolutions of
stride 2), which is the same work; batch norm that follows no convolution is a product and a sum;
a convolution in groups is one for each group, between a split and a concatenation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

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
from farm.spaces.graph import INPUT_NAME, Graph, Node
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

_INT32, _INT8 = 2, 9
"""Types of tensors."""

_SCALE = 0.05
_SAME, _VALID = 0, 1

_OPERATORS = {
    "ADD": (0, 11),
    "AVERAGE_POOL_2D": (1, 5),
    "CONCATENATION": (2, 10),
    "CONV_2D": (3, 1),
    "DEPTHWISE_CONV_2D": (4, 2),
    "FULLY_CONNECTED": (9, 8),
    "MUL": (18, 21),
    "RELU": (19, 0),
    "RESHAPE": (22, 17),
    "SPLIT": (49, 35),
    "TRANSPOSE": (39, 26),
}
"""Code of the operator, and of the table of its options (0: it has none)."""

Options = Mapping[int, Any]


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
        self._codes: list[str] = []
        self.shapes: list[Shape] = []

    def tensor(
        self, shape: Shape, data: bytes | None = None, kind: int = _INT8, scale: float = _SCALE
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
        return self.tensor((count,), bytes(4 * count), _INT32, _SCALE * 0.01)

    def integers(self, values: Sequence[int]) -> int:
        data = b"".join(value.to_bytes(4, "little") for value in values)
        return self.tensor((len(values),) if len(values) > 1 else (), data, _INT32)

    def apply(self, name: str, inputs: Sequence[int], shape: Shape, options: Options = {}) -> int:  # noqa: B006
        """The output of an operator with one output."""
        return self.apply_many(name, inputs, [shape], options)[0]

    def apply_many(
        self, name: str, inputs: Sequence[int], shapes: Sequence[Shape], options: Options
    ) -> list[int]:
        outputs = [self.tensor(shape) for shape in shapes]
        if name not in self._codes:
            self._codes.append(name)
        fields: dict[int, Any] = {
            0: Number(UINT, self._codes.index(name)),
            1: Numbers(INT, inputs),
            2: Numbers(INT, outputs),
        }
        if _OPERATORS[name][1]:
            fields |= {3: _byte(_OPERATORS[name][1]), 4: Table(options)}
        self._operators.append(Table(fields))
        return outputs

    def finish(self, source: int, output: int) -> bytes:
        codes = [_OPERATORS[name][0] for name in self._codes]
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
            1: [Table({0: _byte(code), 2: _int(1), 3: _int(code)}) for code in codes],
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
            scaled = writer.apply(
                "MUL", [inputs[0], writer.weight(shape[-1:])], shape, {0: _byte(0)}
            )
            return writer.apply("ADD", [scaled, writer.weight(shape[-1:])], shape, {0: _byte(0)})
        case Relu():
            return writer.apply("RELU", inputs, shape)
        case AvgPool(kernel=kernel, stride=stride, padding=padding):
            return _pool(writer, inputs[0], shape, kernel, stride, _SAME if padding else _VALID)
        case Add():
            return writer.apply("ADD", inputs, shape, {0: _byte(0)})
        case Zeros():
            return writer.tensor(shape, bytes(prod(shape)))
        case ChannelShuffle(groups=groups):
            return _shuffle(writer, inputs[0], shape, groups)
        case GlobalAvgPool():
            return _global_pool(writer, inputs[0], shape)
        case Linear(features=features):
            weight = writer.weight((features, writer.shapes[inputs[0]][-1]))
            operands = [inputs[0], weight, writer.bias(features)]
            return writer.apply("FULLY_CONNECTED", operands, shape, {0: _byte(0)})


def _conv(writer: _Writer, op: Conv, x: int, shape: Shape) -> int:
    channels = writer.shapes[x][-1]
    if op.groups == channels == op.channels:
        weight = writer.weight((1, op.kernel, op.kernel, channels))
        fields = {**_slide(op.stride), 3: _int(1), 4: _byte(0), 5: _int(1), 6: _int(1)}
        operands = [x, weight, writer.bias(channels)]
        return writer.apply("DEPTHWISE_CONV_2D", operands, shape, fields)
    if op.groups == 1:
        return _dense_conv(writer, op, x, shape)
    part = (*writer.shapes[x][:-1], channels // op.groups)
    axis = writer.integers([3])
    parts = writer.apply_many("SPLIT", [axis, x], [part] * op.groups, {0: _int(op.groups)})
    narrow = (*shape[:-1], shape[-1] // op.groups)
    outputs = [_dense_conv(writer, op, part, narrow) for part in parts]
    return writer.apply("CONCATENATION", outputs, shape, {0: _int(3), 1: _byte(0)})


def _dense_conv(writer: _Writer, op: Conv, x: int, shape: Shape) -> int:
    weight = writer.weight((shape[-1], op.kernel, op.kernel, writer.shapes[x][-1]))
    fields = {**_slide(op.stride), 3: _byte(0), 4: _int(1), 5: _int(1)}
    return writer.apply("CONV_2D", [x, weight, writer.bias(shape[-1])], shape, fields)


def _slide(stride: int, padding: int = _SAME) -> dict[int, Number]:
    return {0: _byte(padding), 1: _int(stride), 2: _int(stride)}


def _pool(writer: _Writer, x: int, shape: Shape, kernel: int, stride: int, padding: int) -> int:
    fields = {**_slide(stride, padding), 3: _int(kernel), 4: _int(kernel), 5: _byte(0)}
    return writer.apply("AVERAGE_POOL_2D", [x], shape, fields)


def _global_pool(writer: _Writer, x: int, shape: Shape) -> int:
    n, height, _, channels = writer.shapes[x]
    pooled = _pool(writer, x, (n, 1, 1, channels), height, height, _VALID)
    return _reshape(writer, pooled, shape)


def _reshape(writer: _Writer, x: int, shape: Shape) -> int:
    operands = [x, writer.integers(shape)]
    return writer.apply("RESHAPE", operands, shape, {0: Numbers(INT, shape)})


def _shuffle(writer: _Writer, x: int, shape: Shape, groups: int) -> int:
    n, height, width, channels = shape
    pixels, each = n * height * width, channels // groups
    apart = _reshape(writer, x, (pixels, groups, each))
    order = writer.integers([0, 2, 1])
    turned = writer.apply("TRANSPOSE", [apart, order], (pixels, each, groups))
    return _reshape(writer, turned, shape)
