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


def measure_network(
    network: Network,
    devices: Sequence[Device],
    store: Store,
    executor: Executor,
    artifacts: ArtifactStore,
) -> dict[str, Measurement | Failure]:
    """Build `network` for each device, measure it there, and store what came of it.

    Nothing is measured on a device in quarantine, and nothing counts of one that its control
    networks send there: that is a Failure which is not stored.
    """
    free = [device for device in devices if store.quarantined(device.name) is None]
    specs = {device.name: device.spec for device in free}
    policies = {device.name: device.controls for device in free}
    requests = {device: store.query_request(network, device) for device in specs}
    ids = {request.id for request in requests.values()}
    pending = lambda: [r for r in store.pending(None) if r.id in ids]  # noqa: E731
    work = Dispatcher(store, executor, artifacts, specs, pending, policies)
    work.start()
    while not work.idle:
        work.work()
        work.start()
    return {device.name: _found(store, network, device.name, requests) for device in devices}


def _found(
    store: Store, network: Network, device: str, requests: Mapping[str, Request]
) -> Measurement | Failure:
    quarantine = store.quarantined(device)
    if quarantine is not None:
        return Failure(network, device, "quarantined", quarantine.reason, False)
    return store.outcome(requests[device])
