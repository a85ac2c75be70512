"""`farm watch`: what happens, as it does."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from farm.cli import ending, remote
from farm.cli.common import (
    CONFIG,
    Config,
    FarmAt,
    StoreFolder,
    resume_command,
    say_where_nothing_runs,
)
from farm.core.checks import plain
from farm.farm import Farm

watch_app = typer.Typer()


@watch_app.command()
def watch(
    campaign: Annotated[
        str | None,
        typer.Argument(help="A campaign, such as c1, or `latest`; without one, everything."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Only what happens to this device.")] = None,
    after: Annotated[
        int | None,
        typer.Option(min=0, help="Begin after the event of this number, as --json prints it."),
    ] = None,
    at: FarmAt = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each event.")
    ] = False,
) -> None:
    """Print what happens, in words: of a campaign from its last run on, until that has ended; else
    from now on, until it is interrupted."""
    client = remote.service(at, config, store)
    ending.say(lambda: "nothing was changed by watching")
    if client is not None:
        events = remote.events(client, campaign, device, after)
    else:
        farm = Farm.open(config, store)
        if campaign is not None:
            with farm.store() as opened:
                found = opened.campaign(campaign)
            say_where_nothing_runs(found.to_json(), resume_command(found.id, config, store))
        events = farm.events(campaign, device, after)
    for event in events:
        words = f"{event.at[:19]} {plain(event.sentence)}"
        typer.echo(json.dumps(event.to_json()) if as_json else words)
