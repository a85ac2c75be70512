"""What was asked and what was measured, in SQLite. The only part of the farm that writes it."""

from farm.store.holding import Holding
from farm.store.lease import Lease, campaign_thing, core_thing, cores_thing, device_thing
from farm.store.onnx_models import StoredModels
from farm.store.proxies import ProxyPass
from farm.store.reference_sets import ReferenceSet
from farm.store.store import Store
from farm.store.tokens import ROLES, Token
from farm.store.values import (
    Choice,
    ControlRound,
    KernelCounts,
    News,
    Plan,
    Quarantine,
    Request,
    Revision,
    StoredCampaign,
    Stretch,
)

__all__ = [
    "ROLES",
    "Choice",
    "ControlRound",
    "Holding",
    "KernelCounts",
    "Lease",
    "News",
    "Plan",
    "ProxyPass",
    "Quarantine",
    "ReferenceSet",
    "Request",
    "Revision",
    "Store",
    "StoredCampaign",
    "StoredModels",
    "Stretch",
    "Token",
    "campaign_thing",
    "core_thing",
    "cores_thing",
    "device_thing",
]
