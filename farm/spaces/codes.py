"""What the search spaces share in reading a network's text."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from farm.errors import NetworkSyntaxError


def operation_index(token: str, known: Sequence[str]) -> int:
    """The position of the operation `token` in `known`.

    Raises NetworkSyntaxError, which names the nearest operation, if there is one, and all of them.
    """
    if token in known:
        return known.index(token)
    near = get_close_matches(token, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise NetworkSyntaxError(f"no operation {token!r}; {hint}known: {', '.join(known)}")
