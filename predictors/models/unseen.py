"""What a model assumes of a device that was never measured: 20 us to 4 s within two deviations."""

from __future__ import annotations

import math

LOG_S = math.log(1e-2)
STD = 3.0
"""Log-seconds; the level of its latencies, and how far that may be off."""
