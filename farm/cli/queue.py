"""`farm queue`: who has the devices, and who waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import RenderableType

from farm.cli import remote, show
from farm.cli.common import CONFIG, Config, FarmAt, Json, StoreFolder, print_result
from farm.farm import Farm
from farm.store.lease import claim_json, device_thing

queue_app = typer.Typer()

_DEVICE = device_thing("")


@queue_app.command()
def queue(
    at: FarmAt = None, config: Config = CONFIG, store: StoreFolder = None, as_json: Json = False
) -> None:
    """Show who has each device and who waits for it, in turn: by deadline, then one person after
    the other. With --json also the cores of computers, where devices take turns by the second."""
    client = remote.service(at, config, store)
    if client is not None:
        found = client.queue()
    else:
        with Farm.open(config, store).store() as opened:
            found = [claim_json(turn, lease) for turn, lease in opened.queue()]
    print_result(as_json, lambda: {"claims": found}, lambda: _table(found))


def _table(claims: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = show.table_of("device", "turn", "for", "what", "campaign", "since", "deadline")
    devices = [one for one in claims if one["thing"].startswith(_DEVICE)]
    last, turn = "", 0
    for one in sorted(devices, key=lambda one: (one["thing"], one["turn"])):
        turn = 0 if one["granted"] else turn + 1 if one["thing"] == last else 1
        last = one["thing"]
        process = f"{one['doing']} on {one['host']}"
        when = (_time(one["since"]), _time(one["deadline"]))
        row = (str(turn or "has it"), one["asked_by"], process, one["campaign"] or "", *when)
        table.add_row(last.removeprefix(_DEVICE), *row)
    return table if devices else "Nobody has or waits for a device."


def _time(at: str | None) -> str:
    return "" if at is None else at[:19].replace("T", " ")
