"""`farm zcp`: zero-cost proxies of networks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from farm.cli import ending, show
from farm.cli.common import CONFIG, Config, Json, Shape, StoreFolder, print_result
from farm.cli.rows import JsonLines, Networks, Output, must_be_table, named, report
from farm.farm import Farm

if TYPE_CHECKING:
    from farm.prediction.proxies import Proxies

zcp_app = typer.Typer()


@zcp_app.command()
def zcp(
    networks: Networks,
    seed: Annotated[int, typer.Option(help="Draws weights, images and labels.")] = 0,
    batch: Annotated[int, typer.Option(help="Images that the proxies are computed on.")] = 16,
    shape: Shape = None,
    config: Config = CONFIG,
    store: StoreFolder = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
    output: Output = None,
) -> None:
    """Compute zero-cost proxies of networks, about a second each; what was computed is kept. A
    network that has none says why in its row; exit code 2 where none has any."""
    must_be_table(output)
    asked, farm = named(networks), Farm.open(config, store)
    ending.say(lambda: f"what was computed is kept; `{ending.command_line()}` goes on")
    found = farm.zcp(asked, seed=seed, batch=batch, shape=shape, strict=False)
    shown = partial(print_result, as_json, found.to_json, lambda: text(found))
    report(found.answers, output, as_lines, shown)


def text(found: Proxies) -> RenderableType:
    """A row for each network."""
    table = show.table_of("network", *found.names)
    for one in found.networks:
        table.add_row(one.network.id, *(f"{one.proxies[name]:.4g}" for name in found.names))
    return table
