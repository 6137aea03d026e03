"""Certificates renewed at the service's own enrolment server: each step, each refusal, each way back."""

from __future__ import annotations

import io
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.core.renewal import Phase, Renewal
from coldseal.gateway.uplink.renewals import read_standings
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context
from coldseal.identity.files import replace_private_file
from coldseal.identity.pair import Pair
from tests.gateway.uplink.registry import Registry, renewed_now, renewer
from tests.trial import now


@pytest.fixture
def home(tmp_path: Path, registry: Registry) -> Path:
    """Make a holder's folder, which trusts the CA."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "root.pem").write_bytes(registry.trust.read_bytes())
    return folder


def serial(pair: Pair) -> int:
    """Read which certificate is in force; the pair must belong together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(pair.certificate, pair.key)
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


async def test_a_renewal_brings_a_new_key_in_its_chain(
    registry: Registry, home: Path, lines: io.StringIO
) -> None:
    """At the first look after half of the life; then nothing until the next half."""
    pair = registry.issue("gateway", "gw-1")
    before, key = serial(pair), pair.key.read_bytes()
    async with registry.running():
        keeper = registry.keeper(pair, home)
        running = renewer(keeper, home)
        await running.round()
        assert (keeper.state.phase, serial(pair)) == (Phase.FRESH, before)
        registry.late_s = 4 * 86_400.0
        await running.round()
        assert serial(pair) != before
        assert pair.key.read_bytes() != key
        after = serial(pair)
        await running.round()
        assert serial(pair) == after
    client_context(pair.certificate, pair.key, registry.trust)
    said = lines.getvalue()
    assert said.count("certificate.renewed") == 1
    (standing,) = read_standings(home / "enrolment.json").values()
    assert (standing.renewals, standing.failed, standing.phase) == (1, {}, Phase.FRESH)


async def test_a_key_may_stay(registry: Registry, home: Path) -> None:
    """Where the configuration says so."""
    pair = registry.issue("device", "sensor-1")
    before, key = serial(pair), pair.key.read_bytes()
    async with registry.running():
        keeper = registry.keeper(pair, home, new_key=False)
        await renewed_now(keeper, home)
    assert serial(pair) != before
    assert pair.key.read_bytes() == key


async def test_a_server_that_is_away_is_asked_again_and_said_once(
    registry: Registry, home: Path, lines: io.StringIO
) -> None:
    """The files stay as they are; the key that waits is the same when it comes back."""
    pair = registry.issue("gateway", "gw-1")
    before = serial(pair)
    async with registry.running():
        port = int(registry.address.rpartition(":")[2])
        keeper = registry.keeper(pair, home)
    running = await renewed_now(keeper, home)
    waiting = pair.next_key().public_key()
    for _ in range(4):
        running.demand()
        await running.round()
    assert (keeper.state.phase, keeper.state.failures) == (Phase.FAILING, 5)
    assert serial(pair) == before
    async with registry.running(port=port):
        running.demand()
        await running.round()
    assert pair.key_in_force().public_key() == waiting
    said = lines.getvalue()
    assert (said.count("certificate.renewal-failed"), said.count('"failures":5')) == (1, 1)
    (standing,) = read_standings(home / "enrolment.json").values()
    assert standing.failed == {"unreachable": 5}


async def test_an_ended_certificate_comes_back_by_a_token(
    registry: Registry, home: Path, lines: io.StringIO
) -> None:
    """It says so; a token counts once, and without one it says what is missing."""
    pair = registry.issue("gateway", "gw-1")
    registry.authority.renew(pair.certificate, now=now().replace(year=now().year - 1))
    async with registry.running():
        nobody = registry.keeper(pair, home)
        await renewer(nobody, home).round()
        assert nobody.standing.failed == {"ended": 1}
        assert "enrolment.token" in nobody.standing.fault
        token = registry.token("gateway", "gw-1")
        keeper = registry.keeper(pair, home, token=f"file:{token}")
        await renewer(keeper, home).round()
    assert keeper.state.phase is Phase.FRESH
    assert keeper.state.life.ends_s > now().timestamp()
    assert lines.getvalue().count("certificate.recovering") == 2


async def test_an_ended_certificate_comes_back_by_the_factory_s_once_a_person_approves(
    registry: Registry, home: Path, lines: io.StringIO
) -> None:
    """The same request is sent again, for the same key, also after a restart in between."""
    pair = registry.issue("device", "sensor-7")
    registry.authority.renew(pair.certificate, now=now().replace(year=now().year - 1))
    factory = registry.factory("sn-0007")
    async with registry.running():
        first = registry.keeper(pair, home, factory=factory)
        for _ in range(3):
            await renewer(first, home).round()
            first.state = first.state if first.state.phase is Phase.FRESH else _soon(first.state)
        assert first.standing.failed == {}
        asked = pair.next_key().public_key()
        (waiting,) = registry.enrolments.waiting()
        moment = int(now().timestamp())
        registry.enrolments.decide(waiting.id, is_approved=True, who="eva", reason="new sensor", now=moment)
        again = registry.keeper(pair, home, factory=factory)
        await renewer(again, home).round()
    assert again.state.phase is Phase.FRESH
    assert pair.key_in_force().public_key() == asked
    assert lines.getvalue().count("certificate.renewal-pending") >= 1


def _soon(state: Renewal) -> Renewal:
    """Let the wait be over."""
    return replace(state, wake_s=0.0)


async def test_a_refused_request_is_followed_by_one_for_another_key(registry: Registry, home: Path) -> None:
    """A denied certificate renews nothing."""
    pair = registry.issue("gateway", "gw-1")
    async with registry.running():
        registry.authority.revoke([pair.certificate], now=now())
        keeper = registry.keeper(pair, home)
        await renewed_now(keeper, home)
        assert keeper.standing.failed == {"refused": 1}
        assert not pair.key.with_name(pair.key.name + ".next").exists()


async def test_a_server_of_another_ca_is_told_nothing(registry: Registry, home: Path) -> None:
    """Not even for whom a certificate is wanted."""
    pair = registry.issue("gateway", "gw-1")
    other = create_authority(home / "other", now=now())
    registry.service = other.issue("service", "localhost", now=now())
    before = serial(pair)
    async with registry.running():
        keeper = registry.keeper(pair, home)
        await renewed_now(keeper, home)
    assert list(keeper.standing.failed) == ["unreachable"]
    assert serial(pair) == before
    assert registry.enrolments.history() == []


async def test_files_of_ours_that_are_wrong_are_named(registry: Registry, home: Path) -> None:
    """And tried again: they may be mended."""
    pair = registry.issue("gateway", "gw-1")
    good = pair.certificate.read_bytes()
    async with registry.running():
        keeper = registry.keeper(pair, home)
        replace_private_file(pair.certificate, b"rubbish")
        running = await renewed_now(keeper, home)
        assert keeper.standing.failed == {"own-files": 1}
        replace_private_file(pair.certificate, good)
        keeper.state = _soon(keeper.state)
        await running.round()
    assert keeper.standing.renewals == 1


async def test_what_another_hand_renewed_is_taken_up(registry: Registry, home: Path) -> None:
    """It is not asked for a second time."""
    pair = registry.issue("gateway", "gw-1")
    async with registry.running():
        keeper = registry.keeper(pair, home)
        running = renewer(keeper, home)
        registry.authority.renew(pair.certificate, now=now(), days=20)
        registry.late_s = 5 * 86_400.0
        await running.round()
    assert keeper.standing.renewals == 0
    assert keeper.state.life.ends_s > now().timestamp() + 19 * 86_400
