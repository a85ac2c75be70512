"""What requests are measured with: found where it was built before, or said how it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build_key
from farm.core.values import KERNEL, Artifact, DeviceFacts, Network, Target
from farm.execution.protocol import BuildJob
from farm.measurement.spec import MeasureSpec
from farm.spaces import space
from farm.store import Request, Store


@dataclass
class _Build:
    """artifact: once it is known to be there; to read it again would verify it again."""

    key: str
    model: bytes
    artifact: Artifact | None = None


class Builds:
    """What one run's requests are measured with."""

    def __init__(
        self, store: Store, artifacts: ArtifactStore, specs: Mapping[str, MeasureSpec]
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._specs = specs
        self._known: dict[tuple[Network, str], _Build] = {}

    def of(self, request: Request, facts: DeviceFacts) -> Artifact | BuildJob | None:
        """What a request is measured with, or what has to be built first; None for nothing.

        facts: of its device as it is now. Raises BuildError for what can never be built."""
        if facts.target is None:
            return None
        build = self._build(request.network, request.device, facts.target)
        build.artifact = build.artifact or self._artifacts.get(build.key)
        return build.artifact or BuildJob(build.key, request.network, build.model, facts.target)

    def needs(self, request: Request, job: BuildJob) -> bool:
        """Whether a request waits for a build."""
        build = self._known.get((request.network, request.device))
        return build is not None and build.key == job.build_key

    def _build(self, network: Network, device: str, target: Target) -> _Build:
        if (network, device) not in self._known:
            make = self._kernel_build if network.space == KERNEL else self._network_build
            self._known[network, device] = make(network, device, target)
        return self._known[network, device]

    def _network_build(self, network: Network, device: str, target: Target) -> _Build:
        from farm.spaces.batch import with_batch  # which imports onnx

        alone = space(network.space, self._store.models).model(network)
        model = with_batch(alone, self._specs[device].batch)
        return _Build(build_key(model, target), model.SerializeToString(deterministic=True))

    def _kernel_build(self, network: Network, device: str, target: Target) -> _Build:  # noqa: ARG002
        from farm.compile import alone

        definition = self._store.kernel(alone.kernel_code(network))
        key = alone.key(alone.defined(definition), target, alone.is_once(network))
        return _Build(key, definition.encode())
