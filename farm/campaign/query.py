"""Measures networks on some devices, outside any campaign."""

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

Wanted = Mapping[str, Sequence[Network]]
"""Networks to measure, by device."""

Outcomes = dict[str, dict[Network, Measurement | Failure]]
"""What came of measuring networks, by device."""


def measure_in_turn(
    wanted: Wanted,
    devices: Sequence[Device],
    holding: Holding,
    start: Start,
    artifacts: ArtifactStore,
) -> Outcomes:
    """Build networks for each device, measure them there, and store what came of it.

    A device that another process holds is waited for in turn; a campaign that holds it measures
    the networks among its own, and that is waited for, too.
    """
    named = {device.name: device for device in devices}
    claims = {name: holding.ask(device_thing(name)) for name in named}
    asked: dict[str, Mapping[Network, Request]] = {}
    found: Outcomes = {name: {} for name in named}

    def left(name: str) -> list[Network]:
        return [network for network in wanted[name] if network not in found[name]]

    while claims:
        for name, requests in asked.items():
            found[name] |= _came(requests, named[name], holding.store)
        free = {name: left(name) for name in claims if left(name) and holding.has(claims[name])}
        if free:
            held = [named[name] for name in free]
            with start(list(free)) as executor:
                came = measure_networks(free, held, holding, executor, artifacts)
            for name, outcomes in came.items():
                found[name] |= outcomes
        elif all(left(name) for name in claims):
            for name in claims.keys() - asked.keys():
                asked[name] = holding.store.query_requests(left(name), name)
            holding.wait(*claims.values())
        for name in [name for name in claims if not left(name)]:
            asked.pop(name, None)
            holding.give_back(claims.pop(name))
    return found


def _came(
    requests: Mapping[Network, Request], device: Device, store: Store
) -> dict[Network, Measurement | Failure]:
    """What came of requests that another process may have carried out: what counts of it here."""
    came: dict[Network, Measurement | Failure] = {}
    for network, request in requests.items():
        with suppress(LookupError):
            outcome = _found(store, network, device.name, request)
            if isinstance(outcome, Failure) or is_as_asked(outcome, device.spec):
                came[network] = outcome
    return came


def measure_networks(
    wanted: Wanted,
    devices: Sequence[Device],
    holding: Holding,
    executor: Executor,
    artifacts: ArtifactStore,
) -> Outcomes:
    """Measure networks on devices that are held.

    Nothing is measured on a device in quarantine, and nothing counts of one that its control
    networks send there: that is a Failure which is not stored. Neither is waited for;
    one that is lost is, for `PATIENCE_S`, and then is one, too.
    """
    store = holding.store
    free = [device for device in devices if store.quarantined(device.name) is None]
    specs = {device.name: device.spec for device in free}
    policies = {device.name: device.controls for device in free}
    asked = {device: store.query_requests(wanted[device], device) for device in specs}
    ids = {request.id for requests in asked.values() for request in requests.values()}

    def pending(device: str) -> list[Request]:
        waiting = store.pending_by_device(None).get(device, {})
        return [request for request in waiting.values() if request.id in ids]

    def possible() -> bool:
        return any(pending(device) and not work.quarantined(device) for device in specs)

    work = Dispatcher(holding, executor, artifacts, specs, pending, policies, PATIENCE_S)
    work.start()
    while not work.idle and possible():
        work.work()
        work.start()
    return {
        device.name: {
            network: _found_or_lost(
                store, network, device.name, asked.get(device.name, {}).get(network)
            )
            for network in wanted[device.name]
        }
        for device in devices
    }


def _found_or_lost(
    store: Store, network: Network, device: str, request: Request | None
) -> Measurement | Failure:
    try:
        return _found(store, network, device, request)
    except LookupError:
        return Failure(network, device, "lost", f"{device} was lost, and did not come back", True)


def _found(
    store: Store, network: Network, device: str, request: Request | None
) -> Measurement | Failure:
    """request: None on a device that was in quarantine."""
    refused = barred(network, device, store)
    if refused is not None:
        return refused
    if request is None:
        raise LookupError(f"{network.id} was not asked for on {device}")
    return store.outcome(request)


def barred(network: Network, device: str, store: Store) -> Failure | None:
    """Why nothing is measured on a device in quarantine; None for one that is trusted."""
    quarantine = store.quarantined(device)
    if quarantine is None:
        return None
    next_step = f"`farm device release {device}` trusts it again"
    reason = f"{quarantine.reason}; {next_step}"
    return Failure(network, device, "quarantined", reason, retryable=False)
