"""What all commands have in common: their options, and how they print."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from farm.cli import ending, show
from farm.core.errors import UsageError
from farm.core.values import share
from farm.farm import Farm
from farm.opened import EXECUTORS

CONFIG = Path("cluster.yaml")

Config = Annotated[
    Path, typer.Option("--config", envvar="FARM_CONFIG", help="The file that lists the devices.")
]
StoreFolder = Annotated[
    Path | None, typer.Option("--store", help="Folder of results, instead of the file's `store:`.")
]
Shape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        "--input-shape",
        help="Sizes that an ONNX file leaves open: 1,3,224,224, or NAME=1x128 for an input of that "
        "name, or NAME=128 for an axis.",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(help="Size of an ONNX file's open first axis; else each device's own."),
]
Executor = Annotated[
    str, typer.Option("--executor", help=f"What carries the work out: {', '.join(EXECUTORS)}.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


FarmAt = Annotated[
    str | None,
    typer.Option(
        "--farm",
        metavar="URL",
        help="Ask the `farm serve` at that address, with the token in $FARM_TOKEN.",
    ),
]


def say_where_nothing_runs(campaign: Mapping[str, Any], resume: str) -> None:
    """campaign: `StoredCampaign.to_json`. resume: the command that goes on with it."""
    if campaign["state"] == "unfinished" and campaign["run_by"] is None:
        typer.echo(f"{campaign['id']} does not run; `{resume}` goes on with it", err=True)


def resume_command(campaign: str, config: Path, store: Path | None) -> str:
    """What goes on with a campaign, with the options that this command was given."""
    return f"{program()} campaign resume {campaign}{options_given(config, store)}"


def options_given(config: Path, store: Path | None) -> str:
    """The options that this command was given, for the next one: each begins with a space."""
    given = [("--config", config)] if config != CONFIG else []
    given += [("--store", store)] if store is not None else []
    return "".join(f" {option} {shlex.quote(str(path))}" for option, path in given)


def program() -> str:
    """How this program is called from here: `farm`, or where it lies if a shell does not know it,
    so that a command that is printed works when it is pasted."""
    called = Path(sys.argv[0])
    known = shutil.which("farm")
    if called.name != "farm" or called == Path("farm"):
        return "farm"
    if known is not None and Path(known).resolve() == called.resolve():
        return "farm"
    return shlex.quote(os.path.relpath(called))


def kept_words(farm: Farm, campaign: str, config: Path, store: Path | None) -> Callable[[], str]:
    """What an interrupted run of a campaign has come to, asked for when it is."""

    def said() -> str:
        with farm.store() as opened:
            found = opened.campaign(campaign)
        return (
            f"{found.measured} of {found.wanted} results of {found.id} are in "
            f"{farm.config.store}; `{resume_command(found.id, config, store)}` goes on with it"
        )

    return said


def beginning(farm: Farm, config: Path, store: Path | None) -> Callable[[str], None]:
    """From now on, whoever interrupts is told that no campaign was begun. What it returns is called
    with the name of one that is, and says what is kept from then on."""
    ending.say(lambda: f"no campaign was begun; `{ending.command_line()}` begins one")
    return lambda name: ending.say(kept_words(farm, name, config, store))


def relative(option: str, text: str) -> float:
    """A relative number, given as `5%` or `0.05`. Raises UsageError."""
    try:
        return share(text)
    except ValueError as e:
        raise UsageError(f"{option}: {e}") from None


_LASTS = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_UNIT_S = {"d": 86400, "h": 3600, "m": 60}


def seconds(option: str, text: str) -> float:
    """A time such as 30d, 12h or 45m. Raises UsageError."""
    found = _LASTS.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{option} is a number with d, h or m, such as 30d, got {text!r}")
    return float(found[1]) * _UNIT_S[found[2]]


def moment(option: str, text: str) -> str:
    """A time from now on, as `seconds`, or a date in ISO 8601, of this computer's zone if it names
    none; in UTC. Raises UsageError."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        at = datetime.now(UTC) + timedelta(seconds=seconds(option, text))
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def print_result(
    as_json: bool, data: Callable[[], dict[str, Any]], text: Callable[[], Any]
) -> None:
    """Prints one JSON object, or what a person wants to read."""
    if as_json:
        typer.echo(json.dumps(data(), allow_nan=False))
    else:
        show.out(text())
