"""System parts: the programs from outside Python that set-up and tests need.

Installs what is missing where it may (root on Debian), else names the exact command. Leaves no
service running: Debian would start mosquitto as soon as it is installed. It runs before the
environment exists, so it uses the standard library only.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
UNPACKED = Path(__file__).parent.parent / ".parts"
"""Where packages are unpacked that cannot be installed beside others."""
_POLICY_TEXT = "#!/bin/sh\nexit 101 # starting a service is not allowed (Debian policy, invoke-rc.d)\n"
_APT = ("apt-get", "--quiet", "--yes")


@dataclass(frozen=True)
class Part:
    """One part: what it is for, the Debian package that holds it, and whether it is here.

    Where ``unpacked`` names packages, these are unpacked below the project instead of installed.
    """

    name: str
    purpose: str
    package: str
    is_here: Callable[[], bool]
    unpacked: tuple[str, ...] = ()


def _program(name: str, package: str, purpose: str) -> Part:
    """Return the part whose presence is a program on the PATH."""
    return Part(name, purpose, package, lambda: shutil.which(name) is not None)


def _library(name: str, package: str, purpose: str) -> Part:
    """Return the part whose presence is a library that pkg-config knows."""
    return Part(name, purpose, package, lambda: any(Path("/usr/lib").glob(f"**/pkgconfig/{name}.pc")))


PARTS: Mapping[str, Sequence[Part]] = {
    "venv": (
        Part(
            "ensurepip",
            "makes the environment",
            f"python3.{sys.version_info.minor}-venv",
            lambda: importlib.util.find_spec("ensurepip") is not None,
        ),
    ),
    "hardware": (
        _program("pkg-config", "pkg-config", "finds the TPM's libraries"),
        _library("tss2-esys", "libtss2-dev", "speaks to a TPM"),
        _program("cc", "gcc", "builds the door to the TPM"),
        Part("stdlib.h", "is what it builds with", "libc6-dev", Path("/usr/include/stdlib.h").is_file),
        Part(
            "Python.h",
            "is what it builds for",
            f"python3.{sys.version_info.minor}-dev",
            (Path(sysconfig.get_path("include")) / "Python.h").is_file,
        ),
    ),
    "test": (
        _program("mosquitto", "mosquitto", "a broker that nobody here wrote"),
        _program("mosquitto_pub", "mosquitto-clients", "an MQTT client that nobody here wrote"),
        _program("openssl", "openssl", "checks an entry's signature without our code"),
        _program("chromium", "chromium", "opens the verifier page as an inspector does"),
        _program("zstd", "zstd", "opens an archive without our code"),
        _program("go", "golang-go", "builds a verifier that nobody here wrote"),
        Part(
            "golang.org/x/mod/sumdb",
            "is that verifier",
            "golang-golang-x-mod-dev",
            Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go").is_file,
        ),
        _program("npm", "npm", "installs the AsyncAPI parser that nobody here wrote"),
        _program("swtpm", "swtpm", "a TPM in software"),
        _program("swtpm_setup", "swtpm-tools", "makes one, with its endorsement certificate"),
        _program("tpm2_quote", "tpm2-tools", "checks what a TPM says without our code"),
        Part(
            "tpm2.so",
            "reads a key of a TPM without our code",
            "tpm2-openssl",
            lambda: any(Path("/usr/lib").glob("*/ossl-modules/tpm2.so")),
        ),
        _program("softhsm2-util", "softhsm2", "an HSM in software"),
        _program("pkcs11-tool", "opensc", "looks into an HSM without our code"),
        _program("chronyd", "chrony", "keeps time, with NTS"),
        Part(
            "ntpd",
            "keeps time, with NTS, in the way of others",
            "ntpsec",
            (UNPACKED / "ntpsec/usr/sbin/ntpd").is_file,
            ("ntpsec", "python3-ntp"),
        ),
        _program("faketime", "faketime", "a clock that is wrong on purpose"),
        _program("nft", "nftables", "filters what leaves a network namespace"),
        _program("ip", "iproute2", "makes network namespaces"),
        _program("sslscan", "sslscan", "looks at our TLS listeners from outside"),
        _program("testssl", "testssl.sh", "does so too"),
        _program("gnutls-cli", "gnutls-bin", "a TLS client that is not OpenSSL"),
        _program("curl", "curl", "enrols without our code"),
        _program("systemd-analyze", "systemd", "judges the unit file"),
    ),
    "peers": (
        _program("mosquitto", "mosquitto", "is measured beside coldseal, and stands before other peers"),
        _program("strace", "strace", "counts the calls that make data durable"),
    ),
}


def missing(parts: Sequence[Part]) -> list[Part]:
    """Return the parts that are not here."""
    return [part for part in parts if not part.is_here()]


def command(parts: Sequence[Part]) -> str:
    """Return the command that a person would type to install the parts."""
    installed = sorted({part.package for part in parts if not part.unpacked})
    commands = ["sudo apt-get install --yes " + " ".join(installed)] if installed else []
    for part in parts:
        if part.unpacked:
            target = UNPACKED / part.package
            names = " ".join(part.unpacked)
            commands.append(f"apt-get download {names} && for f in *.deb; do dpkg -x $f {target}; done")
    return "; ".join(commands)


@contextmanager
def services_off(policy: Path) -> Iterator[None]:
    """Forbid Debian to start services meanwhile; a policy that is already there is left alone."""
    if policy.exists():
        yield
        return
    policy.write_text(_POLICY_TEXT, encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def install(parts: Sequence[Part], *, policy: Path = POLICY) -> None:
    """Install the parts' packages and keep their services off, now and at the next start."""
    packages = sorted({part.package for part in parts if not part.unpacked})
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with services_off(policy):
        subprocess.run([*_APT, "update"], env=environment, check=True)
        if packages:
            subprocess.run(
                [*_APT, "install", "--no-install-recommends", *packages],
                env=environment,
                check=True,
            )
    for service in {"mosquitto", "chrony"}.intersection(packages):
        if shutil.which("update-rc.d"):
            subprocess.run(["update-rc.d", service, "disable"], check=False)
    for part in parts:
        if part.unpacked:
            unpack(part)


def unpack(part: Part) -> None:
    """Fetch a part's packages and unpack them below the project."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # apt fetches as a user of its own
        subprocess.run([*_APT, "download", *part.unpacked], cwd=folder, check=True)
        for package in sorted(Path(folder).glob("*.deb")):
            target = UNPACKED / part.package
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["dpkg", "-x", str(package), str(target)], check=True)


def main(groups: Sequence[str], parts: Mapping[str, Sequence[Part]] = PARTS) -> int:
    """Provide the parts of the groups; return 0 when the caller may go on."""
    if not groups or set(groups) - parts.keys():
        print(f"usage: python -m tools.system_parts {' | '.join(parts)}", file=sys.stderr)
        return 2
    wanted = [part for group in groups for part in parts[group]]
    absent = missing(wanted)
    if absent and os.geteuid() == 0 and shutil.which("apt-get"):
        install(absent)
        absent = missing(wanted)
    for part in absent:
        print(f"missing: {part.name} ({part.purpose})", file=sys.stderr)
    if not absent:
        return 0
    print(f"install with: {command(absent)}", file=sys.stderr)
    is_needed = "venv" in groups or os.environ.get("CI") == "true"
    if not is_needed:
        print("going on; the tests that need these parts will say that they did not run", file=sys.stderr)
    return 1 if is_needed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
