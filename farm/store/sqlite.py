"""sqlite-utils, without the second that it takes to load pandas.

It imports pandas where that is installed, to know the types of its cells, which the farm never
stores. It does without where the import fails, and so it is made to fail.
"""

from __future__ import annotations

import sys

_LOADED = "pandas" in sys.modules
if not _LOADED:
    sys.modules["pandas"] = None  # type: ignore[assignment]
try:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations
finally:
    if not _LOADED:
        del sys.modules["pandas"]

__all__ = ["Database", "Migrations"]
