"""What numbers and texts from elsewhere must be like: a device's, or a row's. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection

TEXT_BYTES = 1024
"""Of a text that a device says, so much is kept."""


def plain(text: str) -> str:
    """A text on one line, without control characters, cut at `TEXT_BYTES`: a terminal shows it and
    a database takes it, whoever wrote it."""
    if len(text) * 4 <= TEXT_BYTES and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * TEXT_BYTES])
    line = " ".join(shown.split()) if shown != text else shown
    return line.encode()[:TEXT_BYTES].decode(errors="ignore")


def must_be_finite(name: str, numbers: Collection[float], above: float = -math.inf) -> None:
    """Raises ValueError unless all are finite numbers of more than `above`."""
    try:
        fine = not numbers or (math.isfinite(sum(numbers)) and min(numbers) > above)
    except (TypeError, OverflowError):
        fine = False
    if not fine:
        rule = "finite" if above == -math.inf else f"finite and more than {above:g}"
        raise ValueError(f"`{name}` must be {rule}, got {_wrong(numbers, above)}")


def must_not_be_negative(name: str, number: float) -> None:
    """Raises ValueError unless it is a finite number of 0 or more."""
    must_be_finite(name, (number,))
    if number < 0:
        raise ValueError(f"`{name}` must not be negative, got {number!r}")


def _wrong(numbers: Collection[float], above: float) -> str:
    """The first that is not as it must be, as a message has room for it."""
    for number in numbers:
        if not isinstance(number, (int, float)) or not above < number < math.inf:
            return plain(repr(number))[:80]
    return "numbers whose sum is none"


def must_be_count(name: str, number: object, least: int, most: int) -> None:
    """Raises ValueError unless it is an integer between the two, which may be reached."""
    if type(number) is not int or not least <= number <= most:
        shown = plain(repr(number))[:80]
        raise ValueError(f"`{name}` must be an integer from {least} to {most}, got {shown}")


def must_be_text(name: str, text: object) -> None:
    """Raises ValueError unless it is a text."""
    if not isinstance(text, str):
        raise ValueError(f"`{name}` must be a text, got {plain(repr(text))[:80]}")
