"""Evidence comes out of a gateway's log and out of a service's copy, while both run, and verifies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
import zipfile
from random import Random
from typing import TYPE_CHECKING

import aiohttp
import pytest

from coldseal.cli.main import run
from coldseal.cli.sources import open_source
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.merkle import leaf_hash, verify_inclusion
from coldseal.core.log.proof import parse_proof
from coldseal.core.log.record import parse_entry
from coldseal.demo.gauges import LOG_ENTRIES, PUBLISHED_ENTRIES, read_gauges
from coldseal.demo.site import ORIGIN, Site, make_fleet, prepare_site
from coldseal.gateway.app import LOG_FOLDER, open_keys, open_log
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.store.drafts import Draft
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.sealing import Sealer
from coldseal.identity.peer import peer
from coldseal.page import page
from tests.gateway.test_app import load
from tests.gateway.test_records import running
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = 600
TQ = b'{"boot":"0badcafe","err":3,"mono":1,"off":0,"s":"synchronised"}'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A service and a gateway that have sealed and delivered some hundred readings."""
    return asyncio.run(_play(tmp_path_factory.mktemp("site")))


async def _play(folder: Path) -> Site:
    """Run both programs until all is delivered."""
    site = await prepare_site(folder, 2)
    fleet = make_fleet(site, Random(1), interval_s=0.01)  # simulated weather, no secret
    async with (
        aiohttp.ClientSession() as http,
        site.service() as service,
        site.gateway(site.service_port) as gateway,
    ):
        await service.ready(http, within_s=30)
        await gateway.ready(http, within_s=30)
        running = asyncio.ensure_future(fleet.run())
        await until(lambda: fleet.total >= ENTRIES, within_s=60)
        fleet.stop()
        await running

        async def is_delivered() -> bool:
            found = await read_gauges(http, gateway.url)
            return found.get(LOG_ENTRIES) == found.get(PUBLISHED_ENTRIES) and bool(found)

        await until(is_delivered, within_s=60)
        assert run(["evidence", "export", str(site.gateway_config), str(folder / "live.coldseal")]) == 0
        assert run(["gateway", "status", str(site.gateway_config), "--set", _http(site.gateway_http)]) == 0
        assert run(["service", "status", str(site.service_config), "--set", _http(site.service_http)]) == 0
    return site


def _http(port: int) -> str:
    """Name the port that a program's health is on."""
    return f"http.listen=127.0.0.1:{port}"


