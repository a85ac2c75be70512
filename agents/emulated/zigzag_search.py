"""Searches layers: a program of its own, since ZigZag logs, leaves files, and may take long.

`python -m agents.emulated.zigzag_search` in a folder that it may fill, with JSON on stdin. What it
finds goes into the table of kept results, a layer at a time.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from agents.emulated.kept import Kept


def search(request: dict[str, Any], layer: dict[str, Any]) -> dict[str, float]:
    """The cycles and the energy of a layer, in the order of loops that takes the fewest cycles.

    The stages are those of ZigZag's own `get_hardware_performance_zigzag`, less the ones that draw
    and write files: they fail on a layer that fits into the array at once.
    """
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.stages.main import MainStage

    logging.disable(logging.CRITICAL)
    mapping = Path("mapping.yaml")
    mapping.write_text(json.dumps(request["mapping"]))  # JSON is YAML, too
    stages = MainStage(
        _stages(),
        workload=[{"id": 0, "name": "layer", **layer}],
        accelerator=str(_hardware(request["hardware"])),
        mapping=str(mapping),
        loma_lpf_limit=request["search"],
        loma_show_progress_bar=False,
        nb_mappings_generated=3,
        enable_mix_spatial_mapping_generation=False,
        access_same_data_considered_as_no_access=True,
        temporal_mapping_type=TemporalMappingType.UNEVEN,
    )
    ((cost, _),) = stages.run()
    return {"cycles": float(cost.latency_total2), "energy_pj": float(cost.energy_total)}


def _hardware(name: str) -> Path:
    import zigzag

    path = Path(zigzag.__file__).parent / "inputs/hardware" / f"{name}.yaml"
    if not path.exists():
        raise FileNotFoundError(f"ZigZag describes no hardware {name}")
    return path


def _stages() -> list[Any]:
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
    from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
    from zigzag.stages.parser.workload_parser import WorkloadParserStage
    from zigzag.stages.results.reduce_stages import MinimalLatencyStage, SumStage
    from zigzag.stages.workload_iterator import WorkloadStage

    return [
        WorkloadParserStage,
        AcceleratorParserStage,
        SumStage,
        WorkloadStage,
        MinimalLatencyStage,
        SpatialMappingGeneratorStage,
        MinimalLatencyStage,
        TemporalMappingGeneratorStage,
        CostModelStage,
    ]


def main() -> None:
    """Reads the request and searches each layer that it names."""
    request = json.load(sys.stdin)
    kept = Kept(Path(request["kept"]))
    for key in request["keys"]:
        kept.put(key, search(request, key["layer"]))


if __name__ == "__main__":
    main()
