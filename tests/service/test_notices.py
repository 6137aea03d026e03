"""Urgent entries that came ahead of their order are kept apart, shown, and compared when their turn comes."""

from __future__ import annotations

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.core.log.delivery.notices import NOTICE_TYPE, Notice, Request, Told, encode_notices, parse_told
from coldseal.core.log.delivery.receiver import ForkError
from coldseal.errors import InputError, UnavailableError
from coldseal.identity.peer import Role
from coldseal.service import notices as module
from coldseal.service.callers import NotAdmittedError
from coldseal.service.notices import Notices
from coldseal.service.storage.announced import MAX_ANNOUNCED
from tests.sealed import ORIGIN, SealedLog
from tests.service.bench import Bench
from tests.service.conftest import OpenBench
from tests.trial import Site, url
from tests.waiting import until


def notices_of(bench: Bench) -> Notices:
    """Give what takes notices in."""
    return Notices(bench.admission, bench.ledger, now=lambda: bench.now, metrics=bench.metrics)


def body(*entries: bytes, note: bytes = b"") -> bytes:
    """Write a request of signed entries."""
    return encode_notices(Request(note, tuple(Notice(raw) for raw in entries)))


async def tell(bench: Bench, *entries: bytes, role: Role = "gateway") -> Told:
    """Tell entries ahead of their order."""
    answer = parse_told(200, await notices_of(bench).take(bench.certificate(role), body(*entries)))
    assert isinstance(answer, Told)
    return answer


async def listed(bench: Bench) -> list[int]:
    """Name what is announced and not yet in order."""
    return [each.seq for each in await bench.ledger.announced(ORIGIN)]


def counted(bench: Bench) -> dict[str, float]:
    """Say what became of notices."""
    results = ("announced", "repeated", "confirmed", "refused", "forked")
    return {each: bench.counted("notices", result=each) for each in results}


async def test_an_alarm_is_known_before_its_turn_and_delivers_nothing(bench: Bench) -> None:
    """Not even the genesis has come yet; and the same again changes nothing."""
    log = bench.admit(SealedLog().grow(20))
    alarm = log.seal("alarm", {"sensor": "probe-1"})
    for _ in range(2):
        assert await tell(bench, alarm) == Told(frozenset({21}), {})

    (kept,) = await bench.ledger.announced(ORIGIN)
    assert (kept.seq, kept.kind, kept.entry, kept.since) == (21, "alarm", alarm, bench.now)
    assert (await bench.ledger.summary(ORIGIN))[0].size == 0
    assert await bench.ledger.receipt(ORIGIN) is None
    assert await bench.entries() == []
    assert counted(bench) == {"announced": 1, "repeated": 1, "confirmed": 0, "refused": 0, "forked": 0}


async def test_it_is_confirmed_when_it_comes_in_its_order(bench: Bench) -> None:
    """Only then; and told once more it is known."""
    log = bench.admit(SealedLog().grow(5))
    early = log.body(0)
    log.grow(5)
    alarm = log.seal("alarm", {"sensor": "probe-1"})
    await tell(bench, alarm)
    await bench.take(early)
    await notices_of(bench).reconcile()
    assert await listed(bench) == [11]
    await bench.take(log.body(6))
    await notices_of(bench).reconcile()
    await notices_of(bench).reconcile()
    assert await listed(bench) == []
    await tell(bench, alarm)
    assert counted(bench) == {"announced": 1, "repeated": 1, "confirmed": 1, "refused": 0, "forked": 0}
    assert await bench.evidence() == []


async def test_another_entry_in_its_place_is_a_fork_with_both_entries(bench: Bench) -> None:
    """The gateway's key signed two histories; the one that came in order stays."""
    log = bench.admit(SealedLog().grow(5))
    twin = log.copy()
    alarm = twin.seal("alarm", {"sensor": "probe-1"})
    await tell(bench, alarm)
    await bench.take(log.grow(3).body(0))
    await notices_of(bench).reconcile()

    (kept,) = await bench.evidence()
    assert (kept.evidence.verdict, kept.evidence.entry) == ("fork", alarm)
    assert kept.evidence.held
    assert await listed(bench) == []
    assert (await bench.entries())[6] == log.entries[6]
    with pytest.raises(ForkError):
        await tell(bench, alarm)
    assert counted(bench)["forked"] == 2


async def test_two_entries_told_for_one_place_are_a_fork(bench: Bench) -> None:
    """Before either has come in order; the first stays on the list."""
    log = bench.admit(SealedLog().grow(5))
    twin = log.copy()
    first, second = log.seal("alarm", {"sensor": "probe-1"}), twin.seal("alarm", {"sensor": "probe-2"})
    await tell(bench, first)
    with pytest.raises(ForkError):
        await tell(bench, second)
    (kept,) = await bench.evidence()
    assert (kept.evidence.held, kept.evidence.entry) == (first, second)
    assert [each.entry for each in await bench.ledger.announced(ORIGIN)] == [first]


