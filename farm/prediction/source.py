"""What the farm's predictor knows: of the store, and of the published tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from farm.core.values import Network
from farm.inventory.config import FarmConfig
from farm.measurement.record import Measurement
from farm.prediction.columns import Column, column, published
from farm.prediction.observed import Observed
from farm.prediction.references import by_device, in_use
from farm.spaces import space as searched_space
from farm.spaces.base import SearchSpace
from farm.store import Store

if TYPE_CHECKING:
    from farm.prediction.kernel_times import KernelSum
    from predictors.encodings.hwl import Normalisation


class Source(Protocol):
    """What a predictor knows, wherever it comes from."""

    def devices(self, space: str) -> Sequence[str]:
        """Those with networks of a space."""
        ...

    def measured(self, space: str, device: str) -> Column:
        """What a device takes for networks of a space, of which there may be none."""
        ...

    def reference(self, space: str, device: str, networks: int) -> Column:
        """The same of so many networks that became known first."""
        ...

    def published(self, space: str) -> Sequence[Column]:
        """Of devices that nobody here has."""
        ...

    def other_spaces(self, device: str, space: str) -> Sequence[SearchSpace]:
        """Those of which networks were measured on a device, too."""
        ...

    def build_s(self, device: str) -> float:
        """CPU seconds that building a network for a device took on average; 0 for none."""
        ...

    def normalisations(self, space: str) -> Mapping[str, Normalisation]:
        """Of the devices of the reference set in use, one each."""
        ...

    def sums(self, device: str, networks: Sequence[Network], batch: int) -> KernelSum | None:
        """Of networks' kernel times on a device; None where none of its kernels was timed."""
        ...


class Stored:
    """What a store and the published tables say: a `Source`."""

    def __init__(self, store: Store, config: FarmConfig | None, until: int | None) -> None:
        self._store = store
        self._config = config
        self._observed = Observed(store, until)
        self._published: dict[str, list[Column]] = {}
        self._columns: dict[tuple[str, str, int | None], tuple[Sequence[Measurement], Column]] = {}

    def devices(self, space: str) -> Sequence[str]:
        return self._store.devices_of(space)

    def measured(self, space: str, device: str) -> Column:
        return self._column(space, device, None)

    def reference(self, space: str, device: str, networks: int) -> Column:
        return self._column(space, device, networks)

    def _column(self, space: str, device: str, networks: int | None) -> Column:
        """networks: the first of them; None: all."""
        own = None if self._config is None else self._config.devices.get(device)
        if networks is None:
            found = self._observed.of(device, space)
        else:
            quantity = None if own is None else own.spec.quantity
            found = self._observed.first(device, space, quantity, networks)
        known = self._columns.get((device, space, networks))
        if known is None or known[0] is not found:
            known = found, column(device, found, own)
            self._columns[device, space, networks] = known
        return known[1]

    def published(self, space: str) -> Sequence[Column]:
        if self._config is None:
            return ()
        if space not in self._published:
            self._published[space] = published(self._config, space)
        return self._published[space]

    def other_spaces(self, device: str, space: str) -> Sequence[SearchSpace]:
        names = [name for name in self._store.spaces_of(device) if name != space]
        return [searched_space(name, self._store.models) for name in names]

    def build_s(self, device: str) -> float:
        return self._store.build_s(device)

    def normalisations(self, space: str) -> Mapping[str, Normalisation]:
        if self._config is None:
            return {}
        found = in_use(self._store, self._config, space)
        return {} if found is None else by_device(found)

    def sums(self, device: str, networks: Sequence[Network], batch: int) -> KernelSum | None:
        from farm.prediction.kernel_times import kernel_sums

        return kernel_sums(self._store, device, networks, batch)
