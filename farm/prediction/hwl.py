"""Encodes networks by their latencies on the reference devices, measured or predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.inventory.config import Device, FarmConfig
from farm.measurement.estimator import Z_95
from farm.measurement.record import Measurement
from farm.prediction.central import CentralPredictor
from farm.prediction.encoding import Encoding, NetworkEncoding
from farm.prediction.known_references import Fresh, KnownReferences
from farm.prediction.measured import known
from farm.prediction.of_files import with_inputs
from farm.prediction.references import chosen, must_hold, revision
from farm.spaces import space as searched_space
from farm.store import ReferenceSet, Store
from predictors import FloatArray

if TYPE_CHECKING:
    from predictors.encodings.hwl import Normalisation

FEWEST_TO_FIT = 10
"""Networks that must be measured on each reference before a normalisation is fitted for good: what
fewer of them say of the others hardly spreads, and every later value would be beyond its limit."""

ONE_BY_ONE = 20
"""Networks that are looked up one by one; of more, all that was measured on a device is read."""


def must_be_usable(store: Store, config: FarmConfig, space: str) -> ReferenceSet | None:
    """The set that networks of a space are encoded by; None before one was fitted.

    Raises UsageError where there are no references, or where one is not what it was.
    """
    if not config.references:
        raise UsageError(
            f"no reference devices; write `references:` into {config.path}, or say "
            "`farm references use DEVICES`; `farm references choose` says which tell most"
        )
    found = chosen(store, config, space)
    if found is not None:
        must_hold(store, found)
    return found


def reference_set(
    store: Store, config: FarmConfig, space: str, predictor: CentralPredictor
) -> ReferenceSet:
    """What networks of a space are encoded by. The first time that enough was measured it is fitted
    and kept; from then on it stays as it is.

    Raises UsageError as `must_be_usable`.
    """
    found = must_be_usable(store, config, space)
    if found is not None:
        return found
    if min(predictor.learnt(space, name) for name in config.references) < FEWEST_TO_FIT:
        return _unfitted(config, space)
    found, networks = fit(store, config, space, predictor)
    if store.can_write:
        store.use_references(found, networks)
    return found


def fit(
    store: Store, config: FarmConfig, space: str, predictor: CentralPredictor
) -> tuple[ReferenceSet, list[str]]:
    """A set of the references of cluster.yaml, and the networks that it is fitted on: what is
    believed of all of them, not only of those that happen to be measured.

    Raises UsageError where too little was measured.
    """
    from predictors.encodings.hwl import Normalisation

    for name in config.references:
        learnt = predictor.learnt(space, name)
        if learnt < FEWEST_TO_FIT:
            raise UsageError(
                f"{learnt} networks of {space} were measured on {name}, and a reference needs "
                f"{FEWEST_TO_FIT}; `farm launch --devices {name} --budget {FEWEST_TO_FIT}` "
                "measures some"
            )
    found, encoder = predictor.references(searched_space(space, store.models), config.references)
    assert encoder is not None  # enough was measured
    latency_s = [one.latency_s(encoder.pool) for one in found if one is not None]
    own = Normalisation.fit(np.column_stack(latency_s))
    devices = [config.device(name) for name in config.references]
    networks = [network.id for network in encoder.pool.networks]
    return _of(devices, space, store, own, len(networks)), networks


def _unfitted(config: FarmConfig, space: str) -> ReferenceSet:
    from predictors.encodings.hwl import Normalisation

    devices = [config.device(name) for name in config.references]
    return _of(devices, space, None, Normalisation.none(len(devices)), 0)


def _of(
    devices: Sequence[Device], space: str, store: Store | None, own: Normalisation, fitted_on: int
) -> ReferenceSet:
    batches, flush_bytes = zip(*(device.spec.quantity for device in devices), strict=True)
    return ReferenceSet(
        space=space,
        devices=tuple(device.name for device in devices),
        batches=batches,
        flush_bytes=flush_bytes,
        revisions=tuple("" if store is None else revision(store, d.name) for d in devices),
        unit_s=tuple(own.unit_s.tolist()),
        mean=tuple(own.mean.tolist()),
        scale=tuple(own.scale.tolist()),
        fitted_on=fitted_on,
    )


def look_up(
    store: Store, predictor: CentralPredictor, networks: Sequence[Network], device: Device
) -> dict[Network, Measurement]:
    """The measurements that hold of those networks of one space that were measured on a device,
    and perhaps of others."""
    if len(networks) <= ONE_BY_ONE:
        return {n: m for n in networks if (m := known(store, n, device)) is not None}
    found = predictor.measured(networks[0].space, device.name)
    return dict(zip(found.networks, found.measurements, strict=True))


def stored_errors(
    store: Store,
    predictor: CentralPredictor,
    networks: Sequence[Network],
    devices: Sequence[Device],
) -> FloatArray:
    """(N, D): 0 for what was measured, else infinite."""
    each = [look_up(store, predictor, networks, device) for device in devices]
    return np.array([[0.0 if n in known else np.inf for known in each] for n in networks])


def encode(
    store: Store,
    config: FarmConfig,
    networks: Sequence[Network],
    fresh: Fresh | None = None,
    predictor: CentralPredictor | None = None,
    models: Mapping[str, bytes] | None = None,
) -> Encoding:
    """HWL of networks of one space: measured where that is known, predicted elsewhere.

    models: ONNX files by their codes; those of the store without.
    Raises UsageError for a reference set that does not hold any more.
    """
    space = networks[0].space
    predictor = predictor or CentralPredictor.of(store, config)
    found = reference_set(store, config, space, predictor)
    cached = [look_up(store, predictor, networks, config.device(name)) for name in found.devices]
    searched = searched_space(space, store.models if models is None else models)
    predicted = partial(predictor.references, searched, found.devices)
    return KnownReferences(found, cached, predicted).encode(networks, fresh)


def prepared(store: Store, config: FarmConfig, space: str) -> KnownReferences:
    """All that is known now, for any network of a space. Raises UsageError as `encode`."""
    predictor = CentralPredictor.of(store, config)
    found = reference_set(store, config, space, predictor)
    columns = [predictor.measured(space, name) for name in found.devices]
    cached = [dict(zip(one.networks, one.measurements, strict=True)) for one in columns]
    predicted = predictor.references(searched_space(space, store.models), found.devices)
    return KnownReferences(found, cached, lambda: predicted)


@dataclass(frozen=True, eq=False)
class Asked:
    """What is known of the references when networks are asked about.

    models: ONNX files by their codes. predictor: of the store; it learns of outcomes as they come.
    """

    store: Store
    config: FarmConfig
    models: Mapping[str, bytes]
    predictor: CentralPredictor

    def errors(self, networks: Sequence[Network], limit: float | None) -> FloatArray:
        """(N, R), as `farm.campaign.asking.Errors`; infinite for a measurement of a single session,
        too, which does not tell. Raises UsageError as `encode`."""
        must_be_usable(self.store, self.config, networks[0].space)
        if limit is None:
            devices = [self.config.device(name) for name in self.config.references]
            return stored_errors(self.store, self.predictor, networks, devices)
        errors = np.expm1(Z_95 * self.encode(networks).log_std)
        return np.where(np.isfinite(errors), errors, np.inf)

    def encode(self, networks: Sequence[Network], fresh: Fresh | None = None) -> Encoding:
        """HWL of networks of one space. fresh: what came of measuring some of them now."""
        return encode(self.store, self.config, networks, fresh, self.predictor, self.models)

    def each(self, networks: Sequence[Network], fresh: Fresh) -> Iterator[NetworkEncoding]:
        """The same one by one, with what a person should know of each."""
        for one in self.encode(networks, fresh).each():
            yield with_inputs(one, self.models, self.config)
