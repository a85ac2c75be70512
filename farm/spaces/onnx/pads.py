"""Automatic pads of an ONNX node, written out: one form for what is one computation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnx import NodeProto, helper

from farm.spaces.ops import Shape

_WEIGHT = {"Conv": 1, "ConvInteger": 1, "ConvTranspose": 1, "QLinearConv": 3}
"""Operators with windows whose size their weight says, and which operand that is."""

_POOLS = {"AveragePool", "LpPool", "MaxPool"}

_SAME = ("SAME_LOWER", "SAME_UPPER")


def write_pads(node: NodeProto, shape_of: Callable[[str], Shape | None]) -> None:
    """Replace `auto_pad` of a convolution or a pool by the pads that it stands for.

    shape_of: the shape of a value, None where it is not known. A node stays as it is where the
    shapes that it needs are not known.
    """
    if node.op_type not in _POOLS and node.op_type not in _WEIGHT:
        return
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    mode = attributes.pop("auto_pad", b"NOTSET").decode()
    if mode in _SAME:
        pads = _same_pads(node, attributes, shape_of)
        if pads is None:
            return
        ends = [tuple(total - total // 2 if mode == "SAME_LOWER" else total // 2 for total in pads)]
        ends.append(tuple(total - first for total, first in zip(pads, ends[0], strict=True)))
        attributes["pads"] = [*ends[0], *ends[1]]
        # The size of what comes out is rounded up by its definition, not by the pool.
        attributes.pop("ceil_mode", None)
    elif mode == "VALID":
        attributes.pop("pads", None)
    kept = [a for a in node.attribute if a.name in attributes and a.name != "pads"]
    if "pads" in attributes:
        kept.append(helper.make_attribute("pads", attributes["pads"]))
    del node.attribute[:]
    node.attribute.extend(kept)


def _same_pads(
    node: NodeProto, attributes: dict[str, Any], shape_of: Callable[[str], Shape | None]
) -> Sequence[int] | None:
    """Pads at both ends of each axis together."""
    image = shape_of(node.input[0])
    weight = shape_of(node.input[_WEIGHT[node.op_type]]) if node.op_type in _WEIGHT else None
    kernel = attributes.get("kernel_shape") or (weight or ())[2:]
    if image is None or len(kernel) != len(image) - 2 or "output_shape" in attributes:
        return None
    ones = [1] * len(kernel)
    strides, dilations = (attributes.get(name, ones) for name in ("strides", "dilations"))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    axes = list(zip(image[2:], spans, strides, strict=True))
    if node.op_type == "ConvTranspose":
        more = attributes.get("output_padding", [0] * len(kernel))
        totals = [
            extra + span - stride for (_, span, stride), extra in zip(axes, more, strict=True)
        ]
        return totals if min(totals) >= 0 else None
    # -(-a // b): a / b, rounded up.
    return [max((-(-n // stride) - 1) * stride + span - n, 0) for n, span, stride in axes]
