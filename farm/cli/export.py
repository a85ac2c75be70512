"""`farm export`: tables for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli.common import CONFIG, Config, Json, StoreFolder, print_result, words
from farm.cli.rows import named
from farm.core.errors import UsageError
from farm.farm import Farm

export_app = typer.Typer()


@export_app.command()
def export(
    output: Annotated[Path | None, typer.Option(help="The file, or of HELP the folder.")] = None,
    format: Annotated[
        str | None, typer.Option(help="parquet or csv, where the file's name does not say it.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="long: a row for each measurement, raw samples included; wide: one for each "
            "network, with columns for each device; hw-nas-bench, help: the files of these."
        ),
    ] = "long",
    campaign: Annotated[str | None, typer.Option(help="Of long: only this campaign.")] = None,
    space: Annotated[str, typer.Option(help="Of the others: the search space.")] = "nb201",
    devices: Annotated[
        str, typer.Option(help="Of the others: with commas; else all that measured some.")
    ] = "",
    networks: Annotated[
        list[str] | None,
        typer.Option(help="Of the others: a network, or a file of them; else what was measured."),
    ] = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Write what is known to a table. In wide tables and in the files of HW-NAS-Bench and HELP,
    what was not measured is predicted; which, the table says, or one of sources beside them."""
    from farm.campaign.layouts import Export

    wanted = named(networks or ())
    if networks and not wanted:
        raise UsageError(
            f"{', '.join(networks)} names no network; a file of networks has one a line"
        )
    asked = Export(
        layout=layout,
        output=output,
        format=format,
        campaign=campaign,
        space=space,
        devices=words(devices),
        networks=wanted,
    )
    found = Farm.open(config, store).export(asked)
    what = "measurements" if layout == "long" else "networks"
    beside = "" if found.sources is None else f"; {found.sources} says which were measured"
    print_result(
        as_json, found.to_json, lambda: f"{found.rows} {what} written to {found.path}{beside}"
    )
