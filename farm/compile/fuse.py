"""Divides a graph into fused groups, in the order in which their kernels run. Pure.

An elementwise operation joins the group that makes its operand, if nobody else reads that; a ReLU
that only padded convolutions read joins those. Reshaping only renames memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from farm.compile.graph import VIEWS, Graph, Node
from farm.compile.groups import Group, Operation, Shape, Step, Window, broadcast

FLOAT = "float32"

_HARD_SIGMOID = (("alpha", 0.2), ("beta", 0.5))
"""Its attributes, with what they are where they are left out."""

_ANY_OPERAND = {"Clip", "ConstantOfShape"}
"""Operations of groups whose first two operands need not be float32 tensors."""

PACKED_CHANNELS = 4
"""Output channels whose weights lie side by side. It divides the channels of common networks."""


@dataclass(frozen=True)
class Call:
    """A kernel that runs: what it computes, the values that it reads and the one that it makes."""

    kernel: Group | Operation
    operands: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Plan:
    """A network as calls in order.

    views: names that are other shapes of the memory of a value, by the name of that value.
    dtypes: of values that are not float32.
    packed: weights that are stored as (O / b, I, H, W, b), and their b.
    """

    inputs: tuple[str, ...]
    calls: tuple[Call, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, Shape]
    dtypes: Mapping[str, str]
    views: dict[str, str]
    packed: dict[str, int]


def plan(graph: Graph) -> Plan:
    """The calls of a graph, fused."""
    fusion = _Fusion(graph)
    for node in graph.nodes:
        fusion.add(node)
    fusion.make_outputs()
    calls = tuple(fusion.calls.values())
    others = {name: dtype for name, dtype in graph.dtypes.items() if dtype != FLOAT}
    shapes, views, packed = fusion.shapes, fusion.views, fusion.packed
    return Plan(graph.inputs, calls, graph.outputs, shapes, others, views, packed)


@dataclass
class _Fusion:
    """The calls so far, by the value that each makes, in the order in which they run."""

    graph: Graph
    calls: dict[str, Call] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    rectified: dict[str, str] = field(default_factory=dict)
    silu: dict[str, str] = field(default_factory=dict)
    packed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.uses = self.graph.uses()
        self.shapes = dict(self.graph.shapes)

    def add(self, node: Node) -> None:
        if node.op in VIEWS or self._only_renames(node):
            self._view(node.output, node.inputs[0])
        elif not (self._is_float(node) and (self._step(node) or self._main(node))):
            self._operation(node)

    def _only_renames(self, node: Node) -> bool:
        """Whether a transposition moves nothing but axes of size one."""
        if node.op != "Transpose":
            return False
        shape = self.shapes[node.inputs[0]]
        order = node.attributes.get("perm") or range(len(shape))[::-1]
        moved = [axis for axis in order if shape[axis] > 1]
        return moved == sorted(moved)

    def make_outputs(self) -> None:
        """Copies an output that is only an input in another shape, as a network has work to do.

        Other types than float32 are handed over as they are.
        """
        for name in self.graph.outputs:
            base, shape = self.views.get(name), self.shapes[name]
            if base in self.graph.inputs and self.graph.dtypes.get(name) == FLOAT:
                del self.views[name]
                source = base
                if self.shapes[base] != shape:
                    # A view is made anew in each run, which takes as long as a small kernel.
                    source = f"{name}/source"
                    self.views[source], self.shapes[source] = base, shape
                self._call(Group("Copy", (shape,), shape), (source,), name)

    def _is_float(self, node: Node) -> bool:
        names = (*filter(None, node.inputs[:2]), node.output)
        return node.op in _ANY_OPERAND or all(self.graph.dtypes.get(n) == FLOAT for n in names)

    def _view(self, name: str, of: str) -> None:
        self.views[name] = self._base(of)
        # Who reads a view reads the memory that it is a view of.
        self.uses[self._base(of)] += self.uses[name] - 1

    def _base(self, name: str) -> str:
        return self.views.get(name, name)

    # Elementwise operations

    def _step(self, node: Node) -> bool:
        """Whether `node` became a step of a group."""
        if node.op == "Transpose":
            return self._shuffle(node)
        if node.op == "Relu" and not self._open(node.inputs[0]) and self._joins_readers(node):
            self.rectified[node.output] = node.inputs[0]
            return True
        if node.op == "Sigmoid" and self._is_silu(node):
            return True
        step = self._silu(node) or self._unary(node) or self._binary(node)
        if step is None:
            return False
        value, others, made = step
        self._append(value, others, made, node.output)
        return True

    def _is_silu(self, sigmoid: Node) -> bool:
        """Whether all that becomes of a value and of its sigmoid is their product."""
        value, made = sigmoid.inputs[0], sigmoid.output
        readers = [n for n in self.graph.nodes if {value, made}.intersection(n.inputs)]
        products = [n for n in readers if n.op == "Mul" and {*n.inputs} == {value, made}]
        if len(readers) != 2 or len(products) != 1 or (self.uses[value], self.uses[made]) != (2, 1):
            return False
        self.silu[made], self.uses[value] = value, 1
        return True

    def _silu(self, node: Node) -> tuple[str, tuple[str, ...], Step] | None:
        found = [self.silu[name] for name in node.inputs if name in self.silu]
        return (found[0], (), Step("Silu")) if found else None

    def _unary(self, node: Node) -> tuple[str, tuple[str, ...], Step] | None:
        if node.op == "Relu":
            return node.inputs[0], (), Step("Relu")
        if node.op in ("HardSwish", "Sigmoid", "Tanh"):
            return node.inputs[0], (), Step(node.op)
        if node.op == "HardSigmoid":
            alpha, beta = (node.attributes.get(*known) for known in _HARD_SIGMOID)
            return node.inputs[0], (), Step(node.op, constants=(alpha, beta))
        if node.op == "Clip":
            bounds = [self.graph.constants.get(name) for name in node.inputs[1:]]
            if len(bounds) == 2 and all(bound is not None for bound in bounds):
                low, high = (float(np.asarray(bound)) for bound in bounds)
                return node.inputs[0], (), Step("Clip", constants=(low, high))
        return None

    def _binary(self, node: Node) -> tuple[str, tuple[str, ...], Step] | None:
        if node.op not in ("Add", "Sub", "Mul"):
            return None
        shape = self.shapes[node.output]
        a, b = node.inputs
        pairs = [(a, b, False), (b, a, True)]
        pairs.sort(key=lambda pair: self._rank(pair[0]), reverse=True)
        for value, other, swapped in pairs:
            spread = broadcast(self.shapes[other], shape)
            known = value in self.graph.constants or other in self.graph.constants
            if self.shapes[value] == shape and spread is not None and not known:
                return value, (other,), Step(node.op, 0, spread, swapped)
        return None

    def _rank(self, name: str) -> tuple[int, int]:
        """Of the groups that a step could join, the last with a main operation has the highest
        rank."""
        if not self._open(name):
            return 0, -1
        kernel = self.calls[name].kernel
        has_main = isinstance(kernel, Group) and kernel.main not in ("Copy", "Fill")
        return 1 + has_main, list(self.calls).index(name)

    def _open(self, name: str) -> bool:
        """Whether a step can join the group that makes `name`."""
        call = self.calls.get(name)
        return call is not None and isinstance(call.kernel, Group) and self.uses[name] == 1

    def _append(self, value: str, others: tuple[str, ...], step: Step, output: str) -> None:
        """Adds a step to the group that makes `value`, or to a new one that copies it."""
        if self._open(value):
            call = self.calls.pop(value)
        else:
            shape = self.shapes[value]
            call = Call(Group("Copy", (shape,), shape), (value,), value)
        assert isinstance(call.kernel, Group)
        if others:
            step = replace(step, operand=len(call.operands))
        group = replace(
            call.kernel,
            operands=(*call.kernel.operands, *(self.shapes[name] for name in others)),
            steps=(*call.kernel.steps, step),
        )
        self._call(group, (*call.operands, *others), output)

    def _call(self, kernel: Group | Operation, operands: tuple[str, ...], output: str) -> None:
        self.calls[output] = Call(kernel, operands, output)

    def _shuffle(self, node: Node) -> bool:
        """A channel shuffle is a transposition between two views."""
        split, base = self.shapes[node.inputs[0]], self._base(node.inputs[0])
        shape = self.shapes[base]
        if list(node.attributes.get("perm", ())) != [0, 2, 1, *range(3, len(split))]:
            return False
        if len(split) != len(shape) + 1 or split[3:] != shape[2:] or split[0] != shape[0]:
            return False
        step = Step("Shuffle", constants=(float(split[1]),))
        self.shapes[f"{node.output}/shuffled"] = shape
        self.uses[f"{node.output}/shuffled"] = self.uses[node.output]
        self._append(base, (), step, f"{node.output}/shuffled")
        self.views[node.output] = f"{node.output}/shuffled"
        return True

    def _joins_readers(self, relu: Node) -> bool:
        readers = [node for node in self.graph.nodes if relu.output in node.inputs]
        return relu.output not in self.graph.outputs and all(
            node.op == "Conv" and node.inputs[0] == relu.output and self._pads(node)
            for node in readers
        )

    def _pads(self, node: Node) -> bool:
        """Whether a convolution's kernel copies its image anyway."""
        window = _window(node, self.shapes[node.inputs[1]][2:])
        return window is not None and (
            window.kernel != (1, 1) or window.stride != (1, 1) or any(window.pads)
        )

    # Control networks

    def _main(self, node: Node) -> bool:
        """Whether `node` became the main operation of a group."""
        makers = {
            "AveragePool": self._average_pool,
            "ConstantOfShape": self._fill,
            "Conv": self._conv,
            "Gemm": self._gemm,
            "GlobalAveragePool": self._global_average_pool,
            "MatMul": self._gemm,
        }
        maker = makers.get(node.op)
        return maker is not None and maker(node)

    def _new(self, node: Node, operands: tuple[str, ...], **facts: Any) -> None:
        shapes = tuple(self.shapes[name] for name in operands)
        main = "Gemm" if node.op == "MatMul" else node.op
        group = Group(main, shapes, self.shapes[node.output], **facts)
        self._call(group, operands, node.output)

    def _bias(self, node: Node, spread: str) -> None:
        if len(node.inputs) < 3 or not node.inputs[2]:
            return
        self.uses.setdefault(node.output, 0)
        readers, self.uses[node.output] = self.uses[node.output], 1
        self._append(node.output, (node.inputs[2],), Step("Add", 0, spread), node.output)
        self.uses[node.output] = readers

    def _conv(self, node: Node) -> bool:
        window = _window(node, self.shapes[node.inputs[1]][2:])
        if window is None:
            return False
        image = self.rectified.get(node.inputs[0], node.inputs[0])
        relu = image != node.inputs[0]
        groups = node.attributes.get("group", 1)
        block = self._pack(node.inputs[1], groups)
        facts = {"groups": groups, "relu_input": relu, "weight_block": block}
        self._new(node, (image, node.inputs[1]), window=window, **facts)
        self._bias(node, "channel")
        return True

    def _pack(self, weight: str, groups: int) -> int:
        """Stores the weight of a convolution so that a kernel reads it in order; the block."""
        channels, *rest = self.shapes[weight]
        free = weight in self.graph.inputs and self.uses[weight] == 1
        if not free or channels // groups % PACKED_CHANNELS:
            return 1
        self.packed[weight] = PACKED_CHANNELS
        self.shapes[weight] = (channels // PACKED_CHANNELS, *rest, PACKED_CHANNELS)
        return PACKED_CHANNELS

    def _average_pool(self, node: Node) -> bool:
        window = _window(node, tuple(node.attributes["kernel_shape"]))
        counted = node.attributes.get("count_include_pad", 0) or node.attributes.get("ceil_mode", 0)
        if window is None or (counted and any(window.pads)):
            return False
        self._new(node, node.inputs, window=window)
        return True

    def _global_average_pool(self, node: Node) -> bool:
        self._new(node, node.inputs)
        return True

    def _gemm(self, node: Node) -> bool:
        shapes = [self.shapes[name] for name in node.inputs]
        plain = all(node.attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
        rank = all(len(shape) == 2 for shape in shapes[:2])
        bias = len(shapes) < 3 or broadcast(shapes[2], self.shapes[node.output]) == "inner"
        if not (plain and rank and bias) or node.attributes.get("transA", 0):
            return False
        self._new(node, node.inputs[:2], transposed=bool(node.attributes.get("transB", 0)))
        self._bias(node, "inner")
        return True

    def _fill(self, node: Node) -> bool:
        value = node.attributes.get("value")
        number = float(onnx.numpy_helper.to_array(value).item()) if value is not None else 0.0
        shape = self.shapes[node.output]
        self._call(Group("Fill", (), shape, value=number), (), node.output)
        return True

    # Everything else

    def _operation(self, node: Node) -> None:
        known = self.graph.constants
        read = [name for name in dict.fromkeys(node.inputs) if name]
        operands = tuple(name for name in read if name not in known)
        # Names of values say nothing about the work: equal operations share a kernel.
        names = {"": ""} | {name: f"x{i}" for i, name in enumerate(read)}
        names |= {name: f"y{i}" for i, name in enumerate(node.proto.output) if name}
        graph = helper.make_graph(
            [_renamed(node.proto, names)],
            node.op,
            [self._value(name, names) for name in operands],
            [self._value(node.output, names)],
            [
                onnx.numpy_helper.from_array(known[name], names[name])
                for name in read
                if name in known
            ],
        )
        model = helper.make_model(graph, opset_imports=self.graph.opset, ir_version=8)
        text = model.SerializeToString(deterministic=True)
        self._call(Operation(text, len(operands), node.label), operands, node.output)

    def _value(self, name: str, names: Mapping[str, str]) -> Any:
        dtype = np.dtype(self.graph.dtypes.get(name, FLOAT))
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return helper.make_tensor_value_info(names[name], kind, self.shapes[name])


def _renamed(proto: Any, names: Mapping[str, str]) -> Any:
    """The node without a name, on values of other names."""
    inputs, outputs = [[names[name] for name in part] for part in (proto.input, proto.output)]
    renamed = helper.make_node(proto.op_type, inputs, outputs, domain=proto.domain)
    renamed.attribute.extend(sorted(proto.attribute, key=lambda attribute: str(attribute.name)))
    return renamed


def _window(node: Node, kernel: Shape) -> Window | None:
    """The window of a two-dimensional convolution or pooling; None for what windows don't know."""
    if len(kernel) != 2 or node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return None
    top, left, bottom, right = node.attributes.get("pads", (0,) * 4)
    stride_y, stride_x = node.attributes.get("strides", (1, 1))
    dilation_y, dilation_x = node.attributes.get("dilations", (1, 1))
    return Window(
        (kernel[0], kernel[1]),
        (stride_y, stride_x),
        (top, left, bottom, right),
        (dilation_y, dilation_x),
    )
