"""`farm demo`: a first campaign that fits this computer, which goes on where it was."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.campaign.summary import Summary
from farm.cli import show
from farm.cli.common import (
    CONFIG,
    Config,
    Json,
    beginning,
    options_given,
    print_result,
    program,
    resume_command,
)
from farm.cli.progress import duration, watching
from farm.farm import Farm
from farm.store import StoredCampaign

demo_app = typer.Typer()

_STORE = Path("demo-out")

Executor = Annotated[str, typer.Option("--executor", help="What carries the work out.")]
StoreFolder = Annotated[
    Path, typer.Option("--store", help="Folder of the demo's results and its plot.")
]


@demo_app.command()
def demo(
    executor: Executor = "ray",
    config: Config = CONFIG,
    store: StoreFolder = _STORE,
    as_json: Json = False,
) -> None:
    """Look at this computer, and run a first campaign on it that fits; again: go on with it."""
    from farm.pictures import plot_predictions

    farm = Farm.open(config, store)
    going_on = beginning(farm, config, store)
    begun = _begun(farm)
    if begun is None:
        summary = _launch(farm, executor, going_on)
    else:
        going_on(begun.id)
        summary = _go_on(farm, begun, executor, store)
    plot = store / "predicted.png"
    plot_predictions(summary, plot)
    resume = resume_command(summary.campaign.id, config, store)
    print_result(
        as_json,
        lambda: {**summary.to_json(), "plot": str(plot)},
        lambda: Group(
            show.predictions(summary.to_json(), plot, resume), *_next(summary, config, store)
        ),
    )
    if not summary.succeeded:
        raise typer.Exit(1)


def _begun(farm: Farm) -> StoredCampaign | None:
    """The demo's campaign, where there is one."""
    if not (farm.config.store / "farm.db").exists():
        return None
    with farm.store() as store:
        return next(iter(store.campaigns()), None)


def _launch(farm: Farm, executor: str, begun: Callable[[str], None]) -> Summary:
    from farm.campaign import demo as demos
    from farm.campaign.machine import look

    machine = look()
    plan = demos.plan(machine, demos.devices_here(farm.config))
    _say(
        *demos.told(machine, plan),
        f"About {duration(plan.seconds)}; interrupt it at any point: "
        "the same command goes on where it was.",
    )
    with watching() as watch:
        return farm.launch(plan.launch, executor, watch, begun)


def _go_on(farm: Farm, begun: StoredCampaign, executor: str, store: Path) -> Summary:
    afresh = f"without the folder {store} it begins anew"
    if begun.state == "done":
        _say(f"The demo's campaign {begun.id} was done before; {afresh}. What it came to:")
    else:
        ended = begun.measured + begun.failed
        _say(f"The demo's campaign {begun.id} goes on, with {ended} of {begun.wanted}; {afresh}.")
    with watching() as watch:
        return farm.resume(begun.id, executor, watch)


def _next(s: Summary, config: Path, store: Path) -> list[RenderableType]:
    """Three commands that work here as they are."""
    device = s.campaign.plan.devices[0]
    here, anywhere = options_given(config, store), options_given(config, None)
    known = [p.network.id for p in s.judgements[device].predictions]
    ask = f"hwl '{known[0]}' --measure never" if known else f"device show {device}"
    table = shlex.quote(str(store / "latencies.csv"))
    told = (
        (f"what is known of a {'network' if known else 'device'}:", ask + here),
        ("all latencies as a table, samples included:", f"export --output {table}{here}"),
        ("a campaign of your own:", f"launch --devices {device} --budget 40{anywhere}"),
    )
    lines = [line for what, words in told for line in (what, f"  {program()} {words}")]
    return [Text("What to try next:"), *map(show.unbroken, lines)]


def _say(*lines: str) -> None:
    for line in lines:
        typer.echo(line, err=True)
