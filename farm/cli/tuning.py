"""`farm tune`: the schedules of a search space's kernels, measured on a device."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table

from farm.cli import ending, show
from farm.cli.common import CONFIG, Config, Json, StoreFolder, print_result
from farm.cli.progress import duration, shown
from farm.core.errors import UsageError
from farm.devices.tuning import Progress, Tuned, tune_space
from farm.farm import Farm

tune_app = typer.Typer()


@tune_app.command()
def tune(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="A CPU of cluster.yaml.")],
    space: Annotated[str, typer.Option(help="Whose kernels: nb201, fbnet, fbnet32.")],
    networks: Annotated[
        int, typer.Option(help="Random networks that say which kernels there are.")
    ] = 50,
    seed: Annotated[int, typer.Option(help="Draws the networks.")] = 0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before a `target` in the file is replaced.")
    ] = False,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Measure the schedules of a space's kernels on a device, and use the fastest from then on."""
    device = Farm.open(config, store).config.device(name)
    present = getattr(device.options, "target", None)
    if present is not None and not yes and not _meant(name):
        raise UsageError(
            f"{name} has a `target` in {config}, which tuning may replace; allow that with --yes"
        )
    ending.say(
        lambda: (
            f"no schedule was chosen and {config} is as it was, but the kernels that were "
            f"built are kept; `{ending.command_line()}` begins again"
        )
    )
    started_s = time.monotonic()
    with shown(line, picture, f"looking for the kernels of {space} ...") as watch:
        found = tune_space(config, name, space, networks, seed, store, watch)
    wall_s = time.monotonic() - started_s
    print_result(as_json, lambda: to_json(found), lambda: text(found, wall_s))


def _meant(name: str) -> bool:
    """Only a person at a terminal can be asked."""
    if not sys.stdin.isatty():
        return False
    question = f"Tuning may replace the `target` of {name} in the file. Go on?"
    return typer.confirm(question, err=True)


def line(progress: Progress) -> str:
    """How far it is, in one line."""
    return (
        f"{progress.device}: {progress.done} of {progress.kernels} kernels measured, "
        f"{progress.changed} run faster than by the rule"
    )


def picture(progress: Progress) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(ProgressBar(progress.kernels, progress.done, width=24), line(progress))
    return grid


def to_json(found: Tuned) -> dict[str, Any]:
    """What `farm tune --json` prints; the samples are in the evidence."""
    tuning = found.tuning
    return {
        "device": tuning.facts.device,
        "fingerprint": tuning.facts.fingerprint,
        "kernels": len(tuning.choices),
        "gain": tuning.gain,
        "changed": [
            {**choice.to_json(), "networks": uses, "gain": choice.gain}
            for choice, uses in tuning.changed
        ],
        "target": tuning.target,
        "written": found.written,
        "evidence": str(found.evidence),
    }


def text(found: Tuned, wall_s: float) -> RenderableType:
    """What was found, the largest gains first, and what it means for the device."""
    tuning, device = found.tuning, found.tuning.facts.device
    table = show.table_of("kernel", "networks", "saves")
    for choice, uses in tuning.changed:
        table.add_row(choice.group.name, str(uses), f"{choice.gain:.1%}")
    head = (
        f"{len(tuning.choices)} kernels were measured on {device} in {duration(wall_s)}; "
        f"{len(tuning.changed)} have a schedule that is surely faster than the rule's."
    )
    end = f"The samples are in {found.evidence}."
    if not tuning.changed:
        return Group(head, _rest(found), end)
    saved = f"That saves {tuning.gain:.1%} of the time that the networks spend in these kernels."
    return Group(head, table, saved, _rest(found), end)


def _rest(found: Tuned) -> str:
    """What became of cluster.yaml."""
    device = found.tuning.facts.device
    if found.written:
        return (
            f"The `target` of {device} in cluster.yaml says so now; its fingerprint changes with "
            "it, so that a new revision begins."
        )
    if found.tuning.changed:
        return f"The `target` of {device} in cluster.yaml said so already."
    return f"{device} keeps the rule's schedules; cluster.yaml stays as it is."
