"""Builds the emulated Raspberry Pi: a kernel, an initramfs and a disk, of Debian's packages only.

Nothing of it is installed here and nothing needs root. It is built once (about 30 s) for a slim
runtime, and is then in the cache under the digest of all that it is made of.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agents.emulated import debian
from agents.emulated.debian import Apt
from agents.remote import upload
from agents.remote.transport import HostKey
from agents.runtime.bundle import bundle
from farm.core.errors import DeviceUnfit
from farm.core.hosts import cache_folder
from farm.core.values import digest

SUITE, PYTHON = "bookworm", "3.11"
"""The release of Debian that Raspberry Pi OS is made of, and its Python."""

USER = "pi"

_ROOTS = ("busybox-static", "libpython3-stdlib", "libstdc++6", "openssh-server", "python3-minimal")
_UNUSED = re.compile(
    "adduser|debconf|dpkg|init-system-helpers|libdb5.*|libgdbm.*|.*perl.*|libpam-runtime|lsb-base|"
    "media-types|openssh-client|openssh-sftp-server|passwd|procps|readline-common|runit-helper|"
    "sensible-utils|sysvinit-utils|tar|ucf|usrmerge"
)
"""What those depend on only to be installed or administered."""

_KERNEL = "linux-image-cloud-arm64"
_MODULES = (
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_mmio",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
)
"""A disk and a network card, in the order in which they must be loaded."""

_PRUNED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib", "var/cache")

_FREE_BYTES = 384 * 1024**2

_ID = 1000

_PACKAGES = {"mke2fs": "e2fsprogs", "ssh-keygen": "openssh-client"}

_FILES = {
    "etc/passwd": f"""\
root:x:0:0:root:/root:/bin/sh
sshd:x:101:65534::/run/sshd:/usr/sbin/nologin
{USER}:x:{_ID}:{_ID}:{USER}:/home/{USER}:/bin/sh
""",
    "etc/group": f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{_ID}:\n",
    "etc/shadow": f"root:*:19000::::::\nsshd:*:19000::::::\n{USER}:*:19000::::::\n",
    "etc/hostname": "emulated-pi\n",
    "etc/hosts": "127.0.0.1 localhost emulated-pi\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "etc/ssh/sshd_config": """\
HostKey /etc/ssh/host_key
UsePAM no
UseDNS no
PasswordAuthentication no
# An idle guest whose clock counts instructions is far ahead of everybody else.
LoginGraceTime 0
""",
    "sbin/init": f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev tmpfs /tmp
mount -t tmpfs -o nosuid,nodev,noexec,mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=5m tmpfs /run/lock
hostname -F /etc/hostname
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
chown -R 0:0 /etc/ssh
chown -R {_ID}:{_ID} /home/{USER}
while :; do
  /usr/sbin/sshd -D -e
  sleep 1
done
""",
}

_INITRAMFS_INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
until [ -b /dev/vda ]; do $b usleep 10000; done
$b mount -t ext4 -o rw,noatime /dev/vda /root
$b mount --move /dev /root/dev
exec $b switch_root /root /sbin/init
"""

_COMMANDS = "cat chmod chown df hostname ip ls mkdir mount rm sh sleep umount uname"
"""What busybox is called by; programs of people who look around there included."""


@dataclass(frozen=True)
class Image:
    """A built guest: its files, and how to log in there."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def key(self) -> Path:
        return self.folder / "key"

    def delete(self) -> None:
        """It is built again when it is needed; a guest that runs is not disturbed."""
        shutil.rmtree(self.folder)

    @property
    def host_key(self) -> HostKey:
        return HostKey.read(self.folder / "host_key.pub")


def image() -> Image:
    """The guest, built in the cache the first time. Raises DeviceUnfit where it cannot be."""
    runtime = upload.runtime(bundle("aarch64", PYTHON))
    recipe = [Path(str(module.__file__)).read_text() for module in (sys.modules[__name__], debian)]
    folder = cache_folder() / "qemu-pi" / digest([runtime.name, recipe])[:16]
    if not folder.exists():
        _build(folder, runtime)
    return Image(folder)


