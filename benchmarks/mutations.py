"""Inputs that are nearly right: what a broken or hostile peer, or a slip in an editor, makes."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_HUGE = 10**400
"""Larger than any float."""

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, -2.5, 2**63, -(2**63), _HUGE, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf")),
    *("", "x", "0", "nan", "-1", "../../../etc/passwd", "/dev/zero", "\x00", "\x1b[2J\r", "\ud800"),
    *("\u202eabc", "a" * 5000, "ä" * 700, "'; DROP TABLE measurements; --", "$(reboot)", "%s%n"),
    *([], {}, [[]], [None], {"": None}, [1e308] * 3, {"id": 1}, ["x"] * 50),
)

_GARBAGE = (
    *(
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b"[1]",
        b'"',
        b"{",
        b'{"id": }',
        b"\xff\xfe\x00",
        b"\x00" * 99,
    ),
    *(b"[" * 100_000, b'{"a":' * 100_000, b'{"id": 1, "op": ' + b"9" * 100_000 + b"}"),
    *(b'{"id": NaN, "op": "facts"}', b'{"id": 1e400, "op": "facts"}', b'{"id": 1}' * 3),
    *(b'{"op": "facts"}', b'{"id": {"id": 1}, "op": "facts"}', b'{"id": 5, "id": "x", "op": 7}'),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every part of a JSON value, itself left out."""
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        return []
    return [place for key, part in inner for place in ((*at, key), *places(part, (*at, key)))]


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with one part deleted, doubled, nested, or replaced by junk."""
    made = copy.deepcopy(value)
    found = places(made)
    if not found:
        return rng.choice(JUNK)
    *way, last = rng.choice(found)
    holder = made
    for key in way:
        holder = holder[key]
    how = rng.randrange(8)
    if how == 0:
        del holder[last]
    elif how == 1:
        holder[last] = [holder[last]]
    elif how == 2 and isinstance(holder, list):
        holder.insert(last, copy.deepcopy(holder[last]))
    elif how == 3 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "id", "op", "\x00"))] = holder.pop(last)
    else:
        holder[last] = rng.choice(JUNK)
    return made


def damaged(data: bytes, rng: random.Random, times: int = 3) -> bytes:
    """Bytes with a few of them changed, cut out, doubled or put in."""
    made = bytearray(data)
    for _ in range(rng.randint(1, times)):
        at = rng.randrange(len(made) + 1)
        end = min(len(made), at + rng.choice((1, 1, 2, 8, 64)))
        how = rng.randrange(5)
        if how == 0:
            made[at:end] = rng.randbytes(end - at)
        elif how == 1:
            del made[at:end]
        elif how == 2:
            made[at:at] = made[at:end]
        elif how == 3:
            made[at:at] = rng.randbytes(rng.choice((1, 4)))
        else:
            del made[at + rng.randrange(1 + len(made) - at) :]
    return bytes(made)


def line(message: dict[str, Any], rng: random.Random) -> bytes:
    """A message that is wrong in some way, as a line without its end."""
    how = rng.random()
    if how < 0.1:
        return rng.choice(_GARBAGE)
    if how < 0.3:
        return damaged(json.dumps(message).encode(), rng).replace(b"\n", b" ")
    made = changed(message, rng)
    while rng.random() < 0.2:
        made = changed(made, rng)
    return json.dumps(made).encode()
