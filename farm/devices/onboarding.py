"""Adds a device to the farm, and takes it out again: what `farm device add` and `remove` do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import Advises, KeepsFolder
from agents.remote.transport import Address, HostKey, host_keys, known_host_keys
from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import compiler
from farm.core.errors import DeviceError, DeviceUnfit, UsageError
from farm.core.values import DeviceFacts, Network
from farm.devices import controls
from farm.devices.certificate import Certificate, certify_briefly
from farm.devices.examination import job_of, kept
from farm.execution.attempts import make_agent
from farm.inventory import edit
from farm.inventory.config import Device, load
from farm.inventory.edit import Draft
from farm.measurement.agent import Agent
from farm.store import Holding, Store

KNOWN = Network("nb201", "|nor_conv_1x1~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|skip_connect~2|")
"""Has all operations of its space, few of each; what it computes is compared with onnxruntime."""

KNOWN_HOSTS = Path("~/.ssh/known_hosts")


@dataclass(frozen=True)
class Added:
    """A device that was added. certificate: as `Farm.check` has it, but a short one, by `KNOWN` and
    the control networks of its space; None where nothing runs on the device."""

    device: Device
    facts: DeviceFacts
    certificate: dict[str, Any] | None
    wall_s: float


def add(path: Path, name: str, entry: Mapping[str, Any], store: Path | None = None) -> Added:
    """Tries a device out, and writes it into cluster.yaml if a known network runs there.

    entry: what cluster.yaml will say of it, `kind` included; the device's own advice is added.
    store: see `Farm.open`; it keeps the certificate.
    Raises ConfigError for an entry that cannot be, and the DeviceError or BuildError that says
    why the device cannot be used; it is then left as it was found.
    """
    started_s = time.monotonic()
    draft = _drafted(path, name, entry)
    device, folder = draft.config.device(name), store or draft.config.store
    with make_agent(device) as agent:
        try:
            facts = agent.facts()
            with _turn(folder, facts):
                certificate = _examined(agent, facts, device, ArtifactStore(folder / "artifacts"))
        except BaseException:
            _leave(agent)
            raise
    stored = kept(folder, facts, certificate) if certificate else None
    draft.save()
    return Added(device, facts, stored, time.monotonic() - started_s)


def remove(path: Path, name: str, purge: bool) -> None:
    """Takes a device out of cluster.yaml; what was measured on it stays in the store.

    purge: delete what the farm keeps on the device, first. Raises UnknownName, ConfigError, and
    with `purge` the DeviceError that says why that was not possible.
    """
    device = load(path).device(name)
    draft = edit.without_device(path, name)
    if purge:
        with make_agent(device) as agent:
            if isinstance(agent, KeepsFolder):
                agent.purge()
    draft.save()


def host_key(
    address: Address,
    fingerprint: str | None,
    known_hosts: Path,
    confirm: Callable[[HostKey], bool],
) -> HostKey:
    """The key to pin for a host: the one that somebody vouches for.

    fingerprint: given by the user, as `SHA256:...`; else known_hosts counts, and else `confirm`
    asks. Raises UsageError where nobody vouches, DeviceUnfit where the host shows another key.
    """
    shown = host_keys(address)
    if not shown:
        raise DeviceUnfit(f"{address.place} has no host key that the farm knows")
    trusted = [fingerprint] if fingerprint else []
    source = "--fingerprint"
    if not trusted:
        trusted = [key.fingerprint for key in known_host_keys(address, known_hosts)]
        source = str(known_hosts)
    for key in shown:
        if key.fingerprint in trusted:
            return key
    if trusted:
        raise DeviceUnfit(
            f"{address.place} shows the host key {shown[0]}, but {source} says "
            f"{', '.join(trusted)}: somebody may be in between; make sure on the device itself"
        )
    if confirm(shown[0]):
        return shown[0]
    raise UsageError(
        f"nobody vouches for the host key of {address.place}, {shown[0]}; compare it with "
        "'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the device, then pass "
        f"--fingerprint {shown[0].fingerprint}"
    )


def _drafted(path: Path, name: str, entry: Mapping[str, Any]) -> Draft:
    draft = edit.with_device(path, name, entry)
    agent = make_agent(draft.config.device(name))
    advice = agent.advice() if isinstance(agent, Advises) else {}
    return edit.with_device(path, name, {**entry, **advice, **entry}) if advice else draft


@contextmanager
def _turn(folder: Path, facts: DeviceFacts) -> Iterator[None]:
    """A time in which no campaign of the store, where there is one, measures on the device's
    cores."""
    if not (folder / "farm.db").exists():
        yield
        return
    with Store(folder) as store, Holding(store, "farm device add") as holding, holding.turn(facts):
        yield


def _examined(
    agent: Agent, facts: DeviceFacts, device: Device, artifacts: ArtifactStore
) -> Certificate | None:
    """Of a device where a network computes what it should; the error that says why not else."""
    if facts.target is None:
        return None
    compiler().target(facts.target)
    networks = [KNOWN, *controls.controls_of({KNOWN.space})]
    jobs = [job_of(network, facts, artifacts) for network in networks]
    return certify_briefly(agent, jobs, device.spec)


def _leave(agent: Agent) -> None:
    """Leaves a device as it was found, as far as it can still be reached."""
    if isinstance(agent, KeepsFolder):
        with suppress(DeviceError):
            agent.leave()
