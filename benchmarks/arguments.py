"""Types of the words on a benchmark's command line."""

from __future__ import annotations

import argparse
from pathlib import Path


def any_words(text: str) -> list[str]:
    """Words between commas, each once; there may be none."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def words(text: str) -> list[str]:
    """The same, one at least."""
    if not any_words(text):
        raise argparse.ArgumentTypeError("must be one or more words, with commas between")
    return any_words(text)


def paths(text: str) -> list[Path]:
    """Files between commas, each once."""
    return [Path(word) for word in words(text)]


def natural(text: str, least: int = 0) -> int:
    """A whole number, `least` or more."""
    if not text.strip().isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number, {least} or more, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    return natural(text, 1)


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers between commas, each once, the smallest first."""
    return tuple(sorted({natural(word) for word in words(text)}))
