"""What was measured of some networks on a device, as it holds now."""

from __future__ import annotations

from farm.core.values import Network
from farm.inventory.config import Device
from farm.measurement.record import Measurement
from farm.store import Store


def known(store: Store, network: Network, device: Device) -> Measurement | None:
    """The newest measurement of `network` on `device` that holds as the device was last seen.

    One under an older fingerprint is of another device, so to say, and counts only where control
    networks showed that it still holds (`farm.store.Revision`). One of another batch size, or with
    caches in another state, is another quantity.
    """
    found = store.as_now(store.measurements(device=device.name, network=network))
    current = [m for m in found if m.spec.quantity == device.spec.quantity]
    return current[-1] if current else None
