"""What the service logs: a JSON object a line, each with the request, campaign and device that it
is about, where it is about one."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

ABOUT = ("request", "campaign", "device")


def log_as_json() -> None:
    """To stderr, whatever is logged, and nothing else."""
    handler = logging.StreamHandler()
    handler.setFormatter(AsJson())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("farm.service").setLevel(logging.INFO)


class AsJson(logging.Formatter):
    """`told`, of a record: what a line has beside that."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **{name: getattr(record, name, None) for name in ABOUT},
            **getattr(record, "told", {}),
        }
        if said := record.getMessage():
            told["said"] = said
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told)
