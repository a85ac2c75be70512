"""Measures one network on some devices, outside any campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farm.campaign.dispatch import Dispatcher
from farm.compile.artifacts import ArtifactStore
from farm.core.values import Network
from farm.execution.protocol import Executor
from farm.inventory.config import Device
from farm.measurement.record import Failure, Measurement
from farm.store import Request, Store

PATIENCE_S = 10.0
"""For how long a lost device is tried again: somebody waits for the answer."""


def measure_network(
    network: Network,
    devices: Sequence[Device],
    store: Store,
    executor: Executor,
    artifacts: ArtifactStore,
) -> dict[str, Measurement | Failure]:
    """Build `network` for each device, measure it there, and store what came of it.

    Nothing is measured on a device in quarantine, and nothing counts of one that its control
    networks send there: that is a Failure which is not stored. Neither is waited for;
    one that is lost is, for `PATIENCE_S`, and then is one, too.
    """
    free = [device for device in devices if barred(network, device.name, store) is None]
    specs = {device.name: device.spec for device in free}
    policies = {device.name: device.controls for device in free}
    requests = {device: store.query_request(network, device) for device in specs}
    ids = {request.id for request in requests.values()}

    def pending() -> list[Request]:
        return [r for r in store.pending(None) if r.id in ids]

    work = Dispatcher(store, executor, artifacts, specs, pending, policies, PATIENCE_S)
    work.start()
    while not work.idle and any(not work.quarantined(request.device) for request in pending()):
        work.work()
        work.start()
    return {device.name: _found(store, network, device.name, requests) for device in devices}


def _found(
    store: Store, network: Network, device: str, requests: Mapping[str, Request]
) -> Measurement | Failure:
    if failure := barred(network, device, store):
        return failure
    if any(requests[device].id == request.id for request in store.pending(None)):
        return Failure(network, device, "lost", f"{device} was lost, and did not come back", True)
    return store.outcome(requests[device])


def barred(network: Network, device: str, store: Store) -> Failure | None:
    """Why nothing is measured on a device in quarantine; None for one that is trusted."""
    quarantine = store.quarantined(device)
    if quarantine is None:
        return None
    next_step = f"`farm device release {device}` trusts it again"
    reason = f"{quarantine.reason}; {next_step}"
    return Failure(network, device, "quarantined", reason, retryable=False)
