"""The process that TVM runs in: `python -m farm.compile` answers as `farm.compile.worker` says."""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    # TVM's bindings import torch wherever it is installed, and nothing here uses it: it would take
    # three quarters of a worker's start, and half of its memory.
    modules: dict[str, Any] = sys.modules
    modules["torch"] = None
    from farm.compile import worker

    worker.serve()


if __name__ == "__main__":
    main()
