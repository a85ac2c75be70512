"""Commands that answer for many networks: what they read, and a row of output for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from farm.campaign.asking import MEASURE, Ask
from farm.cli import ending
from farm.cli.common import relative
from farm.core.errors import UsageError
from farm.prediction.batch import Answers, words_of

Networks = Annotated[
    list[str],
    typer.Argument(
        help="SPACE/CODE, NAS-Bench-201 cell strings, .onnx files; a file of them, or - for stdin: "
        "one a line, as text or JSON."
    ),
]
JsonLines = Annotated[
    bool,
    typer.Option("--jsonl", help="Print a JSON object for each network, one a line."),
]

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", help="Write a row for each network to this .parquet or .csv file instead."
    ),
]

Measure = Annotated[
    str | None,
    typer.Option(
        help=f"What to measure: {', '.join(MEASURE)}; by default `missing` with --max-error, else "
        "never, but of a single network's references what is missing."
    ),
]

MaxError = Annotated[
    str | None,
    typer.Option(
        help="Measure only where the 95 % interval is wider than that to either side, such as 5%: "
        "widest first, as others narrow with each that is measured."
    ),
]

_SAID = 5
"""Errors of single rows that are printed; all are among the results."""


def ask_of(measure: str | None, max_error: str | None, otherwise: str, **rest: Any) -> Ask:
    """What a command was told of how to answer. otherwise: what is measured where neither of the
    two says it. rest: of `Ask`. Raises UsageError."""
    error = None if max_error is None else relative("--max-error", max_error)
    untold = otherwise if error is None else "missing"
    return Ask(measure=measure or untold, max_error=error, **rest)


def named(words: Sequence[str]) -> list[str]:
    """The networks that the words of a command name. Raises UsageError for a file that is no
    text."""
    found: list[str] = []
    for word in words:
        if word == "-":
            found += words_of(sys.stdin.read())
        elif is_list(word):
            try:
                found += words_of(Path(word).read_text(encoding="utf-8"))
            except UnicodeDecodeError as e:
                raise UsageError(
                    f"{word} is not a text file: {e.reason} at byte {e.start}; a file of networks "
                    "has one a line, and an ONNX file is called .onnx"
                ) from e
        else:
            found.append(word)
    return found


def is_list(word: str) -> bool:
    """Whether a word stands for a file of networks, or stdin."""
    if word == "-":
        return True
    return not word.startswith("|") and not word.endswith(".onnx") and Path(word).is_file()


def report(
    answers: Answers[Any],
    output: Path | None,
    as_lines: bool,
    otherwise: Callable[[], None],
) -> None:
    """The answers to a file, as JSON lines, or as the command prints them; then what has none."""
    if output is not None:
        write(answers, output)
    elif as_lines:
        print_lines(answers)
    else:
        otherwise()
    say_errors(answers)


def print_lines(answers: Answers[Any]) -> None:
    """JSON lines, in the order in which the networks were asked for."""
    for line in answers.lines():
        sys.stdout.write(json.dumps(line, allow_nan=False) + "\n")


def say_kept() -> str:
    """What an interrupted question has come to."""
    return f"what was measured is kept; `{ending.command_line()}` goes on"


def must_be_table(path: Path | None) -> None:
    """Refuses a file in a format that is not known, or that cannot be written, before anything is
    computed for it."""
    if path is not None:
        from farm.campaign.export import must_be_writable

        must_be_writable(path)


def write(answers: Answers[Any], path: Path) -> None:
    """A row for each network, in the order in which they were asked for."""
    from farm.campaign.export import write_rows

    typer.echo(f"{write_rows(answers.rows(), path)} networks written to {path}")


def say_errors(answers: Answers[Any]) -> None:
    """Some of the rows without an answer, and how many there are."""
    rows = sorted(answers.errors)
    for row in rows[:_SAID]:
        typer.echo(f"farm: row {row + 1}: {answers.errors[row]}", err=True)
    if rows:
        typer.echo(f"farm: {len(rows)} of {len(answers.asked)} networks have no answer", err=True)
