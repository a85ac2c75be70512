"""The proxy nwot of networks of NAS-Bench-201, kept in a file as they are done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import say
from farm.core.values import Network

BATCH = 16
SEED = 0
"""Of the images, which are the same for all networks, and of each network's weights."""


def scored(networks: Sequence[Network], path: Path) -> dict[str, float]:
    """By code. path: JSON lines; what is not there is computed, a tenth of a second each, and
    added."""
    found = _read(path)
    left = [one for one in networks if one.code not in found]
    if not left:
        return found
    import torch

    from farm.spaces.nb201.modules import every_edge
    from farm.spaces.nb201.space import parse_cell
    from predictors.encodings import zcp_pass

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with path.open("a") as file:
        for number, network in enumerate(left, 1):
            torch.manual_seed(SEED)
            module = every_edge(parse_cell(network.code)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            found[network.code] = zcp_pass.nwot(module, images)
            file.write(json.dumps([network.code, found[network.code]]) + "\n")
            if number % 1000 == 0:
                file.flush()
                say(f"{number} of {len(left)} networks are scored")
    return found


def _read(path: Path) -> dict[str, float]:
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(json.loads(line) for line in lines)
