"""Plain characters for an output that cannot show all: a pipe in ASCII, an old terminal."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_NAME = "farm-plain"

_PLAIN = {
    **dict.fromkeys("–—−─━╸╺", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **{"×": "x", "µ": "u", "μ": "u", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "±": "+-"},
    **{"▶": ">", "°": " deg ", "│": "|", "┃": "|", "•": "*", "\xa0": " "},
    # A line of bars keeps its shape: figures from the lowest to the highest.
    **dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True)),
}


def let_everything_be_printed() -> None:
    """From now on stdout and stderr print what is like it for what they cannot."""
    codecs.register_error(_NAME, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_plain(c) for c in text), error.end


def _plain(character: str) -> str:
    """ASCII for any character: `e` for `é`, and `?` for what is like nothing."""
    if character in _PLAIN:
        return _PLAIN[character]
    parts = unicodedata.normalize("NFKD", character)
    return "".join(c for c in parts if c.isascii()) or "?"
