"""What was asked and what was measured, in SQLite. The only part of the farm that writes it."""

from farm.store.lock import StoreLock
from farm.store.onnx_models import StoredModels
from farm.store.reference_sets import ReferenceSet
from farm.store.store import Store
from farm.store.values import (
    ControlRound,
    KernelCounts,
    Plan,
    Quarantine,
    Request,
    Revision,
    StoredCampaign,
    Stretch,
)

__all__ = [
    "ControlRound",
    "KernelCounts",
    "Plan",
    "Quarantine",
    "ReferenceSet",
    "Request",
    "Revision",
    "Store",
    "StoreLock",
    "StoredCampaign",
    "StoredModels",
    "Stretch",
]
