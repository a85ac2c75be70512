"""What was asked and what was measured, in SQLite. The only part of the farm that writes it."""

from farm.store.lock import StoreLock
from farm.store.models import StoredModels
from farm.store.store import Store
from farm.store.values import AnchorRound, Epoch, Plan, Quarantine, Request, StoredCampaign

__all__ = [
    "AnchorRound",
    "Epoch",
    "Plan",
    "Quarantine",
    "Request",
    "Store",
    "StoreLock",
    "StoredCampaign",
    "StoredModels",
]
