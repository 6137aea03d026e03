"""Runs what a unit of systemd starts, confined as far as the unit says and as can be done without systemd.

``python -m tests.project.confined UNIT FOLDER UID``, as root: another user without capabilities, everything
read-only but the folders that may be written, credentials as files of that user, its system calls filtered by
the same sets. Networks by cgroup, devices and /proc stay as they are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS: Final = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_SYS_MOUNT_SETATTR: Final = 442
_AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = -100, 0x8000, 1
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NO_FAMILY: Final = 0x00050000 | errno.EAFNOSUPPORT
_EQUAL, _MASKED = 4, 7
_WRITE, _EXEC, _SHM_EXEC = 2, 4, 0o100000
_CLONE_NEW: Final = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)


class _Attributes(ctypes.Structure):
    """What ``mount_setattr`` takes."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clr", "propagation", "userns_fd")]


class _Compare(ctypes.Structure):
    """A condition on one argument of a system call."""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


class Directives:
    """The lines of a unit's service section, read as systemd reads them."""

    def __init__(self, text: str) -> None:
        """Join continued lines, and keep every value of each name."""
        self._values: dict[str, list[str]] = {}
        for line in text.replace("\\\n", " ").splitlines():
            name, is_one, value = line.partition("=")
            if is_one and not line.startswith("#"):
                self._values.setdefault(name, []).append(value.strip())

    def all(self, name: str) -> list[str]:
        """Give every value."""
        return self._values.get(name, [])

    def one(self, name: str) -> str:
        """Give the last value; empty if there is none."""
        return self.all(name)[-1] if self.all(name) else ""


def main(unit: Path, folder: Path, uid: int) -> None:
    """Become what the unit says, and run what it starts."""
    directives = Directives(unit.read_text())
    data = folder / "state"
    credentials = _give(directives, folder / "credentials", uid)
    _own(data, uid)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _unset(directives)},
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    words = shlex.split(directives.one("ExecStart"))
    command = [word.replace("%d", str(credentials)).replace("%%", "%").replace("$$", "$") for word in words]
    calls = _allowed(directives.all("SystemCallFilter"))
    _shut_mounts([data, *map(Path, directives.all("ReadWritePaths"))])
    _become(uid)
    _filter(calls, directives)
    os.umask(int(directives.one("UMask"), 8))
    os.chdir("/")
    os.execve(command[0], command, environment)  # noqa: S606 # that is the point


def _give(directives: Directives, place: Path, uid: int) -> Path:
    """Put each credential where the program finds it."""
    place.mkdir()
    for value in directives.all("LoadCredential"):
        name, _, source = value.partition(":")
        copy = place / name
        copy.write_bytes(Path(source).read_bytes())
        copy.chmod(0o400)
        os.chown(copy, uid, uid)
    place.chmod(0o500)
    os.chown(place, uid, uid)
    return place


def _own(data: Path, uid: int) -> None:
    """Give the state folder to the user, as systemd does."""
    data.mkdir(mode=0o700, exist_ok=True)
    os.chown(data, uid, uid)


def _unset(directives: Directives) -> set[str]:
    """Give the variables that are taken away."""
    return {name for line in directives.all("UnsetEnvironment") for name in line.split()}


def _check(result: int, what: str) -> None:
    """Insist on success."""
    if result:
        raise OSError(ctypes.get_errno(), what)


def _shut_mounts(writable: Sequence[Path]) -> None:
    """Make everything read-only, but some folders."""
    _check(_LIBC.unshare(_CLONE_NEWNS), "unshare")
    _check(_LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "private")
    for path in writable:
        _check(_LIBC.mount(bytes(path), bytes(path), None, _MS_BIND, None), str(path))
    _open_way_to(Path(sys.base_prefix), writable[0].parent / "python")
    shut, opened = _Attributes(set=_ATTR_RDONLY), _Attributes(clr=_ATTR_RDONLY)
    for path, flags, attributes in (
        (Path("/"), _AT_RECURSIVE, shut),
        *((path, 0, opened) for path in writable),
    ):
        size = ctypes.sizeof(attributes)
        done = _LIBC.syscall(
            _SYS_MOUNT_SETATTR, _AT_FDCWD, bytes(path), flags, ctypes.byref(attributes), size
        )
        _check(done, f"mount_setattr {path}")


