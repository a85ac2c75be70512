"""Examines a device with real networks, and keeps its certificate in the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build_key
from farm.compile.kernel_cache import kernel_cache
from farm.core.errors import BuildError
from farm.core.values import DeviceFacts, Network
from farm.devices import controls
from farm.devices.certificate import Certificate, certify
from farm.execution.attempts import attempt_build, make_agent
from farm.execution.protocol import BuildJob
from farm.inventory.config import Device
from farm.measurement.record import Job
from farm.spaces import space
from farm.store import Holding, Store


def examine(device: Device, holding: Holding, artifacts: ArtifactStore, load_s: float) -> None:
    """Certify a device that is held, and keep what was found.

    load_s: how long it is kept busy to see whether it slows down. Raises DeviceError, BuildError.
    """
    with make_agent(device) as agent:
        facts = agent.facts()
        jobs = [job_of(network, facts, artifacts) for network in _examined(facts)]
        with holding.turn(facts):
            certificate = certify(agent, jobs, device.spec, load_s)
    keep(holding.store, facts, certificate)


def keep(store: Store, facts: DeviceFacts, certificate: Certificate) -> None:
    """Store a certificate, and that the device was seen."""
    store.see(facts)
    store.add_certificate(facts.device, facts.fingerprint, certificate.to_json())


def kept(folder: Path, facts: DeviceFacts, certificate: Certificate) -> dict[str, Any] | None:
    """A certificate as the store in `folder` keeps it from now on."""
    with Store(folder) as store:
        keep(store, facts, certificate)
        return store.certificate(facts.device)


def job_of(network: Network, facts: DeviceFacts, artifacts: ArtifactStore) -> Job:
    """A network as the device measures it: built for it where that is needed. BuildError."""
    if facts.target is None:
        return Job(network, None)
    model = space(network.space).model(network)
    content = model.SerializeToString(deterministic=True)
    job = BuildJob(build_key(model, facts.target), network, content, facts.target)
    built = attempt_build(job, artifacts, kernel_cache(artifacts))
    if isinstance(built, BuildError):
        raise built
    return Job(network, built)


def _examined(facts: DeviceFacts) -> Sequence[Network]:
    """The lightest and the heaviest control network, or networks of the device's only space."""
    own = [network for network in controls.NETWORKS if facts.space in (None, network.space)]
    if facts.space is not None and not own:
        return space(facts.space).sample(2, np.random.default_rng(0))
    return own[0], own[-1]
