"""Fixes the shapes of an ONNX file's inputs: what the file says, and what the user says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from onnx import ValueInfoProto

from farm.core.errors import NetworkSyntaxError
from farm.spaces.codes import quoted
from farm.spaces.ops import Shape
from farm.spaces.sizes import Sizes

LARGEST = 1 << 29
"""Elements of a tensor: 2 GB of float32, as much as a file may hold and a device of ours has."""

Declared = tuple[int | str, ...]
"""Sizes of an input's axes; where one is open, its name, or `?`."""

_UNNAMED = "?"


@dataclass(frozen=True)
class Static:
    """An input's shape. open: whether devices say the size of its first axis, which is 1 here."""

    shape: Shape
    open: bool


def static_shapes(inputs: Sequence[ValueInfoProto], sizes: Sizes) -> list[Static]:
    """The shape of each input, with every size known. Raises NetworkSyntaxError."""
    shapes = _Shapes({value.name: _declared(value) for value in inputs})
    shapes.refuse_empty()
    for name, wanted in _assignments(sizes.text, list(shapes.declared)).items():
        shapes.assign(name, wanted)
    batch = shapes.batch_axis()
    if sizes.batch is not None:
        shapes.set_batch(batch, sizes.batch)
    return shapes.finish(batch)


def refuse_large(name: str, shape: Sequence[int]) -> None:
    """Raises NetworkSyntaxError for a tensor that no device can hold."""
    if prod(shape) > LARGEST:
        raise NetworkSyntaxError(
            f"{name!r} is {_text(tuple(shape))}, which is {prod(shape)} elements; "
            f"a tensor has {LARGEST} at most"
        )


@dataclass
class _Shapes:
    """declared: of each input, None where it has no shape at all. given: instead of it.
    axes: sizes by the axis's name."""

    declared: Mapping[str, Declared | None]
    given: dict[str, Declared] = field(default_factory=dict)
    axes: dict[str, int] = field(default_factory=dict)

    def refuse_empty(self) -> None:
        for name, shape in self.declared.items():
            if shape is not None and 0 in shape:
                raise NetworkSyntaxError(
                    f"input {name!r} is {_text(shape)}, which is empty: axis "
                    f"{shape.index(0)} has size zero"
                )

    def assign(self, name: str, wanted: Shape) -> None:
        """Give the input, or else the open axis of this name, the size that is wanted."""
        if name in self.declared:
            self._set_input(name, wanted)
        elif name in self._open_names() and len(wanted) == 1:
            self._bind(name, wanted[0])
        else:
            inputs = ", ".join(f"{n} ({_text(s or ())})" for n, s in self.declared.items())
            raise NetworkSyntaxError(
                f"--shape names {name!r}, but the inputs are {inputs}; "
                "name an input or an axis that is open"
            )

    def batch_axis(self) -> str | None:
        """The name of the first axis that is still open; the first such input decides."""
        firsts = [axes[0] for axes in map(self._known, self.declared) if axes]
        return next((axis for axis in firsts if isinstance(axis, str)), None)

    def set_batch(self, axis: str | None, batch: int) -> None:
        if axis is None:
            shapes = ", ".join(f"{n} {_text(s or ())}" for n, s in self.declared.items())
            raise NetworkSyntaxError(
                f"--batch {batch} does not fit: the file fixes the first axis of its inputs "
                f"({shapes}); only sizes that are open can be chosen"
            )
        for name in self.declared:
            first, *rest = self._known(name) or (1,)
            if first in (axis, _UNNAMED):
                self.given[name] = (batch, *rest)
        if axis != _UNNAMED:
            self._bind(axis, batch)

    def finish(self, batch: str | None) -> list[Static]:
        """batch: the open axis that devices decide, where it comes first."""
        return [self._static(name, batch) for name in self.declared]

    def _static(self, name: str, batch: str | None) -> Static:
        shape = self._known(name)
        if shape is None:
            raise NetworkSyntaxError(
                f"input {name!r} has no shape; give it one with --shape, such as {name}=1x3x224x224"
            )
        is_open = bool(shape) and isinstance(shape[0], str) and shape[0] in (batch, _UNNAMED)
        # Elsewhere than in front, the batch's size is no device's to choose.
        sizes = [1 if n == batch and n != _UNNAMED else n for n in shape]
        if is_open:
            sizes[0] = 1
        if any(isinstance(n, str) for n in sizes):
            raise NetworkSyntaxError(
                f"input {name!r} is {_text(self.declared[name] or ())}, which leaves sizes open; "
                f"fix them with --shape, such as {_example(name, sizes)}"
            )
        fixed = tuple(int(n) for n in sizes)
        refuse_large(name, fixed)
        return Static(fixed, is_open)

    def _known(self, name: str) -> Declared | None:
        """The shape of an input as far as it is known now."""
        shape = self.given.get(name, self.declared[name])
        return None if shape is None else tuple(self.axes.get(str(n), n) for n in shape)

    def _open_names(self) -> set[str]:
        shapes = [shape for shape in self.declared.values() if shape]
        return {n for shape in shapes for n in shape if isinstance(n, str)} - {_UNNAMED}

    def _set_input(self, name: str, wanted: Shape) -> None:
        declared = self._known(name)
        fits = declared is None or (
            len(declared) == len(wanted)
            and all(isinstance(n, str) or n == m for n, m in zip(declared, wanted, strict=True))
        )
        if not fits:
            raise NetworkSyntaxError(
                f"--shape {_text(wanted)} does not fit input {name!r}, which is "
                f"{_text(declared or ())}; only sizes that are open can be chosen"
            )
        for axis, size in zip(declared or (), wanted, strict=False):
            if isinstance(axis, str) and axis != _UNNAMED:
                self._bind(axis, size)
        self.given[name] = wanted

    def _bind(self, axis: str, size: int) -> None:
        if self.axes.setdefault(axis, size) != size:
            raise NetworkSyntaxError(
                f"--shape makes the axis {axis!r} {self.axes[axis]} and {size}; "
                "axes of one name have one size"
            )


def _declared(source: ValueInfoProto) -> Declared | None:
    kind = source.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or _UNNAMED
        for d in kind.shape.dim
    )


def _assignments(text: str | None, inputs: Sequence[str]) -> Mapping[str, Shape]:
    """The sizes that a text gives to each name; without names, to the only input."""
    if text is None:
        return {}
    found: dict[str, list[int]] = {}
    name = inputs[0] if len(inputs) == 1 else None
    for part in text.replace(" ", "").split(","):
        given, has_name, numbers = part.rpartition("=")
        if has_name:
            name = given
        if not name or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", numbers):
            example = f"1,3,224,224 or {inputs[0]}=1x3x224x224"
            raise NetworkSyntaxError(f"--shape is such as {example}, got {quoted(text)}")
        found.setdefault(name, []).extend(map(int, numbers.split("x")))
    return {name: tuple(numbers) for name, numbers in found.items()}


def _text(shape: Sequence[int | str]) -> str:
    return ",".join(map(str, shape)) or "a scalar"


def _example(name: str, sizes: Sequence[int | str]) -> str:
    """A size for each axis that is open and has a name, else a whole shape."""
    names = [n for n in dict.fromkeys(sizes) if isinstance(n, str)]
    if _UNNAMED not in names:
        return ",".join(f"{n}=128" for n in names)
    return f"{name}=" + "x".join(str(n) if isinstance(n, int) else "224" for n in sizes)
