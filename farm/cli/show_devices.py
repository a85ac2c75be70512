"""Devices as a person wants to read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from farm.cli.progress import duration
from farm.cli.show import held_lines, ms, table_of
from farm.core.values import DeviceFacts
from farm.devices.onboarding import KNOWN, Added
from farm.farm import Farm


def devices_json(farm: Farm) -> dict[str, Any]:
    """What `farm device list --json` prints."""
    config, held = farm.config, farm.held()
    devices = [
        {
            "name": device.name,
            "kind": device.kind,
            "options": device.options.model_dump(mode="json"),
            "reference": device.name in config.references,
            "measure": asdict(device.spec),
            "held_by": held[device.name].to_json() if device.name in held else None,
        }
        for device in config.devices.values()
    ]
    return {"config": str(config.path), "store": str(config.store), "devices": devices}


def device_table(farm: Farm) -> RenderableType:
    """A row for each device of cluster.yaml."""
    table = table_of("device", "kind", "options", "reference")
    for device in farm.config.devices.values():
        options = device.options.model_dump(mode="json", exclude_none=True)
        text = ", ".join(f"{key}: {value}" for key, value in options.items())
        reference = "yes" if device.name in farm.config.references else ""
        table.add_row(device.name, device.kind, text, reference)
    held = {device: lease.to_json() for device, lease in farm.held().items()}
    return Group(table, *held_lines(held))


def facts_table(facts: DeviceFacts) -> RenderableType:
    """What an agent found."""
    return _pairs(_facts_rows(facts))


def added_json(added: Added) -> dict[str, Any]:
    """What `farm device add --json` prints."""
    found = added.certificate
    return {
        "device": added.device.name,
        "kind": added.device.kind,
        "options": added.device.options.model_dump(mode="json"),
        "facts": added.facts.to_json(),
        "known": found and {"network": KNOWN.id, "latency_s": found["latency_s"][KNOWN.id]},
        "certificate": found,
        "wall_s": added.wall_s,
    }


def added_table(added: Added) -> RenderableType:
    """A device that was added, and what a network takes there that computes what it should."""
    rows = _facts_rows(added.facts)
    if added.certificate is not None:
        known_s = added.certificate["latency_s"][KNOWN.id]
        rows["known network"] = f"{ms(known_s)} ms, the right output"
    head = f"{added.device.name} is in the farm, {duration(added.wall_s)} after it was asked for."
    return Group(head, _pairs(rows))


def _facts_rows(facts: DeviceFacts) -> dict[str, str]:
    return {
        "device": facts.device,
        "fingerprint": facts.fingerprint,
        "host": facts.host,
        "cores": ", ".join(map(str, facts.cores)) or "none of the farm's",
        "target": str(facts.target),
        **({"only space": facts.space} if facts.space else {}),
        **facts.identity,
        **facts.info,
    }


def _pairs(rows: Mapping[str, str]) -> Table:
    table = table_of("", "")
    table.show_header = False
    for key, value in rows.items():
        table.add_row(key, value)
    return table
