"""The latency farm: compile, measure, learn, predict. `Farm` is the way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farm.farm import Farm

__all__ = ["Farm"]


def __getattr__(name: str) -> Any:
    """`Farm` on demand: the farm's small parts must not pull in all others."""
    if name != "Farm":
        raise AttributeError(f"module 'farm' has no attribute {name!r}")
    from farm.farm import Farm

    return Farm
