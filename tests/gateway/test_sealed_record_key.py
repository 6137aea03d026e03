"""A whole gateway whose record key's passphrase the chip gives out, as long as the machine boots the same."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from coldseal.cli.main import run as run_command
from coldseal.demo.programs import Program, free_ports
from coldseal.signing.keys import write_private_key
from coldseal.signing.private_files import write_private_file
from tests.gateway.test_custody import SEALING, is_in, processes, publish
from tests.gateway.test_hardware import chip, entries_of, path, pki
from tests.signing.software_tpm import SoftwareTpm

__all__ = ["chip", "path", "pki"]

PASSPHRASE = b"6f1d0c2a94e7b85312aa7780cc41de09"
UPDATE = hashlib.sha256(b"another firmware").digest()
ENDED_S = 30


def seal_passphrase(folder: Path, escrow: Path, chip: SoftwareTpm) -> None:
    """Encrypt the gateway's record key, and seal the passphrase, as the how-to says."""
    file = folder / "record.pem"
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    file.unlink()
    write_private_key(file, key, passphrase=PASSPHRASE)
    write_private_file(escrow, PASSPHRASE + b"\n")
    seal = ["identity", "key", "seal", str(escrow), str(folder / "record.sealed")]
    assert run_command([*seal, f"--tcti={chip.tcti}"]) == 0


def contents(folder: Path) -> dict[str, bytes]:
    """Give every file below a folder."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


async def test_a_record_key_sealed_to_pcrs_signs_until_one_of_them_changes(
    path: Path, pki: Path, chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process beside opens it too; after a change nothing starts, and not a byte is touched."""
    folder, (port, health) = path.parent, free_ports(2)
    seal_passphrase(folder, tmp_path / "escrow", chip)
    key = 'keys.record="file:record.pem?passphrase=tpm:seal=record.sealed"'
    further = (key, f'hardware.tcti="{chip.tcti}"')
    arguments = ["gateway", "run", str(path), "--set", f"mqtt.listen=127.0.0.1:{port}"]
    for each in (f"http.listen=127.0.0.1:{health}", *further):
        arguments += ["--set", each]
    sent = 0
    async with Program("gateway", arguments, tmp_path, health) as gateway, aiohttp.ClientSession() as http:
        await gateway.ready(http, within_s=60)
        for _ in range(20):
            await asyncio.to_thread(publish, pki, port, range(sent, sent + 300))  # each acknowledged
            sent += 300
            if SEALING in processes(path):
                break
        assert SEALING in processes(path)
        await asyncio.to_thread(publish, pki, port, range(sent, sent + 300))
        sent += 300
        assert SEALING in processes(path)
    assert "sealing.failed" not in gateway.log.read_text()
    entries = entries_of(path, *further)
    assert sum(entry.kind == "reading" for entry in entries) == sent
    before = contents(folder)
    assert not [name for name, content in before.items() if is_in(PASSPHRASE, content)]

    chip.extend(0, UPDATE)
    refused = Program("refused", arguments, tmp_path, health)
    await refused.start()
    process = refused._process
    assert process is not None
    try:
        assert await asyncio.wait_for(process.wait(), ENDED_S) == 2
    finally:
        await refused.stop()
    said = refused.log.read_text()
    assert "PCR 0 is not as it was sealed for" in said
    assert "Traceback" not in said
    assert contents(folder) == before

    shutil.copy(tmp_path / "escrow", folder / "passphrase")  # the escrowed copy leads back
    way_back = [each.replace("tpm:seal=record.sealed", "file:passphrase") for each in arguments]
    async with Program("back", way_back, tmp_path, health) as gateway, aiohttp.ClientSession() as http:
        await gateway.ready(http, within_s=60)
        await asyncio.to_thread(publish, pki, port, range(sent, sent + 1))
    capsys.readouterr()
