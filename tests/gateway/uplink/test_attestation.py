"""The uplink attests by itself, says once that it cannot, and writes down how the service takes it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from typing_extensions import override

from coldseal.core.attestation.messages import encode_token
from coldseal.core.attestation.quotes import AttestationError
from coldseal.core.log.delivery.wire import Kind, Unavailable, encode_refusal
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.attesting import NAME, Told, open_machine, read_told, render_told, write_told
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.uplink.attestation import AttestationWay, attest_once, keep_attested, recover_once
from coldseal.gateway.uplink.enrolment import keep_renewed
from coldseal.gateway.uplink.posting import Reply
from coldseal.gateway.uplink.renewal import Renewal
from coldseal.identity.contexts import client_context
from coldseal.identity.peer import read_peer
from coldseal.service.attestation.references import ReferenceFile, References
from coldseal.service.attestation.states import States
from tests.core.event_log import BOOT
from tests.gateway.uplink.test_faults import port_of
from tests.gateway.uplink.test_process import configure, program
from tests.sealed import GATEWAY, SealedLog
from tests.signing.machines import HANDLE, BootedMachine, machine, roots
from tests.trial import DEADLINE_S, Site, now
from tests.waiting import until


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedMachine]:
    """Give a machine with a chip."""
    with machine(tmp_path_factory.mktemp("machine")) as booted:
        yield booted


def _overrides(booted: BootedMachine) -> list[str]:
    """Give the settings of a gateway on that machine."""
    return [
        f"attestation.key=tpm:{HANDLE:#x}",
        f"attestation.event_log={booted.event_log}",
        "attestation.retry_s=0.05",
        f"hardware.tcti={booted.chip.tcti}",
    ]


def _config(site: Site, port: int, booted: BootedMachine, *more: str) -> GatewayConfig:
    """Give the configuration of a gateway on that machine."""
    return load_gateway(configure(site, port), [*_overrides(booted), *more])


def _take_reference(data: Path) -> None:
    """Make reference values of the gateway's last quote."""
    found = States(data).all()[GATEWAY].booted
    assert found is not None
    References(data).add(
        ReferenceFile(name="r1", gateways=("*",), booted=found, source=GATEWAY, who="o", why="t", t=1)
    )


@asynccontextmanager
async def _attesting(config: GatewayConfig, site: Site, *, now_ms: int = 5_000) -> AsyncIterator[None]:
    """Keep attesting, as the uplink does."""
    running = asyncio.create_task(
        keep_attested(config, site.context, now_ms=lambda: now_ms, chance=lambda: 1.0)
    )
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class _Heard:
    """What was logged so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Begin to listen."""
        self._capsys, self.said = capsys, ""

    def has(self, event: str) -> Callable[[], bool]:
        """Give whether an event was logged by now."""

        def look() -> bool:
            self.said += self._capsys.readouterr().err
            return f'"{event}"' in self.said

        return look


async def test_a_gateway_attests_and_writes_down_what_comes_of_it(
    site: Site, log: SealedLog, booted: BootedMachine
) -> None:
    """Bound the first time, trusted once its values are the release's."""
    assert log.size
    trusted = roots(booted, site.folder)
    async with site.running(f"attestation.ek_roots={trusted}") as service:
        config = _config(site, port_of(service.address), booted)
        assert render_told(config.gateway.data) == "not attested yet"
        first = await attest_once(config, site.context, now_ms=lambda: 5_000)
        assert first == Told(verdict="unknown", reference="", changes=(), t=5)
        _take_reference(site.service / "data")
        await service._office.refresh()
        await attest_once(config, site.context, now_ms=lambda: 6_000)

    assert read_told(config.gateway.data) == Told(verdict="trusted", reference="r1", changes=(), t=6)
    assert render_told(config.gateway.data) == "trusted, by r1"