async def test_what_does_not_hold_is_not_shown(bench: Bench) -> None:
    """It is refused by its seq; what stands beside it is taken."""
    log = bench.admit(SealedLog().grow(5))
    good = log.seal("alarm", {})
    forged = log.forge_signature()
    told = await tell(bench, forged, good)
    assert told.announced == {6}
    assert set(told.refused) == {7}
    assert await listed(bench) == [6]
    assert counted(bench)["refused"] == 1


@pytest.mark.parametrize("role", ["operator", "device", "service"])
async def test_nobody_else_may_speak_for_a_log(bench: Bench, role: Role) -> None:
    """Only the gateway that was admitted for it."""
    log = bench.admit(SealedLog().grow(5))
    with pytest.raises(NotAdmittedError):
        await tell(bench, log.seal("alarm", {}), role=role)


async def test_a_log_that_is_not_admitted_is_not_listened_to(bench: Bench) -> None:
    """Whatever it says."""
    with pytest.raises(NotAdmittedError):
        await tell(bench, SealedLog().seal("alarm", {}))


async def test_the_list_is_bounded_and_keeps_the_newest(bench: Bench) -> None:
    """The oldest come in their order."""
    log = bench.admit(SealedLog())
    alarms = [log.seal("alarm", {"n": str(number)}) for number in range(MAX_ANNOUNCED + 40)]
    for at in range(0, len(alarms), 64):
        bench.now += 10
        await tell(bench, *alarms[at : at + 64])
    found = await listed(bench)
    assert len(found) == MAX_ANNOUNCED
    assert found[0] == len(alarms)


async def test_a_gateway_cannot_keep_the_service_busy_with_notices(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than enough in a minute are put off; the next minute is a new one."""
    monkeypatch.setattr(module, "PER_MINUTE", 2)
    log = bench.admit(SealedLog())
    alarms = [log.seal("alarm", {"n": str(number)}) for number in range(3)]
    notices = notices_of(bench)
    await notices.take(bench.certificate(), body(*alarms[:2]))
    with pytest.raises(UnavailableError):
        await notices.take(bench.certificate(), body(alarms[2]))
    bench.now += 60
    await notices.take(bench.certificate(), body(alarms[2]))
    assert await listed(bench) == [3, 2, 1]


async def test_a_full_ledger_takes_no_notice(open_bench: OpenBench) -> None:
    """It says so; the alarm stays at its gateway, and in its log."""
    async with open_bench(limit_bytes=1) as bench:
        log = bench.admit(SealedLog())
        with pytest.raises(UnavailableError):
            await tell(bench, log.seal("alarm", {}))


async def test_a_restart_keeps_the_list(open_bench: OpenBench) -> None:
    """It is in the ledger."""
    log = SealedLog()
    async with open_bench() as bench:
        bench.admit(log)
        await tell(bench, log.seal("alarm", {}))
    async with open_bench() as bench:
        assert await listed(bench) == [1]
        await bench.take(log.body(0))
        await notices_of(bench).reconcile()
        assert await listed(bench) == []


async def test_a_request_that_is_none_is_malformed(bench: Bench) -> None:
    """Without a notice, or with something else in it."""
    for wrong in (b"", b"\x00\x00", body(b"no entry")):
        with pytest.raises(InputError):
            await notices_of(bench).take(bench.certificate(), wrong)


async def test_it_is_shown_over_https_until_it_has_come(site: Site) -> None:
    """`/v1/logs` names it; the service looks each second whether it has come."""
    log = SealedLog().grow(3)
    alarm = log.seal("alarm", {})
    site.admit(log)
    async with site.running() as service:
        async with site.caller() as caller:
            for kind, status in ((NOTICE_TYPE, 200), ("text/plain", 415)):
                headers = {"Content-Type": kind}
                async with caller.post(
                    url(service, "/v1/notices"), data=body(alarm), headers=headers
                ) as response:
                    assert response.status == status
        async with site.caller("operator") as caller:
            async with caller.get(url(service, "/v1/logs")) as response:
                (shown,) = msgspec.json.decode(await response.read())["logs"]
            assert [(each["seq"], each["kind"]) for each in shown["announced"]] == [(4, "alarm")]
            assert shown["size"] == 0
        await service._ingest.take(await certificate_of(site), log.body(0))
        metric = ("coldseal_service_notices_total", {"result": "confirmed"})
        await until(lambda: service._metrics.registry.get_sample_value(*metric) == 1)


async def certificate_of(site: Site) -> bytes:
    """Give the gateway's certificate as TLS shows it."""
    found = x509.load_pem_x509_certificate(site.certificates["gateway"].read_bytes())
    return found.public_bytes(Encoding.DER)
