"""What the farm sees in an ONNX file, and on which devices it could be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from farm.compile.artifacts import ArtifactStore
from farm.core.errors import BuildError, DeviceError, TargetError
from farm.core.values import GivenInput, Network, Target
from farm.execution.attempts import make_agent
from farm.inventory.config import Device

if TYPE_CHECKING:
    from onnx import ModelProto

    from farm.compile.outline import Outline


@dataclass(frozen=True)
class Compiled:
    """Whether a model compiles for a device. built: None where that is not known. reason: why it
    does not, or why it is not known."""

    device: str
    built: bool | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"device": self.device, "compiles": self.built, "reason": self.reason}


@dataclass(frozen=True)
class ModelCheck:
    """parameters, macs: as `farm.spaces.onnx.counts` counts them, at a batch of one where that is
    open. remarks: what a person should know of the latency that would be told."""

    network: Network
    inputs: tuple[GivenInput, ...]
    outputs: tuple[GivenInput, ...]
    outline: Outline
    parameters: int
    macs: int
    remarks: tuple[str, ...]
    devices: tuple[Compiled, ...]

    @property
    def compiles(self) -> bool:
        """Whether it does for every device of which that is known."""
        return all(device.built is not False for device in self.devices)

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network.id,
            "inputs": [one.to_json() for one in self.inputs],
            "outputs": [one.to_json() for one in self.outputs],
            "operators": {
                name: {"count": count, "by_tvm": self.outline.by_tvm.get(name, 0)}
                for name, count in self.outline.operators.items()
            },
            "kernel_calls": self.outline.calls,
            "parameters": self.parameters,
            "macs": self.macs,
            "weights_bytes": self.outline.weights_bytes,
            "activations_bytes": self.outline.activations_bytes,
            "remarks": list(self.remarks),
            "devices": [device.to_json() for device in self.devices],
        }


def check_model(
    network: Network, model: ModelProto, devices: Sequence[Device], artifacts: ArtifactStore
) -> ModelCheck:
    """Look at an imported model, and build it once for each target of the devices.

    Raises BuildError for what no target can have.
    """
    from farm.compile import outline as compiled
    from farm.spaces.batch import given_inputs
    from farm.spaces.onnx.counts import count
    from farm.spaces.onnx.remarks import outputs, remarks

    seen, counts = compiled.outline(model), count(model)
    return ModelCheck(
        network=network,
        inputs=given_inputs(model, 1),
        outputs=outputs(model),
        outline=seen,
        parameters=counts.parameters,
        macs=counts.macs,
        remarks=(*remarks(model), *compiled.remarks(seen)),
        devices=tuple(_compiled(model, device, artifacts) for device in devices),
    )


def _compiled(model: ModelProto, device: Device, artifacts: ArtifactStore) -> Compiled:
    from farm.spaces.batch import with_batch

    try:
        with make_agent(device) as agent:
            target = agent.facts().target
    except DeviceError as e:
        return Compiled(device.name, None, f"it cannot be asked: {e}")
    if target is None:
        return Compiled(device.name, None, "it runs no compiled networks")
    try:
        batched = with_batch(model, device.spec.batch)
    except BuildError as e:
        return Compiled(device.name, False, str(e))
    return Compiled(device.name, *_build(batched, target, artifacts))


def _build(model: ModelProto, target: Target, artifacts: ArtifactStore) -> tuple[bool, str | None]:
    """Whether it builds, and why not. What was built once is found again."""
    from farm.compile.build import build

    try:
        build(model, target, artifacts)
    except (BuildError, TargetError) as e:
        return False, str(e)
    return True, None
