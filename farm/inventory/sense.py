"""What no value of cluster.yaml may be, whatever its key means: endless, huge, or unprintable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

Location = tuple[str | int, ...]
Mistake = tuple[Location, str]

LONGEST_S = 86_400.0
"""A day: nothing that the farm does to one network takes longer, so that a limit above it is a
slip, or `.inf`."""

MOST = {
    **{"rounds": 1000, "min_sessions": 1000, "max_sessions": 1000, "min_samples": 1_000_000},
    **{"batch": 65_536, "flush_bytes": 1 << 40, "compile_workers": 4096, "every": 1_000_000},
}
"""The most that a key may say, where more can only be a slip."""

_LARGEST = 2**53
"""Beyond it a float no longer holds every whole number."""

_DEEPEST = 32
_SHOWN = 120


def too_deep(text: str) -> bool:
    """Whether brackets lie so deep in each other that reading them would take minutes."""
    depth = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if depth > 2 * _DEEPEST:  # a bracket may be a part of some text
            return True
    return False


def mistakes_of_sense(
    value: Any, at: Location = (), above: tuple[int, ...] = ()
) -> Iterator[Mistake]:
    """What in a file no key allows, with its place.

    above: identities of what it lies in, as an alias may put a value into itself.
    """
    if id(value) in above or len(above) > _DEEPEST:
        yield (
            at[:2],
            f"lists and mappings may lie {_DEEPEST} deep in each other, and none in itself",
        )
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _mistakes_of_text(str(key), (*at, str(key)))
            yield from mistakes_of_sense(inner, (*at, str(key)), (*above, id(value)))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from mistakes_of_sense(inner, (*at, index), (*above, id(value)))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _mistakes_of_number(value, at)
    elif isinstance(value, str):
        yield from _mistakes_of_text(value, at)
    elif value is not None and not isinstance(value, bool):
        yield at, f"must be text, a number, a list or a mapping, got a {type(value).__name__}"


def _mistakes_of_number(value: float, at: Location) -> Iterator[Mistake]:
    key = next((part for part in reversed(at) if isinstance(part, str)), "")
    most = MOST.get(key, _LARGEST)
    if isinstance(value, float) and not math.isfinite(value):
        yield at, f"`{key}` must be a finite number, got {value}"
    elif key.endswith("_s") and value > LONGEST_S:
        yield at, f"`{key}` must be at most {LONGEST_S:.0f} s, a day, got {shown(str(value))}"
    elif value > most:
        yield at, f"`{key}` must be at most {most}, got {shown(str(value))}"
    elif value < -_LARGEST:
        yield at, f"`{key}` must be at least {-_LARGEST}, got {shown(str(value))}"


def _mistakes_of_text(text: str, at: Location) -> Iterator[Mistake]:
    if not text.isprintable():
        yield at, f"no control characters and line breaks, got {shown(repr(text))}"


def shown(text: str) -> str:
    """Text for one line of a message: printable, and not too long."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."
