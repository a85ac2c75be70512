"""Fourier transforms as products with matrices of sines and cosines. Pure."""

from __future__ import annotations

import numpy as np

from farm.compile.operator_parts import Array, Nodes, Operator


def _fourier_matrix(size: int, length: int, outputs: int, inverse: bool, real: bool) -> Array:
    """(size * parts, outputs * 2): from values, real or (real, imaginary), to (real, imaginary).

    size: values that there are; the transform is of `length` of them, or of zeros behind them.
    """
    sign = 1 if inverse else -1
    values, frequencies = np.arange(min(size, length)), np.arange(outputs)
    turns = np.exp(sign * 2j * np.pi * np.outer(values, frequencies) / length)
    turns = turns / length if inverse else turns
    matrix = np.zeros((size, 1 if real else 2, outputs, 2))
    matrix[: len(values), 0] = np.stack([turns.real, turns.imag], -1)
    if not real:
        matrix[: len(values), 1] = np.stack([-turns.imag, turns.real], -1)
    return matrix.reshape(size * matrix.shape[1], outputs * 2)


def _real_matrix(size: int, length: int) -> Array:
    """(size * 2, length): from half a spectrum back to the real values that it is of."""
    frequencies = np.arange(size)
    twice = np.where((frequencies == 0) | (2 * frequencies == length), 1, 2) / length
    angles = 2 * np.pi * np.outer(frequencies, np.arange(length)) / length
    parts = np.stack([np.cos(angles), -np.sin(angles)], 1) * twice[:, None, None]
    return np.where((frequencies <= length // 2)[:, None, None], parts, 0).reshape(-1, length)


def dft(operator: Operator) -> Nodes | None:
    shape = operator.shapes[operator.input(0)]
    axis = operator.attributes.get("axis", 1)
    if operator.input(2):
        known = operator.known(2)
        axis = None if known is None else int(known)
    elif operator.opset >= 20:
        axis = -2
    length = operator.known(1)
    onesided, inverse = (operator.attributes.get(n, 0) for n in ("onesided", "inverse"))
    if axis is None or (operator.input(1) and length is None):
        return None
    axis %= len(shape)
    size, parts = shape[axis], shape[-1]
    if onesided and inverse:  # of half a spectrum, real values
        total = 2 * (size - 1) if length is None else int(length)
        matrix, outputs, made = _real_matrix(size, total), total, 1
    else:
        total = size if length is None else int(length)
        outputs, made = total // 2 + 1 if onesided else total, 2
        matrix = _fourier_matrix(size, total, outputs, bool(inverse), parts == 1)
    order = [i for i in range(len(shape) - 1) if i != axis]
    nodes: Nodes = []
    last = operator.apply(
        nodes, "Transpose", operator.input(0), perm=[*order, axis, len(shape) - 1]
    )
    flat = operator.constant([*(shape[i] for i in order), size * parts], np.int64)
    rows = operator.apply(nodes, "Reshape", last, flat)
    product = operator.apply(nodes, "MatMul", rows, operator.constant(matrix))
    split = operator.constant([*(shape[i] for i in order), outputs, made], np.int64)
    transformed = operator.apply(nodes, "Reshape", product, split)
    places = [*order, axis, len(shape) - 1]
    operator.apply(
        nodes, "Transpose", transformed, perm=[places.index(i) for i in range(len(shape))]
    )
    return operator.done(nodes)


def stft(operator: Operator) -> Nodes | None:
    step, window, length = (operator.known(position) for position in (1, 2, 3))
    shape = operator.shapes[operator.input(0)]
    if step is None or (operator.input(2) and window is None and length is None):
        return None
    parts = shape[2] if len(shape) > 2 else 1
    name = operator.input(2)
    size = int(length) if length is not None else operator.shapes[name][0]
    starts = np.arange((shape[1] - size) // int(step) + 1) * int(step)
    outputs = size // 2 + 1 if operator.attributes.get("onesided", 1) else size
    nodes: Nodes = []
    places = operator.constant(starts[:, None] + np.arange(size), np.int64)
    frames = operator.apply(nodes, "Gather", operator.input(0), places, axis=1)
    split = operator.constant([shape[0], len(starts), size, parts], np.int64)
    frames = operator.apply(nodes, "Reshape", frames, split)
    if name:
        column = operator.constant([size, 1], np.int64)
        weights = operator.apply(nodes, "Reshape", name, column)
        frames = operator.apply(nodes, "Mul", frames, weights)
    flat = operator.constant([shape[0], len(starts), size * parts], np.int64)
    frames = operator.apply(nodes, "Reshape", frames, flat)
    matrix = _fourier_matrix(size, size, outputs, False, parts == 1)
    product = operator.apply(nodes, "MatMul", frames, operator.constant(matrix))
    last = operator.constant([shape[0], len(starts), outputs, 2], np.int64)
    operator.apply(nodes, "Reshape", product, last)
    return operator.done(nodes)
