"""Tokens of the service: who may ask it, and for what. A token is shown once and not kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from farm.core.errors import UnknownName, UsageError
from farm.store import rows
from farm.store.connection import Connected

READER, USER, ADMIN = ROLES = ("reader", "user", "admin")
"""What a token allows, each with what those before it do: to look and ask for predictions; to
launch campaigns and measure; to end what others began."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Token:
    """One that was given to somebody. expires_at, revoked_at: UTC, None for never."""

    name: str
    role: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None

    @property
    def state(self) -> str:
        """`valid`, `expired` or `revoked`, at this moment."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= rows.now() else "valid"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "state": self.state}


class TokenStore(Connected):
    """The part of `farm.store.Store` that knows tokens."""

    def add_token(self, name: str, role: str, lasts_s: float | None = None) -> str:
        """Make a token: its secret, which nobody can be told again.

        lasts_s: from now; None for ever. Raises UsageError for a name that is taken or none, and
        UnknownName for the role.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"a token's name is letters a-z, digits, `.`, `_` and `-`, got {name!r}"
            )
        if role not in ROLES:
            raise UnknownName("role", role, ROLES)
        if any(one.name == name and one.revoked_at is None for one in self.tokens()):
            raise UsageError(
                f"there is a token {name!r}; `farm token revoke {name}` ends it, or choose another "
                "name"
            )
        secret = f"farm_{secrets.token_urlsafe(32)}"
        row = {"name": name, "role": role, "digest": _digest(secret), "created_at": rows.now()}
        with self._writing():
            self._insert("tokens", {**row, "expires_at": _after(lasts_s)})
        return secret

    def tokens(self) -> list[Token]:
        """All that were ever made, oldest first."""
        return [_token(row) for row in self._rows(f"SELECT {_COLUMNS} FROM tokens ORDER BY id")]

    def revoke_token(self, name: str) -> None:
        """End a token; from now on it opens nothing. Raises UnknownName."""
        sql = "UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL"
        with self._writing():
            found = self._db.conn.execute(sql, [rows.now(), name]).rowcount
        if not found:
            known = [one.name for one in self.tokens() if one.revoked_at is None]
            raise UnknownName("token", name, known)

    def token_of(self, secret: str) -> Token | None:
        """The token that a secret is of, whatever its state."""
        found = self._rows(f"SELECT {_COLUMNS} FROM tokens WHERE digest = ?", _digest(secret))
        return next(map(_token, found), None)


_COLUMNS = "name, role, created_at, expires_at, revoked_at"


def _token(row: dict[str, Any]) -> Token:
    return Token(**row)


def _digest(secret: str) -> str:
    """A secret of 256 random bits needs no slow hash: it cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _after(lasts_s: float | None) -> str | None:
    if lasts_s is None:
        return None
    return (datetime.now(UTC) + timedelta(seconds=lasts_s)).isoformat(timespec="milliseconds")