def _build(folder: Path, runtime: upload.Payload) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as text:
        work, fresh = Path(text), Path(text) / "image"
        fresh.mkdir()
        root, kernel = _unpacked(work)
        for name in ("key", "host_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(fresh / name))
        _furnish(root, fresh, runtime)
        shutil.copy(next(kernel.glob("boot/vmlinuz-*")), fresh / "kernel")
        (fresh / "initramfs").write_bytes(_initramfs(root / "bin/busybox", kernel))
        _make_disk(root, fresh / "disk")
        with suppress(OSError):  # where another process was faster
            fresh.rename(folder)


def _unpacked(work: Path) -> tuple[Path, Path]:
    """The folders of the unpacked packages, and of the kernel's."""
    root, kernel = work / "root", work / "kernel-package"
    (work / "apt").mkdir()
    apt = Apt(work / "apt", SUITE, "arm64")
    apt.unpack([apt.first_dependency(_KERNEL)], kernel)
    names = apt.with_dependencies(_ROOTS)
    apt.unpack([name for name in names if not _UNUSED.fullmatch(name)], root)
    return root, kernel


def _furnish(root: Path, keys: Path, runtime: upload.Payload) -> None:
    """Everything that a package's installation, or an administrator, would have done."""
    for name in _PRUNED:
        shutil.rmtree(root / name, ignore_errors=True)
    home = root / "home" / USER
    for name in ("dev", "proc", "root", "run", "sys", "tmp", f"home/{USER}/.ssh"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    (root / "sbin/init").chmod(0o755)
    for name in _COMMANDS.split():
        (root / "bin" / name).symlink_to("busybox")
    shutil.copy(keys / "host_key", root / "etc/ssh/host_key")
    shutil.copy(keys / "key.pub", home / ".ssh/authorized_keys")
    content = home / ".latency-farm/content"
    upload.unpack(runtime, content)
    (content.parent / "lock").touch()
    if sys.version_info[:2] == tuple(map(int, PYTHON.split("."))):  # else the guest does it
        for folder in (root / "usr/lib" / f"python{PYTHON}", content):
            _precompile(folder)


def _precompile(folder: Path) -> None:
    """Without this, Python in the guest takes seconds more to start."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, workers=1, invalidation_mode=unchecked)


def _make_disk(root: Path, disk: Path) -> None:
    files = [path.lstat().st_size for path in root.rglob("*")]
    size_kib = (sum(files) + 4096 * len(files) + _FREE_BYTES) // 1024
    # Left for later, inode tables would be written while networks are timed.
    options = ["-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
    _run("mke2fs", *options, "-d", str(root), str(disk), f"{size_kib}k")


def _initramfs(busybox: Path, kernel: Path) -> bytes:
    """Loads what the disk needs, and leaves everything else to it."""
    (modules,) = kernel.glob("lib/modules/*/kernel")
    entries = [(name, 0o40755, b"") for name in ("bin", "dev", "modules", "root")]
    entries.append(("bin/busybox", 0o100755, busybox.read_bytes()))
    entries.append(("init", 0o100755, _INITRAMFS_INIT.encode()))
    for number, name in enumerate(_MODULES):
        module = modules / f"{name}.ko"
        entries.append((f"modules/{number}-{module.name}", 0o100644, module.read_bytes()))
    return b"".join(_cpio(*entry) for entry in [*entries, ("TRAILER!!!", 0, b"")])


def _cpio(name: str, mode: int, data: bytes) -> bytes:
    """An entry of an archive as the kernel reads it: "newc", cpio(5)."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _run(program: str, *words: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = shutil.which(program, path=path)
    if found is None:
        raise DeviceUnfit(f"there is no command {program!r}; install {_PACKAGES[program]}")
    try:
        subprocess.run([found, *words], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as e:
        raise DeviceUnfit(f"{program} fails: {(e.stderr.splitlines() or ['silently'])[-1]}") from e
