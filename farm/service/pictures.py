"""Figures as SVG files that follow the reader's light or dark mode."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import matplotlib as mpl
from matplotlib.figure import Figure

_INK = "#010203"
"""Drawn by nothing else: stands for the ink of the reader's mode."""

_STYLE = """<style>:root{--ink:#222}@media(prefers-color-scheme:dark){:root{--ink:#ddd}}</style>"""

_RC = {
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "farm",
    "font.family": "sans-serif",
    "legend.framealpha": 0.0,
    "axes.facecolor": "none",
}


def svg(draw: Callable[[], Figure]) -> bytes:
    """What is drawn, in the reader's ink."""
    out = StringIO()
    with mpl.rc_context(_RC):  # type: ignore[arg-type]
        draw().savefig(out, format="svg", transparent=True, metadata={"Date": None})
    head, tag, rest = out.getvalue().partition("<defs>")
    return (head + _STYLE + tag + rest).replace(_INK, "var(--ink)").encode()
