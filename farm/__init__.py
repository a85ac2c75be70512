"""The latency farm: compile, measure, learn, predict. `Farm` is the way in."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farm.campaign.asking import Ask
    from farm.campaign.layouts import Export
    from farm.campaign.planning import Launch
    from farm.client import Client
    from farm.farm import Farm
    from farm.search.setting import Search

__all__ = ["Ask", "Client", "Export", "Farm", "Launch", "Search"]

_WHERE = {
    "Ask": "farm.campaign.asking",
    "Client": "farm.client",
    "Export": "farm.campaign.layouts",
    "Farm": "farm.farm",
    "Launch": "farm.campaign.planning",
    "Search": "farm.search.setting",
}


def __getattr__(name: str) -> Any:
    """On demand: the farm's small parts must not pull in all others."""
    if name not in _WHERE:
        raise AttributeError(f"module 'farm' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