async def test_a_service_that_is_away_is_said_once_and_asked_again(
    site: Site, log: SealedLog, booted: BootedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """And once when it is back, with how the gateway stands."""
    assert log.size
    async with site.running() as service:
        port = port_of(service.address)
    config, heard = _config(site, port, booted), _Heard(capsys)
    tries = 0

    def now_ms() -> int:
        return 5_000

    def chance() -> float:
        nonlocal tries
        tries += 1
        return 1.0

    running = asyncio.create_task(keep_attested(config, site.context, now_ms=now_ms, chance=chance))
    await until(lambda: tries >= 3)
    trusted = roots(booted, site.folder)
    async with site.running(f"attestation.ek_roots={trusted}", f"service.listen=127.0.0.1:{port}"):
        await until(heard.has("attestation.told"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    names = [json.loads(line)["event"] for line in heard.said.splitlines() if '"uplink.attestation"' in line]
    assert names == ["attestation.failed", "attestation.back", "attestation.told"]


async def test_how_a_gateway_stands_is_said_only_when_it_changes(
    site: Site, log: SealedLog, booted: BootedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same again is no news."""
    assert log.size
    trusted = roots(booted, site.folder)
    async with site.running(f"attestation.ek_roots={trusted}") as service:
        config = _config(site, port_of(service.address), booted, "attestation.interval_h=0.000001")
        async with _attesting(config, site):
            await until(lambda: read_told(config.gateway.data) is not None)
            before = (config.gateway.data / NAME).stat().st_ino
            await until(lambda: (config.gateway.data / NAME).stat().st_ino != before)

    assert capsys.readouterr().err.count('"attestation.told"') == 1


async def test_the_uplinks_process_attests_when_it_starts(
    site: Site, log: SealedLog, booted: BootedMachine
) -> None:
    """Before anything was delivered."""
    assert log.size
    await site.store(log)
    trusted = roots(booted, site.folder)
    async with site.running(f"attestation.ek_roots={trusted}") as service:
        path = configure(site, port_of(service.address))
        async with program(str(path), *_overrides(booted)) as process:
            await until(lambda: read_told(site.gateway) is not None)
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0


async def test_a_gateway_whose_certificate_has_ended_comes_back_by_its_chip(
    site: Site, log: SealedLog, booted: BootedMachine
) -> None:
    """It gets a one-time token for exactly its name, and puts it where the renewal looks for it."""
    assert log.size
    booted.boot(BOOT)
    pki, later = site.folder / "pki", (round(now().timestamp()) + 90 * 86_400) * 1000
    trusted, token = roots(booted, site.folder), site.folder / "token"
    overrides = (f"attestation.ek_roots={trusted}", "est.listen=127.0.0.1:0", f"est.authority={pki}")
    async with site.running(*overrides) as service:
        assert service.enrolling is not None
        config = _config(
            site,
            port_of(service.address),
            booted,
            f"enrolment.url=https://localhost:{port_of(service.enrolling.address)}",
            f"enrolment.token=file:{token}",
        )
        with pytest.raises(AttestationError, match="not-bound"):
            await recover_once(config, now_ms=lambda: later)
        await attest_once(config, site.context, now_ms=lambda: later)
        assert not await recover_once(config, now_ms=lambda: 0)
        assert await recover_once(config, now_ms=lambda: later)
        text = token.read_text()
        moment = round(now().timestamp())
        grant = service.enrolling.enrolments.by_token(GATEWAY, text, b"a key", now=moment)
        assert (grant.role, grant.name, grant.who) == ("gateway", GATEWAY, "attestation")
        os.utime(token, (later / 1000, later / 1000))
        assert not await recover_once(config, now_ms=lambda: later)


async def test_attestation_and_renewal_together_bring_an_ended_certificate_back(
    site: Site, log: SealedLog, booted: BootedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """By themselves: the chip gets a token, the token a certificate, and the gateway attests as before."""
    assert log.size
    booted.boot(BOOT)
    heard = _Heard(capsys)
    certificate, token = site.certificates["gateway"], site.folder / "token"
    trusted, pki = roots(booted, site.folder), site.folder / "pki"
    overrides = (f"attestation.ek_roots={trusted}", "est.listen=127.0.0.1:0", f"est.authority={pki}")
    async with site.running(*overrides) as service:
        assert service.enrolling is not None
        config = _config(
            site,
            port_of(service.address),
            booted,
            f"enrolment.url=https://localhost:{port_of(service.enrolling.address)}",
            f"enrolment.token=file:{token}",
            "enrolment.retry_initial_s=0.1",
            "enrolment.retry_max_s=0.2",
        )
        await attest_once(config, site.context, now_ms=lambda: 5_000)
        site.authority.renew(certificate, now=now() - timedelta(days=30), days=1)
        assert config.uplink.certificate is not None
        assert config.uplink.transport is not None
        assert config.uplink.ca is not None

        def now_ms() -> int:
            return round(now().timestamp() * 1000)

        renewal = Renewal(config.uplink.certificate, config.uplink.transport, config.uplink.ca, now_ms=now_ms)
        beside = (
            keep_attested(config, renewal.context, now_ms=now_ms, chance=lambda: 1.0),
            keep_renewed(
                config, asyncio.Event(), guard=None, chance=lambda: 0.5, now_s=lambda: now().timestamp()
            ),
        )
        running = [asyncio.create_task(each) for each in beside]
        await until(lambda: read_peer(certificate).not_after > now())
        await until(heard.has("attestation.back"))
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    for event in ("attestation.recovered", "attestation.token", "attestation.back"):
        assert heard.said.count(f'"{event}"') == 1


async def test_a_service_that_asks_for_no_attestation_has_no_way_back(
    site: Site, log: SealedLog, booted: BootedMachine
) -> None:
    """Though it enrols by tokens."""
    assert log.size
    pki = site.folder / "pki"
    async with site.running("est.listen=127.0.0.1:0", f"est.authority={pki}") as service:
        assert service.enrolling is not None
        url = f"https://localhost:{port_of(service.enrolling.address)}"
        async with AttestationWay(url, client_context(None, None, site.trust), timeout_s=10) as way:
            with pytest.raises(UnavailableError, match="answered nonce by 404"):
                await way.recover(booted.speaker, GATEWAY)


@pytest.mark.parametrize("setting", ["enrolment.token=env:TOKEN", 'enrolment.url=""', 'attestation.key=""'])
async def test_without_all_that_it_takes_there_is_no_way_back(
    site: Site, booted: BootedMachine, setting: str
) -> None:
    """A token's file, an enrolment server, a chip."""
    file, url = f"enrolment.token=file:{site.folder / 'token'}", "enrolment.url=https://localhost:1"
    config = _config(site, 1, booted, file, url, setting)
    assert not await recover_once(config, now_ms=lambda: 2**50)


async def test_a_gateway_that_names_no_key_does_not_attest(site: Site, booted: BootedMachine) -> None:
    """Nothing is asked of any chip."""
    config = _config(site, 1, booted, 'attestation.key=""')
    assert open_machine(config) is None
    assert await attest_once(config, site.context, now_ms=lambda: 0) is None
    await keep_attested(config, site.context, now_ms=lambda: 0, chance=lambda: 1.0)


def test_an_attestation_key_stands_at_a_handle(site: Site, booted: BootedMachine) -> None:
    """A file could be taken elsewhere."""
    config = _config(site, 1, booted, "attestation.key=tpm:key=file.tss")
    with pytest.raises(OperatorError, match="expected a persistent handle"):
        open_machine(config)


@pytest.mark.parametrize(
    ("setting", "said"),
    [("attestation.key=file:key.pem", "expected a key in the TPM"), ("uplink.url=", "but uplink.url is not")],
)
def test_settings_that_lead_nowhere_are_refused(
    site: Site, booted: BootedMachine, setting: str, said: str
) -> None:
    """With their cure."""
    with pytest.raises(OperatorError, match=said):
        _config(site, 1, booted, setting)


def test_an_event_log_that_is_not_there_counts_as_empty(booted: BootedMachine, tmp_path: Path) -> None:
    """One that cannot be read is told with its cure."""
    booted.boot(BOOT)
    other = BootedMachine(booted.chip, tmp_path)
    other.event_log.unlink()
    assert other.speaker.quoted("gw", b"nonce").log == b""
    other.event_log.mkdir()
    with pytest.raises(OperatorError, match="LoadCredential="):
        other.speaker.quoted("gw", b"nonce")


@pytest.mark.parametrize("content", [b"", b"{}", b"nonsense"])
def test_a_note_that_cannot_be_read_says_nothing(tmp_path: Path, content: bytes) -> None:
    """The next attestation writes it again."""
    (tmp_path / NAME).write_bytes(content)
    assert read_told(tmp_path) is None
    write_told(tmp_path, Told(verdict="changed", reference="r1", changes=("PCR 4: x",), t=1))
    assert render_told(tmp_path) == "changed, by r1: PCR 4: x"


class _Scripted(AttestationWay):
    """A way whose answers are given."""

    def __init__(self, *answers: Reply | Unavailable) -> None:
        """Keep them."""
        self._answers = list(answers)

    @override
    async def ask(self, *_arguments: object, **_options: object) -> Reply | Unavailable:
        """Give the next one."""
        return self._answers.pop(0)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        pytest.param(Unavailable(Kind.TIMEOUT, "too slow"), UnavailableError, "too slow", id="no answer"),
        pytest.param(Reply(404, b"", ""), UnavailableError, "answered nonce by 404", id="an old service"),
        pytest.param(
            Reply(422, encode_refusal("clock-back", detail="earlier"), ""),
            AttestationError,
            "clock-back: earlier",
            id="refused",
        ),
    ],
)
async def test_what_comes_back_instead_of_an_answer_is_told(
    booted: BootedMachine, answer: Reply | Unavailable, error: type[Exception], said: str
) -> None:
    """As what it is."""
    with pytest.raises(error, match=said):
        await _Scripted(answer).attest(booted.speaker, GATEWAY)


async def test_a_refused_quote_is_not_answered_by_binding(booted: BootedMachine) -> None:
    """Only a chip that is not bound is shown."""
    nonce = Reply(200, encode_token("nonce", b"n" * 32), "")
    refusal = Reply(422, encode_refusal("bad-signature", detail="another"), "")
    with pytest.raises(AttestationError, match="bad-signature"):
        await _Scripted(nonce, refusal).attest(booted.speaker, GATEWAY)
