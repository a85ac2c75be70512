"""An ONNX model in normal form as a torch module, for what needs gradients.

Weights have torch's own initial values: the normal form has none. Batch norm that was folded stays
folded; one that stands alone is a scale and a shift. Takes any batch size, though the model has 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn

from farm.core.arguments import own_inputs, weights
from farm.core.errors import NetworkSyntaxError
from farm.spaces.onnx.read import node_label
from farm.spaces.ops import Shape


class OnnxModule(nn.Module):
    """The network of a model: (B, ...) float32 to (B, ...).

    Raises NetworkSyntaxError, which names the node, for an operator without a torch form here.
    """

    def __init__(self, model: ModelProto) -> None:
        super().__init__()
        shapes, constants = _shapes(model), _constants(model)
        sources, learnt = own_inputs(model), frozenset(value.name for value in weights(model))
        if len(sources) > 1 or len(model.graph.output) > 1:
            raise NetworkSyntaxError(
                f"torch modules have one input and one output here, this network has "
                f"{len(sources)} and {len(model.graph.output)}"
            )
        self.source = sources[0].name
        self.sink = model.graph.output[0].name
        self.layers = nn.ModuleList()
        self.wires: list[tuple[list[str], str]] = []
        for node in model.graph.node:
            if node.op_type != "Constant":
                operation = _Operation(node, shapes, constants, learnt)
                self.layers.append(_layer(operation))
                self.wires.append((operation.activations, node.output[0]))

    def forward(self, x: Tensor) -> Tensor:
        values = {self.source: x}
        for layer, (inputs, output) in zip(self.layers, self.wires, strict=True):
            values[output] = layer(*(values[name] for name in inputs))
        return values[self.sink]


@dataclass(frozen=True)
class _Operation:
    """A node with what is known of its operands."""

    node: NodeProto
    all_shapes: Mapping[str, Shape]
    all_constants: Mapping[str, NDArray[Any]]
    weights: frozenset[str]

    @property
    def attributes(self) -> dict[str, Any]:
        return {a.name: onnx.helper.get_attribute_value(a) for a in self.node.attribute}

    @property
    def shapes(self) -> list[Shape]:
        """Of the operands; () for one that is left out."""
        return [self.all_shapes.get(name, ()) for name in self.node.input]

    @property
    def activations(self) -> list[str]:
        """The operands that the network computes."""
        fixed = {*self.weights, *self.all_constants, ""}
        return [name for name in self.node.input if name not in fixed]

    def constant(self, position: int) -> NDArray[Any] | None:
        """The value of an operand, where it is known."""
        names = self.node.input
        return self.all_constants.get(names[position]) if position < len(names) else None

    def require(self, fits: bool, what: str) -> None:
        """Raises NetworkSyntaxError unless `fits`."""
        if not fits:
            raise NetworkSyntaxError(f"{node_label(self.node)}: torch modules take {what} here")


class _Apply(nn.Module):
    """A function of activations."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class _With(nn.Module):
    """A function of an activation and a fixed operand, which may be a parameter."""

    def __init__(self, function: Callable[..., Tensor], value: Tensor, leads: bool) -> None:
        super().__init__()
        self.function, self.leads = function, leads
        if isinstance(value, nn.Parameter):
            self.value = value
        else:
            self.register_buffer("value", value)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.value, x) if self.leads else self.function(x, self.value)


_ARITHMETIC: Mapping[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "Div": torch.div,
    "Mul": torch.mul,
    "Pow": torch.pow,
    "Sub": torch.sub,
}

_UNARY: Mapping[str, Callable[[], nn.Module]] = {
    "Erf": lambda: _Apply(torch.erf),
    "Gelu": nn.GELU,
    "GlobalAveragePool": lambda: nn.AdaptiveAvgPool2d(1),
    "HardSwish": nn.Hardswish,
    "Identity": nn.Identity,
    "Mish": nn.Mish,
    "Relu": nn.ReLU,
    "Sigmoid": nn.Sigmoid,
    "Sqrt": lambda: _Apply(torch.sqrt),
    "Tanh": nn.Tanh,
}


def _arithmetic(operation: _Operation) -> nn.Module:
    function = _ARITHMETIC[operation.node.op_type]
    if len(operation.activations) == 2:
        return _Apply(function)
    leads = operation.node.input[1] == operation.activations[0]
    position = 0 if leads else 1
    value = operation.constant(position)
    if value is not None:
        return _With(function, torch.tensor(value), leads)
    neutral = torch.zeros if operation.node.op_type in ("Add", "Sub") else torch.ones
    return _With(function, nn.Parameter(neutral(operation.shapes[position])), leads)


