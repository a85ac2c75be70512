"""`Resize` as weighted sums of neighbours, axis by axis. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from farm.compile.operator_parts import Nodes, Operator
from farm.compile.resampling import Axis, taps


def resize(operator: Operator) -> Nodes | None:
    """Axis by axis, as a weighted sum of neighbours whose places and weights are known."""
    axes = _resized_axes(operator)
    if axes is None:
        return None
    nodes: Nodes = []
    x = operator.input(0)
    rank = len(operator.shapes[x])
    for number, axis in axes.items():
        places, weights = taps(axis)
        terms = []
        for place, weight in zip(places, weights, strict=True):
            indices = operator.constant(place, np.int64)
            term = operator.apply(nodes, "Gather", x, indices, axis=number)
            if not (weight == 1).all():
                shaped = weight.reshape(-1, *[1] * (rank - 1 - number))
                term = operator.apply(nodes, "Mul", term, operator.constant(shaped))
            terms.append(term)
        x = terms[0]
        for term in terms[1:]:
            x = operator.apply(nodes, "Add", x, term)
        x = _extrapolated(operator, nodes, axis, x, rank - 1 - number)
    if not nodes:
        operator.apply(nodes, "Mul", x, operator.constant(1))
    return operator.done(nodes)


def _extrapolated(operator: Operator, nodes: Nodes, axis: Axis, x: str, behind: int) -> str:
    """Places outside of the image have a value of their own."""
    outside = axis.outside()
    if not outside.any():
        return x
    mask = operator.constant(outside.reshape(-1, *[1] * behind), np.bool_)
    value = operator.constant(operator.attributes.get("extrapolation_value", 0.0))
    return operator.apply(nodes, "Where", mask, value, x)


def _resized_axes(operator: Operator) -> dict[int, Axis] | None:
    """What happens along each axis that is resized; None if that is not known."""
    shape = operator.shapes[operator.input(0)]
    output = operator.shapes[operator.output]
    upsample, old = operator.node.op_type == "Upsample", operator.opset < 11
    scales = operator.known(1 if upsample or old else 2)
    if upsample and "scales" in operator.attributes:
        scales = np.asarray(operator.attributes["scales"])
    if operator.kinds[operator.input(0)] != TensorProto.FLOAT:
        return None
    given = operator.attributes
    chosen = [axis % len(shape) for axis in given.get("axes", range(len(shape)))]
    roi = operator.known(1) if not (upsample or old) else None
    mode = "asymmetric" if upsample or old else "half_pixel"
    if given.get("coordinate_transformation_mode") == b"tf_crop_and_resize" and roi is None:
        return None
    nearest = "floor" if upsample or old else "round_prefer_floor"
    axes = {}
    for place, number in enumerate(chosen):
        fixed = float(scales[place]) if scales is not None and scales.size else None
        axes[number] = Axis(
            size=shape[number],
            output=output[number],
            scale=fixed or _scale(operator, chosen, number),
            mode=given.get("mode", b"nearest").decode(),
            coordinates=given.get("coordinate_transformation_mode", mode.encode()).decode(),
            nearest=given.get("nearest_mode", nearest.encode()).decode(),
            cubic=given.get("cubic_coeff_a", -0.75),
            antialias=bool(given.get("antialias", 0)),
            exclude_outside=bool(given.get("exclude_outside", 0)),
            roi=None
            if roi is None or not roi.size
            else (float(roi[place]), float(roi[place + len(chosen)])),
        )
        if output[number] == shape[number] and axes[number].keeps():
            del axes[number]
    return axes


def _scale(operator: Operator, chosen: Sequence[int], number: int) -> float:
    """The scale of an axis whose size is given; the policy may be to keep the ratio of axes."""
    shape, output = operator.shapes[operator.input(0)], operator.shapes[operator.output]
    policy = operator.attributes.get("keep_aspect_ratio_policy", b"stretch").decode()
    sizes = operator.known(3)
    if policy == "stretch" or sizes is None:
        return output[number] / shape[number]
    scales = [float(n) / shape[axis] for n, axis in zip(sizes, chosen, strict=True)]
    return min(scales) if policy == "not_larger" else max(scales)
