"""The units for systemd: narrow, sound, and the programs do their work inside them."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, redirect_stdout
from pathlib import Path

import pytest

from coldseal.cli.main import run
from coldseal.core.topics import Channel
from coldseal.demo.programs import free_ports
from coldseal.demo.site import SITE, Site, prepare_site
from coldseal.errors import OperatorError
from coldseal.gateway.egress import IGNORED
from tests.project.confined import Directives, environment_for
from tests.project.tree import ROOT
from tests.telling import tell
from tests.waiting import until

WORST = 20
"""Highest exposure that is let pass, in tenths: systemd calls 2.0 OK; a usual service has 9.6."""
UID = 65_533
UNIT = ("unit", "systemd")
PEERS = ("--peers", "10.20.0.0/16")
PAYLOAD = '{"v":1,"q":[{"n":"temperature","u":"Cel","v":4.71}]}'


def require(*programs: str) -> None:
    """Skip where a program is not installed."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    """Make configurations of both programs, where another user can read what is no secret."""
    folder = Path(tempfile.mkdtemp(prefix="coldseal-unit-"))
    site = asyncio.run(prepare_site(folder, 1))
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        elif path.suffix == ".toml" or (path.suffix == ".pem" and path.parent.parent == site.pki):
            path.chmod(0o644)
    (site.pki / "root.pem").chmod(0o644)
    yield site
    shutil.rmtree(folder)


@pytest.fixture
def folder(made: Site) -> Iterator[Path]:
    """Give a folder beside them, for one test."""
    found = Path(tempfile.mkdtemp(dir=made.folder))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found)


def write(noun: str, config: Path, data: Path | str, *more: str) -> str:
    """Write a unit by the command."""
    table = "gateway.data" if noun == "gateway" else "service.data"
    found = io.StringIO()
    with redirect_stdout(found):
        assert run([noun, *UNIT, str(config), *PEERS, "--set", f"{table}={data}", *more]) == 0
    return found.getvalue()


def test_systemd_takes_the_units_and_finds_them_narrow(made: Site) -> None:
    """No complaint of `systemd-analyze verify`, and an exposure of at most 2.0."""
    require("systemd-analyze")
    for noun, config in (("gateway", made.gateway_config), ("service", made.service_config)):
        path = made.folder / f"coldseal-{noun}.service"
        path.write_text(write(noun, config, f"/var/lib/coldseal-{noun}"))
        found = subprocess.run(
            ("systemd-analyze", "verify", str(path)), capture_output=True, text=True, check=False
        )
        assert (found.returncode, [line for line in found.stderr.splitlines() if path.name in line]) == (
            0,
            [],
        )
        command = ("systemd-analyze", "security", "--offline=true", f"--threshold={WORST}", str(path))
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        level = re.search(r"exposure level for \S+: (\S+)", found.stdout)
        assert found.returncode == 0, found.stdout
        assert level is not None
        tell(f"{noun}: {level[1]}")


def test_a_unit_follows_from_its_configuration(made: Site) -> None:
    """Secrets outside the data folder are credentials, and are named where systemd puts them."""
    found = Directives(write("gateway", made.gateway_config, "/var/lib/coldseal"))

    assert {each.partition(":")[0] for each in found.all("LoadCredential")} == {
        *("store.key", "keys.record", "keys.checkpoint", "keys.interop", "mqtt.key", "uplink.key")
    }
    for name, text in (("store.key", "file:%d/store.key"), ("uplink.key", "%d/uplink.key")):
        assert f"--set {name}={text}" in found.one("ExecStart")
    assert set(found.one("UnsetEnvironment").split()) == set(IGNORED)
    assert found.all("IPAddressAllow") == ["localhost", "10.20.0.0/16"]
    assert (found.one("DynamicUser"), found.one("StateDirectory")) == ("yes", "coldseal")
    assert found.one("PrivateDevices") == "yes"


@pytest.mark.parametrize(("budget", "high", "most"), [(64, 192, 320), (1_024, 1_280, 1_536)])
def test_memory_ends_beyond_its_budget(made: Site, budget: int, high: int, most: int) -> None:
    """The system's bounds leave room for caches and buffers, which the gateway does not count; none swaps."""
    text = write("gateway", made.gateway_config, "/var/lib/coldseal", "--set", f"budget.memory_mb={budget}")
    unit = Directives(text)

    assert (unit.one("MemoryHigh"), unit.one("MemoryMax")) == (f"{high}M", f"{most}M")
    assert unit.one("MemorySwapMax") == "0"
    service = Directives(write("service", made.service_config, "/var/lib/coldseal-service"))
    assert service.all("MemoryMax") == [], "a service has no such budget"