def verdict(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """Verify a bundle and give the JSON verdict."""
    capsys.readouterr()
    run(["evidence", "verify", str(path), "--json"])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def sensors_of(site: Site, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Name a sensor of each device as the command line wants it."""
    source = open_source(site.gateway_config)
    try:
        entries = map(parse_entry, source.read(0, 500))
        found = {
            str(entry.src["dev"]): str(entry.data["sensor"]) for entry in entries if entry.kind == "reading"
        }
    finally:
        source.close()
    capsys.readouterr()
    return {device: f"{device}/{sensor}" for device, sensor in found.items()}


def test_what_a_running_gateway_exports_is_good(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """It is only read beside the writer."""
    found = verdict(site.folder / "live.coldseal", capsys)
    assert found["good"] is True
    assert found["origin"] == ORIGIN


def test_gateway_and_service_export_the_same_good_log(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Entry by entry; trusted with the gateway's admission file and the service's witness key."""
    shown = []
    for name, config in (("gateway", site.gateway_config), ("service", site.service_config)):
        path = tmp_path / f"{name}.coldseal"
        assert run(["evidence", "export", str(config), str(path), "--json"]) == 0
        found = verdict(path, capsys)
        assert found["good"] is True
        assert run(["evidence", "show", str(path), "--json"]) == 0
        shown.append(capsys.readouterr().out.splitlines())
    shorter = min(map(len, shown))
    assert shorter > ENTRIES
    assert shown[0][:shorter] == shown[1][:shorter]


@pytest.mark.parametrize("noun", ["gateway", "service"])
def test_a_range_ends_with_the_receipt_over_it_and_its_proof_covers_the_rest(
    site: Site, noun: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The genesis entry comes with it."""
    config = site.gateway_config if noun == "gateway" else site.service_config
    path = tmp_path / "range.coldseal"
    command = ["evidence", "export", str(config), str(path), "--first", "300", "--last", "310"]
    assert run(command) == 0
    found = verdict(path, capsys)
    assert (found["good"], found["first"], found["entries"]) == (True, 300, 12)
    assert isinstance(found["size"], int)
    assert found["size"] > 310


@pytest.mark.parametrize("noun", ["gateway", "service"])
def test_a_bundle_of_one_sensor_shows_no_other_s_entries(
    site: Site, noun: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither as entries nor in the table nor anywhere else in the file."""
    config = site.gateway_config if noun == "gateway" else site.service_config
    one, other = site.sensors
    path = tmp_path / "sensor.coldseal"
    sensors = sensors_of(site, capsys)
    assert run(["evidence", "export", str(config), str(path), "--sensor", sensors[one]]) == 0
    found = verdict(path, capsys)
    assert found["good"] is True
    with zipfile.ZipFile(path) as archive:
        table = archive.read("readings.csv").decode().splitlines()
        manifest = json.loads(archive.read("manifest.json"))
        parts = {name: archive.read(name) for name in archive.namelist() if "certificates" not in name}
    assert {line.split(",")[2] for line in table[1:]} == {one}
    assert len(table) > 100
    assert manifest["selection"] == {"sensors": sensors[one]}
    assert not any(other.encode() in data for data in parts.values())


def test_a_shipment_and_a_period_choose_what_they_say(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file of assignments names sensors and period; --to narrows it."""
    one, _ = site.sensors
    assignments = tmp_path / "assignments.toml"
    assignments.write_text(f'[shipments.S-1]\ndevices = ["{one}"]\nfrom = 2020-01-01\n', encoding="utf-8")
    path = tmp_path / "shipment.coldseal"
    command = ["evidence", "export", str(site.service_config)]
    options = ["--shipment", "S-1", "--assignments", str(assignments)]
    assert run([*command, str(path), *options]) == 0
    assert verdict(path, capsys)["good"] is True
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    since = "2020-01-01T00:00:00.000Z"
    assert manifest["selection"] == {"devices": one, "from": since, "shipment": "S-1"}
    assert run([*command, str(tmp_path / "x"), *options, "--to", "2021-01-01"]) == 2
    assert "no such entries" in capsys.readouterr().err


def test_an_export_of_a_gateway_is_itself_on_record(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the hash of the file; the next export has the entry in it."""
    path = tmp_path / "first.coldseal"
    command = ["evidence", "export", str(site.gateway_config)]
    capsys.readouterr()
    options = ["--last", "20", "--who", "A. Inspector", "--why", "audit", "--json"]
    assert run([*command, str(path), *options]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert run([*command, str(tmp_path / "all"), "--tail"]) == 0
    seq = made["on_record"]
    source = open_source(site.gateway_config)
    try:
        (raw,) = source.read(seq, 1)
    finally:
        source.close()
    entry = parse_entry(raw)
    assert entry.kind == "export"
    assert entry.data == {
        "bundle": canonical.encode_base64(bytes.fromhex(made["sha256"])),
        "first": 0,
        "last": 20,
        "selection": {"last": 20},
        "size": made["size"],
        "who": "A. Inspector",
        "why": "audit",
    }


def test_a_bundle_has_the_certificates_of_the_devices_whose_readings_are_in_it(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they were let in by the listener; and the page that verifies it."""
    device = min(sensors_of(site, capsys))
    command = ["evidence", "export", str(site.gateway_config)]
    assert run([*command, str(tmp_path / "one"), "--device", device]) == 0
    assert run([*command, str(tmp_path / "all")]) == 0
    for name, devices in (("one", {device}), ("all", set(sensors_of(site, capsys)))):
        assert verdict(tmp_path / name, capsys)["good"] is True
        with zipfile.ZipFile(tmp_path / name) as archive:
            names = [
                each for each in archive.namelist() if re.fullmatch(r"certificates/[0-9a-f]{16}\.pem", each)
            ]
            found = [ssl.PEM_cert_to_DER_cert(archive.read(each).decode()) for each in names]
            assert archive.read("verify.html") == page()
        assert {peer(der).name for der in found} == devices
        assert names == [
            f"certificates/{each}.pem" for each in sorted(peer(der).fingerprint for der in found)
        ]


def test_an_export_of_a_copy_touches_no_log(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service could not sign for the gateway."""
    sizes = []
    for name in ("one", "other"):
        capsys.readouterr()
        command = ["evidence", "export", str(site.service_config), str(tmp_path / name), "--json"]
        assert run(command) == 0
        assert json.loads(capsys.readouterr().out)["on_record"] is None
        source = open_source(site.gateway_config)
        sizes.append(source.size)
        source.close()
    assert sizes[0] == sizes[1]


def test_nothing_is_exported_that_cannot_be_put_on_record(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle is taken back."""
    path = tmp_path / "x.coldseal"
    command = ["evidence", "export", str(site.gateway_config), str(path), "--why", "a\nb"]
    assert run(command) == 2
    assert "not well formed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_entry_is_proven_by_one_text(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """C2SP tlog-proof; the same from the gateway's stored hashes and from the service's copy."""
    proofs = []
    for name, config in (("gateway", site.gateway_config), ("service", site.service_config)):
        path = tmp_path / f"{name}.tlog-proof"
        assert run(["evidence", "prove", str(config), "305", str(path)]) == 0
        assert run(["evidence", "prove", str(config), "305", str(path)]) == 2, "it is there"
        proofs.append(parse_proof(path.read_bytes()))
    for proof in proofs:
        checkpoint = parse_checkpoint_text(parse_note(proof.note).text)
        verify_inclusion(leaf_hash(proof.extra), 305, checkpoint.size, proof.hashes, checkpoint.root)
        assert parse_entry(proof.extra).seq == proof.seq == 305
    assert proofs[0] == proofs[1]
    capsys.readouterr()
    output = str(tmp_path / "x")
    assert run(["evidence", "prove", str(site.service_config), "0", output, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seq"] == 0
    for seq in ("999999", "-1"):
        assert run(["evidence", "prove", str(site.service_config), seq, f"{output}{seq}"]) == 2


def test_with_tail_the_entries_without_receipt_are_there_and_said_not_to_be_anchored(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shutdown came after the last receipt."""
    path = tmp_path / "tail.coldseal"
    command = ["evidence", "export", str(site.gateway_config)]
    assert run([*command, str(tmp_path / "without")]) == 0
    assert "more have no receipt yet" in capsys.readouterr().out
    assert run([*command, str(path), "--tail"]) == 0
    faults = verdict(path, capsys)["faults"]
    assert isinstance(faults, list)
    assert [fault["verdict"] for fault in faults] == ["tail-not-anchored"]


def test_a_gateway_that_never_delivered_exports_what_its_own_checkpoint_covers(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody witnessed it, and the verdict says so."""
    folder = tmp_path / "alone"
    command = ["gateway", "init", str(folder), "--origin", "example.com/alone", "--site", "x"]
    assert run([*command, "--pki", str(site.pki)]) == 0
    config = load_gateway(folder / "gateway.toml")
    config.gateway.data.mkdir()
    key = bytes.fromhex((folder / "store.key").read_text())
    assert run(["evidence", "export", str(folder / "gateway.toml"), str(tmp_path / "none")]) == 2
    assert "holds no log yet\n hint: Run the gateway once" in capsys.readouterr().err
    asyncio.run(open_log(config, key, 1_800_000_000_000).close())
    assert run(["evidence", "export", str(folder / "gateway.toml"), str(tmp_path / "none")]) == 2
    assert "is empty" in capsys.readouterr().err
    asyncio.run(_seal_two(config, key))
    assert (config.gateway.data / LOG_FOLDER).is_dir()
    path = tmp_path / "alone.coldseal"
    assert run(["evidence", "export", str(folder / "gateway.toml"), str(path)]) == 0
    found = verdict(path, capsys)
    assert (found["good"], found["size"]) == (False, 2)


async def test_with_tail_a_running_gateway_is_asked_to_fix_what_it_has_sealed(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own checkpoint would have been due much later."""
    folder = tmp_path / "gw"
    command = ["gateway", "init", str(folder), "--origin", "example.com/alone", "--site", "x"]
    assert run([*command, "--pki", str(site.pki)]) == 0
    path = tmp_path / "tail.coldseal"
    async with running(load(folder / "gateway.toml")) as gateway:
        before = gateway.log.checkpoint_size
        gateway.pipeline.record("heartbeat", b"{}")
        await until(lambda: gateway.log.size > before, within_s=10)
        size = gateway.log.size
        assert gateway.log.checkpoint_size == before
        export = ["evidence", "export", str(folder / "gateway.toml"), str(path), "--tail"]
        assert await asyncio.to_thread(run, export) == 0
    assert verdict(path, capsys)["size"] == size


async def _seal_two(config: GatewayConfig, key: bytes) -> None:
    """Seal two entries and a checkpoint without a gateway."""
    log, keys = open_log(config, key, 1_800_000_000_000), open_keys(config)
    sealer = Sealer(keys, is_each_signed=True, beside=None)
    moment = "2026-01-01T00:00:00.000Z"
    checkpoint_keys = (keys.checkpoint, keys.interop)
    genesis: dict[str, canonical.Value] = {
        "checkpoint_keys": [key.verifier_key("example.com/alone").encode() for key in checkpoint_keys],
        "mode": "record",
        "record_key": canonical.encode_base64(keys.record.spki),
    }
    drafts = [
        Draft("genesis", moment, TQ, b"{}", canonical.encode(genesis)),
        Draft("boot", moment, TQ, b"{}", b"{}"),
    ]
    sealer.begin(log.chain)
    sealed = await sealer.seal(drafts)
    assert sealed is not None
    entries, chain = sealed
    group = Group(entries=entries, chain=chain, checkpoint=sealer.checkpoint(chain), settings=entries[:1])
    await log.commit(group)
    await log.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--first", "999999"], "no such entries"),
        (["--sensor", "truck"], "names no sensor"),
        (["--from", "soon"], "no time"),
        (["--shipment", "S-1"], "belong together"),
        (["--shipment", "S-1", "--assignments", "x", "--device", "d"], "says which sensors"),
        (["--origin", "other"], "keeps no log 'other'"),
    ],
)
def test_what_cannot_be_exported_is_said(
    site: Site, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do about it; exit code 2."""
    command = ["evidence", "export", str(site.service_config), str(tmp_path / "x"), *arguments]
    assert run(command) == 2
    assert said in capsys.readouterr().err


def test_an_output_that_is_there_and_a_configuration_that_is_none_are_refused(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evidence is never overwritten."""
    taken = tmp_path / "taken"
    taken.write_bytes(b"mine")
    assert run(["evidence", "export", str(site.gateway_config), str(taken)]) == 2
    assert taken.read_bytes() == b"mine"
    assert run(["evidence", "export", str(tmp_path / "none.toml"), str(tmp_path / "x")]) == 2
    assert "gateway.toml or service.toml" in capsys.readouterr().err
