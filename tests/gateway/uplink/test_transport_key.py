"""The transport key in a real software TPM: the service is met and written to with a key nobody can copy."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.copying import ServiceCopy
from coldseal.gateway.rollback import by_service
from coldseal.gateway.uplink.contact import ask_note
from coldseal.gateway.uplink.enrolment import renewer_of
from coldseal.gateway.uplink.https import Channel
from coldseal.gateway.uplink.keeping import read_leaf
from coldseal.gateway.uplink.renewals import read_standings
from coldseal.identity import est
from coldseal.identity.authority_folder import encode_pem
from coldseal.identity.contexts import client_context
from coldseal.identity.files import replace_private_file
from coldseal.identity.pair import Pair
from coldseal.observe.logs import configure as configure_logs
from coldseal.signing.holders import make_transport, open_transport
from coldseal.signing.uris import TpmUri
from tests.gateway.test_custody import private_bytes
from tests.gateway.uplink.deliveries import delivering_by, grown
from tests.gateway.uplink.test_faults import port_of, verify_delivered
from tests.gateway.uplink.test_process import configure, program, published
from tests.sealed import GATEWAY, ORIGIN, SealedLog
from tests.signing.software_tpm import SoftwareTpm, software_tpm
from tests.trial import Site, now
from tests.waiting import until


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """Give a TPM; each test leaves it switched on."""
    with software_tpm(tmp_path_factory.mktemp("chip")) as made:
        yield made


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Catch log lines."""
    stream = io.StringIO()
    configure_logs(stream=stream, is_readable=False)
    yield stream
    configure_logs()


@pytest.fixture
def place(site: Site, chip: SoftwareTpm) -> TpmUri:
    """Put the gateway's key into the chip: its certificate is for that one, the file is gone."""
    certificate = site.certificates["gateway"]
    certificate.with_suffix(".key").unlink()
    found = TpmUri(chip.tcti, None, site.gateway / "transport.tss")
    request = est.make_request(make_transport(found), "gateway", GATEWAY)
    leaf = site.authority.certify(
        est.require_strong(request.public_key(), "request"), "gateway", GATEWAY, now=now()
    )
    replace_private_file(certificate, encode_pem(site.authority.chain(leaf)))
    return found


def written(site: Site, port: int, place: TpmUri) -> Path:
    """Write a configuration whose uplink has that key."""
    return configure(site, port, key=f"tpm:key={place.file}?tcti={place.tcti}")


def context_of(config: GatewayConfig) -> ssl.SSLContext:
    """Make the context that whoever asks the service makes."""
    uplink = config.uplink
    assert uplink.ca is not None
    return client_context(uplink.certificate, uplink.transport, uplink.ca)


def standing(site: Site) -> int:
    """Say how often the uplink's certificate was renewed."""
    found = read_standings(site.gateway / "enrolment.json").get("uplink")
    return 0 if found is None else found.renewals


def loaded(site: Site, port: int, place: TpmUri) -> GatewayConfig:
    """Load it."""
    return load_gateway(written(site, port, place))


async def test_the_uplink_delivers_and_others_ask_with_a_key_in_the_chip(
    site: Site, log: SealedLog, place: TpmUri
) -> None:
    """The process, the start's question, and the copy that is read back; keys in files serve beside it."""
    await site.store(grown(log, 20))
    async with site.running() as service:
        port = port_of(service.address)
        async with program(str(written(site, port, place))):
            await until(lambda: published(site) == 21)
        config = loaded(site, port, place)
        with closing(site.reader()) as reader:
            assert await by_service(config, reader, 1, 10) is None
        note = await asyncio.to_thread(ask_note, config.uplink.url, ORIGIN, context_of(config), timeout_s=5)
        assert note is not None
        async with ServiceCopy(config) as copy:
            assert await copy.size() == 21
            assert await copy.entries(0, 21) == log.entries[:21]
    await verify_delivered(site, log)


async def test_a_chip_that_goes_and_comes_back_delays_and_loses_nothing(
    site: Site, log: SealedLog, place: TpmUri, chip: SoftwareTpm, lines: io.StringIO
) -> None:
    """The start goes on without its word; delivery is tried again, says why it waits, and ends by itself."""
    await site.store(grown(log, 20))
    chip.stop()
    try:
        async with site.running() as service:
            config = loaded(site, port_of(service.address), place)
            with closing(site.reader()) as reader:
                assert await by_service(config, reader, 1, 10) is None
            with pytest.raises(UnavailableError, match="our own key does not sign: the TPM at"):
                await asyncio.to_thread(ask_note, config.uplink.url, ORIGIN, context_of(config), timeout_s=5)
            async with (
                Channel(config.uplink.url, context_of(config), timeout_s=5) as channel,
                delivering_by(site, channel.post) as up,
            ):
                await until(lambda: up.uplink.delivery.failures > 3)
                assert "our own key does not sign" in up.receipts.status().fault
                chip.start()
                await up.published(21)
    finally:
        chip.restart()
    await verify_delivered(site, log)
    said = lines.getvalue()
    for event in ("hardware.transport-key-away", "hardware.transport-key-back", "uplink.restored"):
        assert said.count(event) == 1, event


