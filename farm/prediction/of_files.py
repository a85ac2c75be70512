"""What a person should know of the encoding of a network that comes from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from farm.core.errors import BuildError
from farm.inventory.config import FarmConfig
from farm.prediction.encoding import NetworkEncoding
from farm.spaces.base import ONNX


def with_inputs(
    found: NetworkEncoding, models: Mapping[str, bytes], config: FarmConfig
) -> NetworkEncoding:
    """The same with what the network is measured with on each reference, and with remarks; of a
    network of a search space just the same."""
    network = found.network
    if network.space != ONNX:
        return found
    from farm.compile import outline
    from farm.spaces.onnx.files import OnnxFiles
    from farm.spaces.onnx.remarks import remarks

    files = OnnxFiles(models)
    references = tuple(
        replace(r, inputs=files.inputs(network, config.device(r.device).spec.batch))
        for r in found.references
    )
    model = files.model(network)
    try:
        kernels = outline.remarks(outline.outline(model))
    except BuildError:
        kernels = ()  # that it does not compile is said elsewhere
    return replace(found, references=references, remarks=(*remarks(model), *kernels))
