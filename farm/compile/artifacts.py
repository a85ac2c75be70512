"""The store of artifacts: each compiled network once, in a folder named by its build key."""

from __future__ import annotations

import hashlib
from pathlib import Path

from farm.compile.content_store import ContentStore
from farm.core.values import Artifact, Program

_LIBRARY = "network.so"


class ArtifactStore:
    """Artifacts as ROOT/KEY[:2]/KEY/{network.so, manifest.json}."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._entries = ContentStore(self.root)

    def get(self, key: str) -> Artifact | None:
        """The artifact of a build key, verified; None where it is missing or was damaged."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        facts = entry.facts
        return Artifact(
            build_key=key,
            library=entry.folder / _LIBRARY,
            sha256=facts["sha256"],
            size_bytes=facts["size_bytes"],
            build_s=facts["build_s"],
            program=Program.from_json(facts["program"]),
        )

    def put(self, key: str, library: bytes, program: Program, build_s: float) -> Artifact:
        """Store a compiled network. Where `key` is there already, that artifact stays.

        build_s: CPU seconds that the build took. Raises StoreFull.
        """
        facts = {
            "sha256": hashlib.sha256(library).hexdigest(),
            "size_bytes": len(library),
            "build_s": build_s,
            "program": program.to_json(),
        }
        self._entries.put(key, {_LIBRARY: library}, facts)
        artifact = self.get(key)
        return artifact if artifact is not None else self.put(key, library, program, build_s)
