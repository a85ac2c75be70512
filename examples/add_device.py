"""Add a device: try it out with a known network, and write it into cluster.yaml.

    python examples/add_device.py cluster.yaml cpu4 cpu threads=2

The words after the name are the kind and what cluster.yaml will say of it; `farm device add` does
the same. A device over SSH has a host key that a person checks: use the command for these.
"""

import sys
from pathlib import Path

from farm import Farm
from farm.devices.onboarding import add

config, name, kind, *settings = sys.argv[1:] or ["cluster.yaml", "cpu4", "cpu", "threads=2"]
entry = {"kind": kind}
for setting in settings:
    key, _, value = setting.partition("=")
    entry[key] = int(value) if value.isdecimal() else value
added = add(Path(config), name, entry)

print(f"{name} is in {config} after {added.wall_s:.0f} s; its fingerprint is", end=" ")
print(added.facts.fingerprint)
print("Devices now:", ", ".join(Farm.open(config).config.devices))
