"""A network in segments that no kernel reaches over.

Networks of a space have most segments in common, and a network has many of them several times:
what is looked at segment by segment is looked at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.core.arguments import INPUT_NAME, input_name
from farm.spaces.graph import Graph, Node, Tensors
from farm.spaces.ops import AvgPool, ChannelShuffle, Conv, GlobalAvgPool, Linear, Relu, Shape

_BEGIN = (Conv, AvgPool, GlobalAvgPool, Linear)
"""Operations that begin a kernel; any other may join the one that makes what it reads."""

_VIEWS = (ChannelShuffle, GlobalAvgPool)
"""Operations that end by giving memory another shape: a ReLU of that does not join the kernel."""


@dataclass(frozen=True)
class Segment(Tensors):
    """inputs: shapes of the network's input, read or not, and of what other segments make; their
    names are `input_name(0)`, `input_name(1)`... outputs: names of what others read."""

    inputs: tuple[Shape, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    @property
    def given(self) -> Mapping[str, Shape]:
        return {input_name(number): shape for number, shape in enumerate(self.inputs)}

    @property
    def made(self) -> tuple[str, ...]:
        return self.outputs


def segments(graph: Graph) -> list[Segment]:
    """All segments of a network; those that compute the same are equal.

    Nodes are in one segment if `farm.compile.fuse` may look at one to decide on the kernel of the
    other, so that the kernels of the segments are those of the network. What several operations
    read is written to memory, and an operation that begins a kernel asks nothing of who made its
    operands. A ReLU that all its readers take into their kernels is in the segment of each. What
    depends on no input is computed beforehand, and stays with all that reads it.
    """
    place = {node.name: at for at, node in enumerate(graph.nodes)}
    readers = _readers(graph)
    handed_on, taken = {INPUT_NAME}, set[str]()
    segment: dict[str, set[int]] = {INPUT_NAME: set()}
    for at, node in enumerate(graph.nodes):
        own = {at}
        begins, is_relu = isinstance(node.op, _BEGIN), isinstance(node.op, Relu)
        for name in node.inputs:
            if name in taken:
                own.add(place[name])
            elif name not in handed_on or not (begins or len(readers[name]) > 1):
                own |= segment[name]
        unsure = is_relu and any(isinstance(graph.nodes[i].op, _VIEWS) for i in own)
        if not (unsure or handed_on.isdisjoint(node.inputs)):
            handed_on.add(node.name)
            if is_relu and len(own) == 1 and _take(graph, readers[node.name]):
                taken.add(node.name)
        for i in own:
            segment[graph.nodes[i].name] = own
    found = {id(own): own for name, own in segment.items() if own and name not in taken}
    for name in taken:  # each segment has its own
        readers[name] = []
    return [_segment(graph, sorted(own), readers) for own in found.values()]


def _readers(graph: Graph) -> dict[str, list[int]]:
    """Positions of the nodes that read each value; of one that reads it twice, twice."""
    found: dict[str, list[int]] = defaultdict(list)
    for at, node in enumerate(graph.nodes):
        for name in node.inputs:
            found[name].append(at)
    return found


def _take(graph: Graph, readers: Sequence[int]) -> bool:
    """Whether the readers of a ReLU are convolutions that copy their image anyway."""
    ops = [graph.nodes[at].op for at in readers]
    return bool(ops) and all(isinstance(op, Conv) and op.kernel * op.stride > 1 for op in ops)


def _segment(graph: Graph, own: Sequence[int], readers: Mapping[str, Sequence[int]]) -> Segment:
    """The nodes at some positions, named as `farm.spaces.graph.build` names them."""
    names, inputs = {INPUT_NAME: INPUT_NAME}, [graph.input_shape]
    nodes: list[Node] = []
    outputs: list[str] = []
    inner = set(own)
    for node in (graph.nodes[at] for at in own):
        for name in node.inputs:
            if name not in names:
                names[name] = input_name(len(inputs))
                inputs.append(graph.shapes[name])
        names[node.name] = f"{node.op.kind}{len(nodes)}"
        nodes.append(Node(names[node.name], node.op, tuple(names[name] for name in node.inputs)))
        if node.name == graph.output or not inner.issuperset(readers[node.name]):
            outputs.append(names[node.name])
    return Segment(tuple(inputs), tuple(nodes), tuple(outputs))
