"""Launch a campaign: measure some networks on your devices, predict all others, and see how well.

    python examples/launch_campaign.py cluster.yaml cpu1 cpu2

The first time it compiles and measures for some minutes. What is measured is kept: later campaigns,
and `examples/query_hwl.py`, use it.
"""

import sys

from farm import Farm, Launch

config, *devices = sys.argv[1:] or ["cluster.yaml", "cpu1", "cpu2"]
asked = Launch(space="nb201", devices=devices, budget=12, holdout=4, precision=0.05, kernels=False)
summary = Farm.open(config).launch(asked, executor="inline")

for device, found in summary.to_json()["devices"].items():
    print(f"{device}: {found['measured']} networks measured", end="")
    if found["error_median"] is not None:
        print(f"; {found['heldout']} others predicted to {found['error_median']:.1%}", end="")
    print()
