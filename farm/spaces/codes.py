"""What the search spaces share in reading a network's text."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from farm.core.errors import NetworkSyntaxError

_QUOTED_CHARACTERS = 120
"""Longer than any code; what a user pasted by mistake is cut."""


def quoted(text: str) -> str:
    """`text` as an error message shows it: on one line, and not endless."""
    short = text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."
    return repr(short)


def operation_index(token: str, known: Sequence[str], also: str = "") -> int:
    """The position of the operation `token` in `known`.

    also: what else would have been understood, for the message.
    Raises NetworkSyntaxError, which names the nearest operation, if there is one, and all of them.
    """
    if token in known:
        return known.index(token)
    near = get_close_matches(token, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    names = ", ".join(known)
    raise NetworkSyntaxError(f"no operation {quoted(token)}; {hint}known: {names}{also}")
