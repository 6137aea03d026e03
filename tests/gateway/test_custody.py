"""Where the keys' bytes are while a gateway runs: its processes' memory, its disk and a backup are searched.

The chip's private key is known for this alone: it is found in the software TPM's own state, where a real
chip would show nothing. Keys in software are searched for too, so that the search itself is shown to find.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key
from paho.mqtt.enums import CallbackAPIVersion

from coldseal.cli.main import run as run_command
from coldseal.demo.fleet import open_context
from coldseal.demo.programs import Program, free_ports
from coldseal.gateway.store.file_keys import file_key
from coldseal.signing.holders import make_held
from coldseal.signing.keys import Ed25519Signer, generate_interop_key
from tests.gateway.parts import payload
from tests.gateway.routing.test_gateway import add_route
from tests.gateway.test_hardware import chip, path, pki
from tests.signing.software_tpm import SoftwareTpm
from tests.waiting import until

__all__ = ["chip", "path", "pki"]

TOPIC = "coldseal/v1/site-7/sensor-01/reading/door"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SEALING = "sealing"
WINDOW = 32
HELPERS = {
    "uplink": "coldseal.gateway.uplink.process",
    "routes": "coldseal.gateway.routing.process",
    SEALING: "coldseal.gateway.store.sealing_process",
}


def private_bytes(state: Path, spki: bytes) -> bytes:
    """Find a private key in the state of a software TPM: the number that gives its public key."""
    public = load_der_public_key(spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    wanted, content = public.public_numbers().x, state.read_bytes()
    for at in range(len(content) - WINDOW + 1):
        window = content[at : at + WINDOW]
        number = int.from_bytes(window)
        if len(set(window)) < WINDOW // 2 or number >= ORDER:
            continue
        if ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers().x == wanted:
            return window
    raise AssertionError("the state does not hold the key: there is nothing to search for")


def scalar_of(file: Path) -> bytes:
    """Give the private number of a key file."""
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers().private_value.to_bytes(WINDOW)


def is_in(secret: bytes, content: bytes) -> bool:
    """Whether a secret is in there: as it is, backwards as numbers are kept, or in hex."""
    return any(each in content for each in (secret, secret[::-1], secret.hex().encode()))


def memory_of(pid: int) -> Iterator[bytes]:
    """Read all of a process's memory that can be read."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("r") or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            begin, end = (int(each, 16) for each in span.split("-"))
            try:
                memory.seek(begin)
                yield memory.read(end - begin)
            except (OSError, OverflowError):  # guard pages, and what was unmapped meanwhile
                continue


def processes(path: Path) -> dict[str, int]:
    """Name the processes of the gateway with this configuration."""
    found: dict[str, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if not any(str(path.parent) in word for word in words):
            continue
        part = next((name for name, module in HELPERS.items() if module in words), "intake")
        found[part] = int(folder.name)
    return found


def publish(pki: Path, port: int, numbers: range) -> None:
    """Publish many readings at once, so that they are sealed in large groups."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "sensor-01", protocol=mqtt.MQTTv5)
    client.tls_set_context(open_context(pki, "sensor-01"))
    client.max_inflight_messages_set(60)
    client.connect("localhost", port)
    client.loop_start()
    try:
        sent = [client.publish(TOPIC, payload(number), qos=1) for number in numbers]
        for each in sent:
            each.wait_for_publish(20)
    finally:
        client.disconnect()
        client.loop_stop()


async def test_each_key_is_only_where_it_must_be(
    path: Path, pki: Path, chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The chip's key nowhere; the sealed store key in the intake alone; the others open what is theirs."""
    handle, (port, health) = f"tpm:{chip.new_handle():#x}", free_ports(2)
    made = make_held(f"{handle}?tcti={chip.tcti}", tmp_path)
    in_chip = private_bytes(next(chip.state.glob("tpm2-00.permall")), made.spki)
    folder, escrow = path.parent, tmp_path / "escrow.key"
    store_key = bytes.fromhex((folder / "store.key").read_text())
    seal = ["identity", "key", "seal", str(folder / "store.key"), str(folder / "store.sealed")]
    assert run_command([*seal, f"--tcti={chip.tcti}"]) == 0
    shutil.move(folder / "store.key", escrow)
    add_route(path, pki, "erp", "https://localhost:1/in")
    record = scalar_of(folder / "record.pem")
    (folder / "checkpoint.pem").unlink()
    arguments = [
        *("gateway", "run", str(path), "--set", f"mqtt.listen=127.0.0.1:{port}"),
        *("--set", f"http.listen=127.0.0.1:{health}", "--set", f'keys.checkpoint="{handle}"'),
        *("--set", f'hardware.tcti="{chip.tcti}"', "--set", 'store.key="tpm:seal=store.sealed"'),
    ]
    own = pki / "gateway" / "gw-1.pem"
    uplink = {
        "url": "https://localhost:1",
        "certificate": own,
        "key": own.with_suffix(".key"),
        "ca": pki / "root.pem",
        "witness": Ed25519Signer(generate_interop_key()).vkey("witness.example", cosigner=True),
    }
    for name, value in uplink.items():
        arguments += ["--set", f'uplink.{name}="{value}"']
    program = Program("gateway", arguments, tmp_path, health)
    async with program as gateway, aiohttp.ClientSession() as http:
        await gateway.ready(http, within_s=60)
        await until(lambda: {"uplink", "routes"} <= processes(path).keys())
        await until(
            lambda: all((folder / "data" / each).exists() for each in ("uplink.db", "routes/routes.db"))
        )
        for turn in range(20):
            await asyncio.to_thread(publish, pki, port, range(turn * 300, turn * 300 + 300))
            if SEALING in processes(path):
                break
        secrets = {"chip's key": in_chip, "record key": record, **_derived(store_key)}
        await until(lambda: "key of routes" in _holds(processes(path)["routes"], secrets))
        holds = {name: _holds(pid, secrets) for name, pid in processes(path).items()}
        shutil.copytree(folder, tmp_path / "backup", ignore=shutil.ignore_patterns("*.sock"))
    assert holds["intake"] >= {"store key", "record key", "key of broker"}
    assert "chip's key" not in holds["intake"]
    assert holds[SEALING] == {"record key"}
    assert holds["uplink"] == {"key of 00000000000000000000", "key of uplink"}
    assert (
        {"key of routes"}
        <= holds["routes"]
        <= {"key of 00000000000000000000", "key of routes", "key of uplink"}
    )
    for file in [*folder.rglob("*"), *(tmp_path / "backup").rglob("*")]:
        if file.is_file():
            assert not [name for name, each in secrets.items() if is_in(each, file.read_bytes())], file
    assert is_in(store_key, escrow.read_bytes())
    capsys.readouterr()


def _derived(store_key: bytes) -> dict[str, bytes]:
    """Give the store key and the keys of files."""
    names = ("00000000000000000000", "uplink", "routes", "broker")
    return {"store key": store_key, **{f"key of {each}": file_key(store_key, Path(each)) for each in names}}


def _holds(pid: int, secrets: Mapping[str, bytes]) -> set[str]:
    """Say which keys a process's memory holds."""
    found: set[str] = set()
    for content in memory_of(pid):
        found |= {name for name, secret in secrets.items() if is_in(secret, content)}
    return found