def test_what_a_chips_key_asks_for_is_a_credential(made: Site, folder: Path) -> None:
    """Named where systemd puts it; the rest of the URI stays as it is."""
    uri = f"tpm:0x81000001?auth=file:{folder}/a b&tcti=tabrmd"
    unit = Directives(
        write("gateway", made.gateway_config, "/var/lib/coldseal", "--set", f"keys.checkpoint={uri}")
    )

    assert f'keys.checkpoint.auth:"{folder}/a b"' in unit.all("LoadCredential")
    assert "keys.checkpoint=tpm:0x81000001?auth=file:%d/keys.checkpoint.auth&tcti=tabrmd" in unit.one(
        "ExecStart"
    )


def test_a_transport_key_in_the_chip_is_no_credential(
    made: Site, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The unit may open the chip; where it renews, the wrapped key must be where it may write."""
    data, away = "/var/lib/coldseal", f"uplink.key=tpm:key={folder}/uplink.tss"
    inside = ("--set", f"uplink.key=tpm:key={data}/uplink.tss")
    unit = Directives(write("gateway", made.gateway_config, data, *inside))

    assert not [each for each in unit.all("LoadCredential") if each.startswith("uplink.key")]
    assert unit.all("DeviceAllow") == ["/dev/tpmrm0 rw"]
    renewing = ("--set", "enrolment.url=https://localhost:1", "--set", f"mqtt.key={data}/gw.key")
    command = ["gateway", *UNIT, str(made.gateway_config), *PEERS, "--set", f"gateway.data={data}", *renewing]
    assert run([*command, "--set", away]) == 2
    assert "uplink.key lies outside" in capsys.readouterr().err
    assert run([*command, *inside]) == 0
    capsys.readouterr()


def test_what_is_configured_finds_its_place(made: Site, folder: Path) -> None:
    """Endpoints, name servers, the TPM, further folders, a user of one's own, a passphrase."""
    config = folder / "gateway.toml"
    config.write_text(
        made.gateway_config.read_text()
        + '\n[[egress.allow]]\nhost = "localhost"\nport = 8443\naddresses = ["10.9.8.7"]\n'
        '[egress]\nresolver = ["10.9.8.53:53"]\n'
        '[[uplink.witnesses]]\nurl = "https://localhost:8443"\nkey = "w+1+x"\n'
        'certificate = "w.pem"\ncertificate_key = "w.key"\n'
        '[[routes]]\nname = "erp"\nsink = "https-json"\nurl = "https://localhost:8443/in"\n'
        'token = "file:erp.token"\n'
    )
    found = write(
        "gateway",
        config,
        folder / "my data",
        *("--user", "coldseal", "--program", "/opt/cold seal/coldseal"),
        *("--set", "keys.checkpoint=tpm:0x81000001", "--set", "attestation.key=tpm:0x81010a01"),
        *("--set", "keys.record=file:record.pem?passphrase=file:pass", "--set", "log.file=/var/log/c/gw.log"),
        *("--set", f"keys.interop=file:{folder}/my data/interop.pem"),
    )
    unit = Directives(found)

    assert {"10.9.8.7", "10.9.8.53"} <= set(unit.all("IPAddressAllow"))
    assert unit.one("User") == "coldseal"
    assert unit.one("DeviceAllow") == "/dev/tpmrm0 rw"
    assert "attestation.event_log=%d/attestation.event_log" in unit.one("ExecStart")
    assert "keys.record=file:%d/keys.record?passphrase=file:%d/keys.record.passphrase" in unit.one(
        "ExecStart"
    )
    assert f'"hardware.fallback=file:{folder}/my data/fallback.pem"' in unit.one("ExecStart")
    assert unit.one("ExecStart").startswith('"/opt/cold seal/coldseal" gateway run')
    assert unit.all("ReadWritePaths") == [f'"{folder}/my data"', "/var/log/c"]
    assert "keys.interop" not in {each.partition(":")[0] for each in unit.all("LoadCredential")}
    assert "[[uplink.witnesses]]" in found
    assert "token of [[routes]]" in found


def test_a_gateway_that_asks_chronyd_may_enter_its_folder(made: Site, folder: Path) -> None:
    """By the folder's group, and no further than that folder."""
    require("systemd-analyze")
    told = "time.source=chrony", f"time.chrony={folder}/chronyd.sock"
    text = write("gateway", made.gateway_config, "/var/lib/coldseal", "--set", told[0], "--set", told[1])
    unit = Directives(text)

    assert unit.one("SupplementaryGroups") == folder.group()
    assert unit.one("ReadWritePaths") == f"-{folder}"
    assert "chrony.service" in unit.one("After")
    elsewhere = write("gateway", made.gateway_config, "/var/lib/coldseal", "--set", told[0])
    assert Directives(elsewhere).one("SupplementaryGroups") in {"_chrony", "chrony", "root"}
    plain = write("gateway", made.gateway_config, "/var/lib/coldseal")
    assert Directives(plain).all("SupplementaryGroups") == []
    levels = []
    for number, each in enumerate((plain, text)):
        path = folder / f"coldseal-{number}.service"
        path.write_text(each)
        command = ("systemd-analyze", "security", "--offline=true", f"--threshold={WORST}", str(path))
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout
        levels += re.findall(r"exposure level for \S+: (\S+)", found.stdout)
    assert float(levels[1]) - float(levels[0]) < 0.15  # systemd counts any further group so


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--set", "gateway.data=/srv/coldseal"), "give --user"),
        (("--set", "gateway.data=/var/lib"), "give --user"),
        (("--set", "enrolment.url=https://localhost:8444"), "they are renewed"),
        (("--peers", "10.0.0.1/8"), "--peers"),
    ],
    ids=["elsewhere", "all", "renewed", "peers"],
)
def test_what_a_unit_cannot_hold_is_told(
    made: Site, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    """With the cure."""
    data = ("--set", "gateway.data=/var/lib/coldseal")
    assert run(["gateway", *UNIT, str(made.gateway_config), *PEERS, *data, *arguments]) == 2
    assert named in capsys.readouterr().err


def test_the_services_unit_lets_it_write_what_it_keeps(made: Site) -> None:
    """Its ledger, a bulk tier in a folder, an issuing CA; it may not read the clock's quality."""
    found = Directives(
        write(
            "service",
            made.service_config,
            "/var/lib/coldseal-service",
            *("--set", "bulk.url=file:///srv/bulk"),
        )
    )

    assert found.all("ReadWritePaths") == ["/srv/bulk"]
    assert found.one("ProtectClock") == "yes"
    assert {each.partition(":")[0] for each in found.all("LoadCredential")} == {
        *("store.key", "witness.key", "tls.key")
    }


@asynccontextmanager
async def confined(unit: str, folder: Path, notify: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run what a unit starts, confined by it, and end it in order."""
    path = folder / "confined.service"
    path.write_text(unit)
    with (folder / "confined.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.project.confined", str(path), str(folder), str(UID)),
            cwd=ROOT,
            env=environment_for(notify),
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(20):
                await process.wait()


def publish(made: Site, port: int) -> bool:
    """Publish a reading as the device; whether it was acknowledged."""
    (sensor,) = made.sensors
    certificate = made.pki / "device" / f"{sensor}.pem"
    command = (
        *("mosquitto_pub", "-V", "5", "-q", "1", "-h", "localhost", "-p", str(port)),
        *("--cafile", str(made.pki / "root.pem"), "--cert", str(certificate)),
        *("--key", str(certificate.with_suffix(".key"))),
        *("-t", f"coldseal/v1/{SITE}/{sensor}/{Channel.READING}/door", "-m", PAYLOAD),
    )
    return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0


async def test_a_gateway_takes_readings_in_under_its_unit(made: Site, folder: Path) -> None:
    """As another user, on a read-only system, with its system calls filtered; it says that it is ready."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    require("mosquitto_pub", "systemd-analyze")
    (port, health) = free_ports(2)
    text = write(
        "gateway",
        made.gateway_config,
        "/var/lib/coldseal",
        *("--set", f"mqtt.listen=127.0.0.1:{port}", "--set", f"http.listen=127.0.0.1:{health}"),
    )
    more = (
        f"gateway.data={folder}/state/data",
        f"mqtt.listen=127.0.0.1:{port}",
        f"http.listen=127.0.0.1:{health}",
        "uplink.retry_max_s=0.5",
    )
    options = "".join(f" --set {each}" for each in more)
    text = re.sub(r"(ExecStart=\S+ .*gateway\.toml)", rf"\1{options}", text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        (folder / "notify").chmod(0o777)
        listening.setblocking(False)
        async with confined(text, folder, folder / "notify") as process:
            heard: list[str] = []
            await until(lambda: has_heard(listening, heard, "WATCHDOG=1") or has_ended(process))
            said = (folder / "confined.log").read_text()
            assert not has_ended(process), said
            assert "READY=1" in heard
            assert publish(made, port), said
            status = read_status(process.pid)
        has_heard(listening, heard, "STOPPING=1")
        assert "STOPPING=1" in heard
    assert process.returncode == 0, (folder / "confined.log").read_text()

    assert f"Uid:\t{UID}" in status
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    owned = {path.stat().st_uid for path in (folder / "state").rglob("*")}
    assert owned == {UID}


def has_ended(process: asyncio.subprocess.Process) -> bool:
    """Whether a process has ended."""
    return process.returncode is not None


def read_status(pid: int) -> str:
    """Read what the kernel says of a process."""
    return Path(f"/proc/{pid}/status").read_text()


def has_heard(listening: socket.socket, heard: list[str], wanted: str) -> bool:
    """Take what a program told its supervisor; whether something was among it."""
    while True:
        try:
            heard.extend(listening.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return wanted in heard


async def test_what_a_unit_forbids_fails_in_it(made: Site, folder: Path) -> None:
    """The confinement of the test is one: each of these is refused, and the plain work is not."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    require("systemd-analyze")
    text = write("gateway", made.gateway_config, "/var/lib/coldseal")
    program = folder / "probe.py"
    program.write_text(PROBE)
    text = re.sub(r"ExecStart=(\\\n|.)*?\n(?=Exec)", f"ExecStart={sys.executable} {program}\n", text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        async with confined(text, folder, folder / "notify") as process:
            await process.wait()

    assert (folder / "confined.log").read_text().splitlines() == [
        *(
            "write elsewhere: EROFS",
            "write state: ok",
            "raw socket: EAFNOSUPPORT",
            "mount: EPERM",
            "exec: EPERM",
        ),
        *("ptrace: EPERM", "unshare: EPERM", "set clock: EPERM", "read clock: ok", "read a credential: ok"),
        *("read the key beside the configuration: EACCES",),
    ]


PROBE = """
import ctypes, errno, mmap, os, socket, sys, pathlib
libc = ctypes.CDLL(None, use_errno=True)
here = pathlib.Path(__file__).parent
def tell(name, work):
    try:
        found = work()
        said = "ok" if found != -1 else errno.errorcode[ctypes.get_errno()]
    except OSError as fault:
        said = errno.errorcode[fault.errno]
    print(f"{name}: {said}", flush=True)
timex = ctypes.create_string_buffer(208)
def set_clock():
    timex[0:4] = (0x0001).to_bytes(4, "little")
    return libc.adjtimex(timex)
def read_clock():
    timex[0:4] = bytes(4)
    libc.adjtimex(timex)
    return 0 if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS) else -1
tell("write elsewhere", lambda: (here / "other").write_text("x"))
tell("write state", lambda: (here / "state" / "mine").write_text("x"))
tell("raw socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tell("mount", lambda: libc.mount(b"/", b"/", None, 0x1000, None))
tell("exec", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
tell("ptrace", lambda: libc.ptrace(16, 1, 0, 0))
tell("unshare", lambda: libc.unshare(0x10000000))
tell("set clock", set_clock)
ctypes.set_errno(0)
tell("read clock", read_clock)
given = pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"])
tell("read a credential", lambda: len((given / "store.key").read_bytes()))
key = here.parent / "gateway" / "store.key"
tell("read the key beside the configuration", lambda: len(key.read_bytes()))
"""


def test_a_network_that_is_none_is_told() -> None:
    """Here, not by systemd at the start."""
    from coldseal.cli.units import read_networks  # noqa: PLC0415 # as the commands do

    with pytest.raises(OperatorError, match="--peers"):
        read_networks("--peers", ["10.0.0.1/8"])