def _open_way_to(prefix: Path, aside: Path) -> None:
    """Let another user reach the interpreter where it stands in root's own home."""
    closed = [each for each in reversed(prefix.parents) if not each.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return
    aside.mkdir()
    _check(_LIBC.mount(bytes(prefix), bytes(aside), None, _MS_BIND | _MS_REC, None), str(aside))
    _check(_LIBC.mount(b"tmpfs", bytes(closed[0]), b"tmpfs", 0, b"mode=0755"), str(closed[0]))
    prefix.mkdir(parents=True)
    _check(_LIBC.mount(bytes(aside), bytes(prefix), None, _MS_BIND | _MS_REC, None), str(prefix))


def _become(uid: int) -> None:
    """Be another user without any capability, for good."""
    for capability in range(41):
        _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _allowed(filters: Iterable[str]) -> set[str]:
    """Give the system calls that the filters leave, by the system's own sets."""
    found: set[str] = set()
    for line in filters:
        names = {call for word in line.removeprefix("~").split() for call in _calls(word)}
        found = found - names if line.startswith("~") else found | names
    return found | _calls("@default")


def _calls(word: str) -> set[str]:
    """Give the system calls of a name or a set."""
    if not word.startswith("@"):
        return {word}
    return {call for name in _sets()[word] for call in _calls(name)}


@cache
def _sets() -> Mapping[str, Sequence[str]]:
    """Give systemd's sets of system calls."""
    command = ("systemd-analyze", "--no-pager", "syscall-filter")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    inside: list[str] = []
    for line in done.stdout.splitlines():
        name = line.strip()
        if line.startswith("@"):
            inside = found.setdefault(name, [])
        elif line.startswith("    ") and not name.startswith("#"):
            inside.append(name)
    return found


class _Filter:
    """A seccomp filter, made by libseccomp.

    Args:
        default: what becomes of other calls.
    """

    def __init__(self, default: int) -> None:
        """Begin without rules."""
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._filter = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action: int, call: str, *conditions: tuple[int, int, int, int]) -> None:
        """Add a rule for a call; one that this machine does not have needs none."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        array = (_Compare * max(1, len(conditions)))(*(_Compare(*each) for each in conditions))
        done = self._library.seccomp_rule_add_array(
            self._filter, ctypes.c_uint32(action), number, len(conditions), array
        )
        if done:
            raise OSError(-done, f"rule for {call}")

    def load(self) -> None:
        """Put it in force, for good."""
        if done := self._library.seccomp_load(self._filter):
            raise OSError(-done, "seccomp_load")


def _filter(calls: Iterable[str], directives: Directives) -> None:
    """Let these calls through and no other, and of some not all that they could do."""
    refusing = _Filter(_ALLOW)
    if directives.one("MemoryDenyWriteExecute") == "yes":
        refusing.rule(_EPERM, "mmap", (2, _MASKED, _WRITE | _EXEC, _WRITE | _EXEC))
        for call in ("mprotect", "pkey_mprotect"):
            refusing.rule(_EPERM, call, (2, _MASKED, _EXEC, _EXEC))
        refusing.rule(_EPERM, "shmat", (2, _MASKED, _SHM_EXEC, _SHM_EXEC))
    if directives.one("RestrictNamespaces") == "yes":
        for call in ("unshare", "setns"):
            refusing.rule(_EPERM, call)
        refusing.rule(_ENOSYS, "clone3")
        for flag in _CLONE_NEW:
            refusing.rule(_EPERM, "clone", (0, _MASKED, flag, flag))
    families = {int(getattr(socket, name)) for name in directives.one("RestrictAddressFamilies").split()}
    for family in set(range(46)) - families:
        refusing.rule(_NO_FAMILY, "socket", (0, _EQUAL, family, 0))
    refusing.load()
    allowing = _Filter(_EPERM)
    for call in {*calls, "execve"}:
        allowing.rule(_ALLOW, call)
    allowing.load()


def environment_for(notify: Path) -> Mapping[str, str]:
    """Give the environment in which the program hears that it is supervised."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**mine, "NOTIFY_SOCKET": str(notify)}  # coverage could not write its data from within


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
