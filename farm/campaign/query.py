"""Measures one network on some devices, outside any campaign."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress

from farm.campaign.dispatch import Dispatcher
from farm.campaign.known import is_as_asked
from farm.compile.artifacts import ArtifactStore
from farm.core.values import Network
from farm.execution.protocol import Executor
from farm.inventory.config import Device
from farm.measurement.record import Failure, Measurement
from farm.store import Holding, Request, Store, device_thing

PATIENCE_S = 10.0
"""For how long a lost device is tried again: somebody waits for the answer."""

Start = Callable[[Sequence[str]], AbstractContextManager[Executor]]
"""Starts an executor with these devices."""


def measure_in_turn(
    network: Network,
    devices: Sequence[Device],
    holding: Holding,
    start: Start,
    artifacts: ArtifactStore,
) -> dict[str, Measurement | Failure]:
    """Build `network` for each device, measure it there, and store what came of it.

    A device that another process holds is waited for in turn; a campaign that holds it measures
    the network among its own, and that is waited for, too.
    """
    claims = {device: holding.ask(device_thing(device.name)) for device in devices}
    asked: dict[Device, Request] = {}
    found: dict[str, Measurement | Failure] = {}
    while claims:
        came = _came(network, asked, holding.store)
        free = [device for device in claims if device not in came and holding.has(claims[device])]
        if free:
            with start([device.name for device in free]) as executor:
                came |= measure_network(network, free, holding, executor, artifacts)
        elif not came:
            for device in claims.keys() - asked.keys():
                asked[device] = holding.store.query_request(network, device.name)
            holding.wait(*claims.values())
        for device in came:
            asked.pop(device, None)
            holding.give_back(claims.pop(device))
            found[device.name] = came[device]
    return {device.name: found[device.name] for device in devices}


def _came(
    network: Network, asked: Mapping[Device, Request], store: Store
) -> dict[Device, Measurement | Failure]:
    """What came of requests that another process may have carried out: what counts of it here."""
    came: dict[Device, Measurement | Failure] = {}
    for device, request in asked.items():
        with suppress(LookupError):
            outcome = _found(store, network, device.name, {device.name: request})
            if isinstance(outcome, Failure) or is_as_asked(outcome, device.spec):
                came[device] = outcome
    return came


def measure_network(
    network: Network,
    devices: Sequence[Device],
    holding: Holding,
    executor: Executor,
    artifacts: ArtifactStore,
) -> dict[Device, Measurement | Failure]:
    """Measure `network` on devices that are held.

    Nothing is measured on a device in quarantine, and nothing counts of one that its control
    networks send there: that is a Failure which is not stored. Neither is waited for;
    one that is lost is, for `PATIENCE_S`, and then is one, too.
    """
    store = holding.store
    free = [device for device in devices if barred(network, device.name, store) is None]
    specs = {device.name: device.spec for device in free}
    policies = {device.name: device.controls for device in free}
    requests = {device: store.query_request(network, device) for device in specs}
    ids = {request.id for request in requests.values()}

    def pending() -> list[Request]:
        return [r for r in store.pending(None) if r.id in ids]

    work = Dispatcher(holding, executor, artifacts, specs, pending, policies, PATIENCE_S)
    work.start()
    while not work.idle and any(not work.quarantined(request.device) for request in pending()):
        work.work()
        work.start()
    return {device: _found(store, network, device.name, requests) for device in devices}


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
