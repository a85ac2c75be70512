"""An arm64 process under QEMU that counts: started anew for each network, always the same way.

Where buffers lie decides what conflicts in a cache, and that depends on all that a process did
before. So each network has a process of its own that sees no path, no environment and no random
number of this host: its counts are the same in every run.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agents.emulated.counting import PAGE
from agents.emulated.plugin import QEMU, plugin, qemu_version
from agents.emulated.profiles import Profile
from agents.emulated.userland import arm64_root, rename_unless_there
from agents.pipes import DEVICE_FILES, LocalPipe
from agents.runtime.bundle import bundle
from farm.core.errors import DeviceUnfit
from farm.core.hosts import cache_folder

PYTHON = "3.11"
"""Of the guest."""

NETWORK = "./network.so"
"""The guest's name for the library; the loader looks for names without a slash elsewhere."""

_PACKAGE = Path(__file__).parents[1]
_SCRIPTS = (*(f"on_device/{path.name}" for path in DEVICE_FILES), "emulated/counting.py")
"""In the package `agents`, which is these files alone in the guest."""

_START = "from agents.emulated import counting; counting.main()"

_WORK = "/tmp"
"""Its length is part of what a process does, so it is not where `$TMPDIR` is."""

_FIRST_START_S = 300.0

_HERE = "/proc/self/cwd"
"""The guest's name for its folder."""

_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONHOME": "/usr",
    "PYTHONPATH": _HERE,
    "PYTHONPYCACHEPREFIX": f"{_HERE}/bytecode",
}


def versions() -> dict[str, str]:
    """What counts depend on besides the profile. Raises DeviceUnfit."""
    return {
        "qemu": qemu_version(),
        "plugin": plugin().stem,
        "python": PYTHON,
        "guest": prepared().name,
    }


def prepared() -> Path:
    """A folder with what the guest runs, its bytecode included; made in the cache the first time.

    Raises DeviceUnfit where something that it needs is missing.
    """
    qemu_version()
    slim, root = bundle("aarch64", PYTHON), arm64_root(PYTHON)
    sources = b"".join((_PACKAGE / name).read_bytes() for name in _SCRIPTS)
    digest = hashlib.sha256(sources + f"{slim.name} {PYTHON}".encode()).hexdigest()[:16]
    folder = cache_folder() / "insnclock" / digest
    if not folder.exists():
        _prepare(folder, slim, root)
    return folder


def _prepare(folder: Path, slim: Path, root: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as text:
        fresh = Path(text) / "guest"
        shutil.copytree(slim, fresh / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
        for name in _SCRIPTS:
            (fresh / "agents" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_PACKAGE / name, fresh / "agents" / name)
        (fresh / "root").symlink_to(root)
        _write_bytecode(fresh)
        rename_unless_there(fresh, folder)


def _write_bytecode(folder: Path) -> None:
    """Starts the guest once, to its end: what it imports is compiled then, and never again."""
    argv = _argv(folder, [], bytecode=True)
    try:
        subprocess.run(
            argv, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_FIRST_START_S
        )
    except subprocess.CalledProcessError as e:
        lines = e.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise DeviceUnfit(f"Python for arm64 does not run under {QEMU}: {lines[-1]}") from e
    except subprocess.TimeoutExpired as e:
        raise DeviceUnfit(f"{QEMU} did not start Python within {_FIRST_START_S:g} s") from e


@contextmanager
def counting(profile: Profile, library: Path) -> Iterator[LocalPipe]:
    """The runner of `counting.py`, in a process that finds `library` as `NETWORK`."""
    with tempfile.TemporaryDirectory(dir=_WORK, prefix="farm-") as text:
        folder = Path(text)
        shutil.copytree(prepared(), folder, symlinks=True, dirs_exist_ok=True)
        shutil.copyfile(library, folder / NETWORK)
        with LocalPipe(_argv(folder, _plugin_arguments(profile, folder), profile.cpu)) as pipe:
            yield pipe


def _plugin_arguments(profile: Profile, folder: Path) -> list[str]:
    caches = "".join(f",cache={cache.kib}:{cache.ways}" for cache in profile.caches)
    return ["-plugin", f"{plugin()},page={folder / PAGE}{caches}"]


def _argv(
    folder: Path, plugin_arguments: Sequence[str], cpu: str = "cortex-a53", bytecode: bool = False
) -> list[str]:
    """Starts the runner in `folder`; bytecode: whether Python keeps what it compiles."""
    environment = _ENVIRONMENT | ({} if bytecode else {"PYTHONDONTWRITEBYTECODE": "1"})
    assignments = [f"{name}={value}" for name, value in environment.items()]
    qemu = [shutil.which(QEMU) or QEMU, "-cpu", cpu, "-L", "root", *plugin_arguments]
    python = [f"root/usr/bin/python{PYTHON}", "-P", "-s", "-S", "-c", _START]
    end = ["--runtime", f"{_HERE}/runtime"]
    return ["env", "-i", f"--chdir={folder}", *assignments, *qemu, *python, *end]