async def test_a_renewal_makes_a_new_key_in_the_chip_and_loses_nothing(
    site: Site, log: SealedLog, place: TpmUri
) -> None:
    """By the process itself; the key before serves until then; no file has a private number in it."""
    path, first = site.certificates["gateway"], open_transport(place)
    await site.store(grown(log, 20))
    async with site.running("est.listen=127.0.0.1:0", f"est.authority={site.folder / 'pki'}") as service:
        assert service.enrolling is not None
        url = f"enrolment.url=https://localhost:{port_of(service.enrolling.address)}"
        configured = str(written(site, port_of(service.address), place))
        async with program(configured, url, "enrolment.retry_initial_s=0.1") as process:
            assert process.stdin is not None
            await until(lambda: published(site) == 21)
            for renewals in (1, 2):
                before = read_leaf(path)
                process.stdin.write(b"renew\n")
                await until(lambda: standing(site) == renewals)  # noqa: B023 # it is called within the round
                assert read_leaf(path).public_key() == open_transport(place).public_key()
                assert read_leaf(path).public_key() != before.public_key()
            await site.store(grown(log, 20))
            process.stdin.write(b"41\n")
            await until(lambda: published(site) == 41)
            assert process.returncode is None
        ways = [line.way for line in service.enrolling.enrolments.history(name=GATEWAY)]
    assert ways == ["renewal", "renewal"]
    await verify_delivered(site, log)
    assert open_transport(place).public_key() != first.public_key()
    for file in site.gateway.glob("transport*"):
        for key in (first, open_transport(place)):
            with pytest.raises(AssertionError, match="does not hold the key"):
                private_bytes(file, key.spki)


async def test_a_renewal_without_the_chip_is_tried_again(
    site: Site, place: TpmUri, chip: SoftwareTpm
) -> None:
    """No new key can be made: the certificate in force stays, and the request is for the next look."""
    before = site.certificates["gateway"].read_bytes()
    settings = ("est.listen=127.0.0.1:0", f"est.authority={site.folder / 'pki'}")
    async with site.running(*settings) as service:
        assert service.enrolling is not None
        url = f"enrolment.url=https://localhost:{port_of(service.enrolling.address)}"
        config = load_gateway(
            written(site, port_of(service.address), place), (url, "enrolment.retry_initial_s=0.1")
        )
        renewer = renewer_of(config, guard=None, chance=lambda: 0.5, now_s=lambda: now().timestamp())
        chip.stop()
        try:
            renewer.demand()
            await renewer.round()
        finally:
            chip.start()
        [failed] = renewer.standings().values()
        assert (failed.renewals, failed.failed) == (0, {"own-files": 1})
        assert "the TPM at" in failed.fault
        assert site.certificates["gateway"].read_bytes() == before
        renewer.demand()
        await renewer.round()
        assert renewer.standings()["uplink"].renewals == 1
    assert site.certificates["gateway"].read_bytes() != before


def test_a_change_of_both_files_is_finished_without_the_chip(
    site: Site, place: TpmUri, chip: SoftwareTpm
) -> None:
    """As after a power cut between the two: which key a certificate is of is known from the files."""
    pair = Pair(site.certificates["gateway"], place)
    key = pair.next_key()
    assert pair.next_key().public_key() == key.public_key(), (
        "a request that is sent again is for the same key"
    )
    leaf = site.authority.certify(
        est.require_strong(key.public_key(), "request"), "gateway", GATEWAY, now=now()
    )
    waiting = pair.certificate.with_name(pair.certificate.name + ".next")
    replace_private_file(waiting, encode_pem(site.authority.chain(leaf)))
    chip.stop()
    try:
        pair.settle()
    finally:
        chip.start()
    assert not waiting.exists()
    assert read_leaf(pair.certificate).public_key() == pair.key_in_force().public_key() == key.public_key()
    with pytest.raises(OperatorError, match="belongs neither"):
        pair.install(site.authority.chain(read_leaf(site.certificates["service"])))


def test_a_configuration_names_the_file_and_the_way_to_the_chip(site: Site, place: TpmUri) -> None:
    """Relative to its folder, by hardware.tcti where the key names none; other forms are refused."""
    path = configure(site, 1, key="tpm:key=gw.tss")
    found = load_gateway(path, ("hardware.tcti=swtpm:port=1",)).uplink
    assert found.transport == TpmUri("swtpm:port=1", None, site.folder / "gw.tss")
    own = site.certificates["gateway"].with_suffix(".key")
    assert load_gateway(configure(site, 1)).uplink.transport == own
    for wrong, why in (
        ("tpm:0x81008001", "expected a file, or tpm:key=FILE"),
        ("pkcs11:token=t;object=o", "expected a file"),
        ("env:KEY", "expected a file"),
        ("tpm:seal=store.sealed", "expected a file"),
        ("tpm:key=gw.tss?pin=1", "unknown option"),
    ):
        with pytest.raises(OperatorError, match=why):
            load_gateway(configure(site, 1, key=wrong))
    assert place.file.exists()
