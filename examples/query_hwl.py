"""Query HWL: what networks take on the reference devices, as the arrays that models consume.

    python examples/query_hwl.py cluster.yaml

The references are those of cluster.yaml, and ten networks must be measured on each:
`examples/launch_campaign.py` does that. Here networks are measured only where an interval is wider
than 20 %.
"""

import sys

import numpy as np

from farm import Ask, Farm
from farm.spaces import space

farm = Farm.open(sys.argv[1] if sys.argv[1:] else "cluster.yaml")
networks = space("nb201").sample(1000, np.random.default_rng(0))
encoding = farm.hwl([network.id for network in networks])
devices = ", ".join(encoding.references.devices)
print(f"{len(networks)} networks on {devices}: {encoding.values.shape}")
print(f"HWL version {encoding.version}, fitted on {encoding.references.fitted_on} networks")

fastest = encoding.latency_s.sum(axis=1).argsort()[:3]
for row in fastest:
    one = farm.hwl(networks[row].id, Ask(measure="missing", max_error=0.2))
    latencies = ", ".join(
        f"{r.device} {1e3 * r.latency_s:.3f} ms ({r.source})" for r in one.references if r.latency_s
    )
    print(f"{one.network.code}: {latencies}")
