"""Who asks the service, and what they may."""

from __future__ import annotations

from dataclasses import dataclass

from farm.core.errors import NotAllowed
from farm.store import ROLES


@dataclass(frozen=True)
class Who:
    """Somebody who asks. name: of the token; `owner` for who started the service."""

    name: str
    role: str

    def must_be(self, role: str) -> None:
        """Raises NotAllowed for one whose role does not allow what `role` does."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise NotAllowed(
                f"this takes a token of role {role}, and {self.name!r} is of role {self.role}; "
                "`farm token create NAME --role` makes one"
            )