def _view(operation: _Operation) -> nn.Module:
    """Reshape, Flatten, Squeeze and Unsqueeze: another shape of each image's memory."""
    shape = operation.all_shapes[operation.node.output[0]]
    operation.require(bool(shape) and shape[0] == 1, "shapes with the batch in front")
    return _Apply(lambda x: x.reshape(len(x), *shape[1:]))


def _conv(operation: _Operation) -> nn.Module:
    attributes, weight = operation.attributes, operation.shapes[1]
    operation.require(len(weight) == 4, "two-dimensional convolutions")
    groups = attributes.get("group", 1)
    conv = nn.Conv2d(
        weight[1] * groups,
        weight[0],
        weight[2:],  # type: ignore[arg-type]
        tuple(attributes.get("strides", (1, 1))),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=groups,
        bias=len(operation.node.input) > 2,
    )
    return _padded(operation, conv, 0.0)


def _padded(operation: _Operation, layer: nn.Module, fill: float) -> nn.Module:
    attributes = operation.attributes
    operation.require(attributes.get("auto_pad", b"NOTSET") == b"NOTSET", "explicit pads")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if not any((top, left, bottom, right)):
        return layer
    return nn.Sequential(nn.ConstantPad2d((left, right, top, bottom), fill), layer)


def _linear(operation: _Operation) -> nn.Module:
    first, second = operation.shapes[:2]
    attributes = operation.attributes
    if operation.node.op_type == "MatMul":
        if len(operation.activations) == 2:
            return _Apply(torch.matmul)
        operation.require(len(second) == 2, "weights of two dimensions after the activation")
        return nn.Linear(second[0], second[1], bias=False)
    operation.require(not attributes.get("transA"), "images as rows")
    outputs = second[0 if attributes.get("transB") else 1]
    return nn.Linear(first[1], outputs, bias=len(operation.node.input) > 2)


def _pool(operation: _Operation) -> nn.Module:
    attributes = operation.attributes
    kernel, strides = tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1)))
    operation.require(not attributes.get("ceil_mode"), "pooling of whole windows")
    if operation.node.op_type == "MaxPool":
        return _padded(operation, nn.MaxPool2d(kernel, strides), float("-inf"))
    pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
    operation.require(pads[:2] == pads[2:], "the same pads on both sides of an average")
    counted = bool(attributes.get("count_include_pad", 0))
    return nn.AvgPool2d(kernel, strides, pads[:2], count_include_pad=counted)


def _clip(operation: _Operation) -> nn.Module:
    low, high = (
        None if value is None else float(value)
        for value in (operation.constant(1), operation.constant(2))
    )
    if (low, high) == (0.0, 6.0):
        return nn.ReLU6()
    return _Apply(lambda x: x.clamp(low, high))


def _mean(operation: _Operation) -> nn.Module:
    attributes, given = operation.attributes, operation.constant(1)
    axes = attributes.get("axes") if given is None else given.tolist()
    operation.require(axes is not None, "means over named axes")
    return _Apply(lambda x: x.mean(list(axes or ()), keepdim=bool(attributes.get("keepdims", 1))))


def _hard_sigmoid(operation: _Operation) -> nn.Module:
    attributes = operation.attributes
    slope, shift = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return _Apply(lambda x: (slope * x + shift).clamp(0, 1))


def _concat(operation: _Operation) -> nn.Module:
    axis = operation.attributes["axis"]
    complete = len(operation.activations) == len(operation.node.input)
    operation.require(complete and axis != 0, "activations of one batch to concatenate")
    return _Apply(lambda *inputs: torch.cat(inputs, axis))


def _softmax(operation: _Operation) -> nn.Module:
    return nn.Softmax(operation.attributes.get("axis", -1))


def _transpose(operation: _Operation) -> nn.Module:
    order = operation.attributes.get("perm", [])
    operation.require(bool(order) and order[0] == 0, "transposition with the batch in front")
    return _Apply(lambda x: x.permute(*order))


_LAYERS: Mapping[str, Callable[[_Operation], nn.Module]] = {
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _view),
    **dict.fromkeys(("Gemm", "MatMul"), _linear),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "HardSigmoid": _hard_sigmoid,
    "ReduceMean": _mean,
    "Softmax": _softmax,
    "Transpose": _transpose,
}


def _layer(operation: _Operation) -> nn.Module:
    kind = operation.node.op_type
    if kind in _UNARY:
        return _UNARY[kind]()
    operation.require(kind in _LAYERS, f"{', '.join(sorted({*_LAYERS, *_UNARY}))}")
    return _LAYERS[kind](operation)


def _shapes(model: ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}


def _constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {
        node.output[0]: numpy_helper.to_array(onnx.helper.get_attribute_value(node.attribute[0]))
        for node in model.graph.node
        if node.op_type == "Constant"
    }
