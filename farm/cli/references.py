"""`farm references`: the devices of HWL encodings, and the sets that were fitted with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import show
from farm.cli.common import CONFIG, Config, Json, StoreFolder, print_result, words
from farm.farm import Farm
from farm.prediction.reference_sets import Choice, Listed, listed
from farm.prediction.reference_sets import choose as chosen
from farm.prediction.reference_sets import use as used

references_app = typer.Typer(
    help="The reference devices of HWL encodings: choose, list, use.", no_args_is_help=True
)

Space = Annotated[str, typer.Option(help="The search space: nb201, fbnet, fbnet32.")]


@references_app.command()
def choose(
    size: Annotated[int, typer.Option(help="How many devices.")] = 5,
    space: Space = "nb201",
    plot: Annotated[
        Path | None, typer.Option(help="Draw what each device adds to this PNG or SVG.")
    ] = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Choose the devices that tell most about the others, and show what each adds. Nothing is
    changed."""
    found, names = chosen(Farm.open(config, store).config, space, size)
    if plot is not None:
        from farm.pictures import plot_choice

        plot_choice(found, plot)
    print_result(
        as_json,
        lambda: {"space": space, "devices": list(names), "chosen": [c.to_json() for c in found]},
        lambda: choice_text(found, names, plot),
    )


@references_app.command("list")
def list_sets(config: Config = CONFIG, store: StoreFolder = None, as_json: Json = False) -> None:
    """List the reference sets of the store."""
    farm = Farm.open(config, store)
    with farm.store() as own:
        found = listed(own, farm.config)
    print_result(
        as_json, lambda: {"sets": [one.to_json() for one in found]}, lambda: list_text(found)
    )


@references_app.command()
def use(
    which: Annotated[
        str, typer.Argument(metavar="DEVICES|VERSION", help="Devices with commas, or a kept set.")
    ],
    space: Space = "nb201",
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Encode networks by these devices from now on: fit a new set, or go back to a kept one. The
    devices are written into cluster.yaml."""
    farm = Farm.open(config, store)
    with farm.store() as own:
        found = used(own, farm.config, words(which), space)
    print_result(
        as_json,
        lambda: Listed(found, True, ()).to_json(),
        lambda: (
            f"{found.version}: {found.space} on {', '.join(found.devices)}, fitted on "
            f"{found.fitted_on} networks."
        ),
    )


def choice_text(found: Sequence[Choice], names: Sequence[str], plot: Path | None) -> RenderableType:
    """A row for each device that was chosen."""
    table = show.table_of("device", "explained", "adds", "Spearman", "explained worst")
    for one in found:
        worst = "" if one.worst is None else f"{one.worst[0]} {100 * one.worst[1]:.1f} %"
        explained, adds = (f"{100 * share:.1f} %" for share in (one.explained, one.adds))
        table.add_row(one.device, explained, adds, f"{one.spearman:.3f}", worst)
    note = f"Of {len(names)} devices; explained is the variance of HWL values on the others."
    drawn = [] if plot is None else [Text(f"Drawn to {plot}.", style="dim")]
    return Group(table, Text(note, style="dim"), *drawn)


def list_text(found: Sequence[Listed]) -> RenderableType:
    """A row for each set."""
    if not found:
        return Text(
            "No reference set yet: the first `farm hwl` fits one, once ten networks are measured "
            "on each reference."
        )
    table = show.table_of("version", "space", "devices", "fitted on", "used", "changed since")
    for one in found:
        of = one.references
        used_now = "yes" if one.used else ""
        changed = ", ".join(one.changed)
        row = (of.version, of.space, ", ".join(of.devices), str(of.fitted_on), used_now, changed)
        table.add_row(*row)
    return table
