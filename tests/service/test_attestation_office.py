"""A gateway speaks for itself alone; who is not trusted is flagged or put off, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
import pytest
from typing_extensions import override

from coldseal.core.attestation.messages import MEDIA_TYPE, encode_token, parse_token
from coldseal.core.attestation.quotes import AttestationError
from coldseal.core.log import canonical
from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.uplink.attestation import PATH, AttestationWay
from coldseal.service.attestation.office import Office
from coldseal.service.attestation.references import ReferenceFile, References
from coldseal.service.attestation.states import FOLDER, Decision, States
from coldseal.service.callers import NotAdmittedError
from coldseal.service.config import Attestation
from tests.core.event_log import BLOB, BOOT, Told
from tests.sealed import GATEWAY, ORIGIN, SealedLog
from tests.service.bench import Bench
from tests.signing.machines import BootedMachine, machine, roots
from tests.trial import Site, now, url


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedMachine]:
    """Give a machine with a chip."""
    with machine(tmp_path_factory.mktemp("machine")) as booted:
        yield booted


class Counter:
    """An office over a bench, with a machine that is a gateway's."""

    def __init__(self, bench: Bench, machine: BootedMachine, **settings: Any) -> None:  # noqa: ANN401 # of several types
        """Open it."""
        self.bench, self.machine = bench, machine
        self.data = bench.site.service / "data"
        self.now = round(now().timestamp()) + 1
        self.settings = Attestation(ek_roots=roots(machine, bench.site.folder), **settings)
        self.office = self.open(self.settings)

    def open(self, settings: Attestation) -> Office:
        """Open an office with other settings."""
        bench = self.bench
        return Office.open(
            settings,
            self.data,
            now=lambda: self.now,
            admission=bench.admission,
            ledger=bench.ledger,
            metrics=bench.metrics,
        )

    async def say(self, what: str, body: bytes, *, role: str = "gateway") -> bytes:
        """Send a message as TLS would show its sender."""
        return await self.office.answer(what, self.bench.certificate(role), body)  # type: ignore[arg-type] # a role

    async def attest(self) -> str:
        """Have the machine attest; the verdict."""
        way = _Direct(self)
        return (await way.attest(self.machine.speaker, GATEWAY)).verdict

    def take_reference(self) -> None:
        """Make reference values of the last quote."""
        found = States(self.data).all()[GATEWAY].booted
        assert found is not None
        References(self.data).add(
            ReferenceFile(
                name="r1", gateways=("*",), booted=found, source=GATEWAY, who="ops", why="trial", t=self.now
            )
        )

    def decide(self, action: Literal["accept", "hold", "default"]) -> None:
        """Decide, as an operator does."""
        States(self.data).decide(Decision(gateway=GATEWAY, action=action, who="ops", why="trial", t=self.now))

    def shown(self) -> dict[str, Any]:
        """Give what an operator is shown."""
        (shown,) = msgspec.json.decode(canonical.encode(self.office.show_all()))["gateways"]
        assert isinstance(shown, dict)
        return shown


class _Direct(AttestationWay):
    """The gateway's way, without a network between."""

    def __init__(self, counter: Counter) -> None:
        """Keep the other end."""
        self._counter = counter

    @override
    async def _say(self, what: str, body: bytes, path: str = PATH) -> bytes:
        """Hand the message over."""
        assert path == PATH
        return await self._counter.say(what, body)


@asynccontextmanager
async def _trusted(
    bench: Bench,
    machine: BootedMachine,
    **settings: Any,  # noqa: ANN401 # of several types
) -> AsyncIterator[Counter]:
    """Give a counter whose gateway is trusted."""
    machine.boot(BOOT)
    counter = Counter(bench, machine, **settings)
    assert await counter.attest() == "unknown"
    counter.take_reference()
    await counter.office.refresh()
    assert counter.shown()["verdict"] == "trusted"
    yield counter
    machine.boot(BOOT)


EVIL = (Told(0, BLOB, b"", b"evil firmware"), *BOOT[1:])


async def test_a_changed_gateway_is_flagged_by_its_places_in_the_log(
    bench: Bench, booted: BootedMachine
) -> None:
    """Its batches are taken in; what came while it was changed is marked, from where to where."""
    log = bench.admit(SealedLog())
    log.checkpoint()
    await bench.take(log.body())
    async with _trusted(bench, booted) as counter:
        before = counter.shown()["flagged"]
        assert [(each["verdict"], each["first"], each["end"]) for each in before] == []
        booted.boot(EVIL)
        assert await counter.attest() == "changed"
        counter.office.require_unheld(bench.certificate())
        first = log.size
        log.grow(3).checkpoint()
        await bench.take(log.body(first))
        booted.boot(BOOT)
        assert await counter.attest() == "trusted"

        shown = counter.shown()
        assert (shown["verdict"], shown["action"]) == ("trusted", "accept")
        (flagged,) = shown["flagged"]
        assert flagged == {"end": log.size, "first": first, "origin": ORIGIN, "verdict": "changed"}
        assert counter.office.status() == {"attestation": "1 trusted"}


async def test_a_changed_gateway_is_held_until_it_is_trusted_or_an_operator_decides(
    bench: Bench, booted: BootedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the service says so: it is put off, and keeps everything."""
    bench.admit(SealedLog())
    async with _trusted(bench, booted, changed="hold") as counter:
        counter.office.require_unheld(bench.certificate())
        booted.boot(EVIL)
        await counter.attest()
        with pytest.raises(UnavailableError, match="its machine is changed"):
            counter.office.require_unheld(bench.certificate())
        assert counter.office.status() == {"attestation": f"1 changed; put off: {GATEWAY}"}

        reopened = counter.open(counter.settings)
        with pytest.raises(UnavailableError, match="its machine is changed"):
            reopened.require_unheld(bench.certificate())

        counter.decide("accept")
        await counter.office.refresh()
        counter.office.require_unheld(bench.certificate())
        counter.decide("hold")
        await counter.office.refresh()
        booted.boot(BOOT)
        assert await counter.attest() == "trusted"
        with pytest.raises(UnavailableError, match="its machine is trusted"):
            counter.office.require_unheld(bench.certificate())
        counter.decide("default")
        await counter.office.refresh()
        counter.office.require_unheld(bench.certificate())
    said = [line for line in capsys.readouterr().err.splitlines() if "attestation." in line]
    names = [msgspec.json.decode(line)["event"] for line in said]
    assert names.count("attestation.held") == names.count("attestation.released") + 1 == 3


async def test_a_gateway_without_a_chip_works_by_policy(bench: Bench, booted: BootedMachine) -> None:
    """It is unknown: flagged unless the service says otherwise."""
    log = bench.admit(SealedLog())
    log.checkpoint()
    counter = Counter(bench, booted)
    await bench.take(log.body())
    counter.office.require_unheld(bench.certificate())
    await counter.office.refresh()
    await counter.office.refresh()
    (flagged,) = counter.shown()["flagged"]
    assert (flagged["verdict"], flagged["end"], flagged["first"]) == ("unknown", None, log.size)

    held = counter.open(msgspec.structs.replace(counter.settings, unknown="hold"))
    with pytest.raises(UnavailableError, match="its machine is unknown"):
        held.require_unheld(bench.certificate())
    accepted = counter.open(msgspec.structs.replace(counter.settings, unknown="accept"))
    accepted.require_unheld(bench.certificate())
    await accepted.refresh()
    assert bench.metrics.registry.get_sample_value(
        "coldseal_service_attested_gateways", {"verdict": "unknown"}
    )


async def test_a_gateway_admitted_a_moment_ago_is_held_too(bench: Bench, booted: BootedMachine) -> None:
    """Where unknown ones are: nothing slips in before the next look."""
    counter = Counter(bench, booted, unknown="hold")
    bench.admit(SealedLog())
    with pytest.raises(UnavailableError, match="its machine is unknown"):
        counter.office.require_unheld(bench.certificate())
    counter.decide("accept")
    await counter.office.refresh()
    counter.office.require_unheld(bench.certificate())


async def test_a_service_that_asks_for_nothing_refuses_nothing(bench: Bench, booted: BootedMachine) -> None:
    """Without makers' certificates there is no attestation."""
    bench.admit(SealedLog())
    office = Counter(bench, booted).open(Attestation(unknown="hold"))
    await office.refresh()
    office.require_unheld(bench.certificate())

    assert office.status() == {}
    assert office.show(GATEWAY) is None
    assert office.show_all() == {"gateways": []}
    with pytest.raises(UnavailableError, match="ek_roots is not set"):
        await office.answer("nonce", bench.certificate(), b"{}")


async def test_only_a_gateway_with_an_admitted_log_may_attest(bench: Bench, booted: BootedMachine) -> None:
    """By its certificate."""
    counter = Counter(bench, booted)
    with pytest.raises(NotAdmittedError, match="no log is admitted"):
        await counter.say("nonce", b"{}")
    bench.admit(SealedLog())
    assert counter.office.status() == {"attestation": "1 unknown"}
    with pytest.raises(NotAdmittedError, match="is a device"):
        await counter.say("nonce", b"{}", role="device")
    with pytest.raises(InputError, match="enrol, activate, nonce or quote"):
        await counter.say("other", b"{}")
    assert len(parse_token(await counter.say("nonce", b"{}"), "nonce")) == 32


async def test_there_are_two_steps_on_the_way_back(bench: Bench, booted: BootedMachine) -> None:
    """And no third."""
    bench.admit(SealedLog())
    office = Counter(bench, booted).office
    with pytest.raises(UnavailableError, match="recovery by a chip"):
        await office.recover(GATEWAY, "nonce", b"{}")
    office.issue = lambda _gateway, _hosts: "token"
    with pytest.raises(AttestationError, match="not-bound"):
        await office.recover(GATEWAY, "nonce", b"{}")
    with pytest.raises(InputError, match="nonce or quote"):
        await office.recover(GATEWAY, "token", b"{}")


async def test_what_is_refused_is_counted_by_reason(bench: Bench, booted: BootedMachine) -> None:
    """And tells its sender why."""
    bench.admit(SealedLog())
    counter = Counter(bench, booted)
    with pytest.raises(AttestationError, match="old-challenge"):
        await counter.say("activate", encode_token("secret", b"guess"))

    assert bench.counted("attestations", result="refused") == 1
    assert bench.counted("attestation_refusals", reason="old-challenge") == 1


async def test_a_disk_that_refuses_is_said_once_and_puts_callers_off(
    bench: Bench, booted: BootedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verdicts that were known stay in force."""
    bench.admit(SealedLog())
    async with _trusted(bench, booted) as counter:
        capsys.readouterr()
        broken = counter.data / FOLDER / "decisions" / "broken.json"
        broken.write_text("{")
        await counter.office.refresh()
        await counter.office.refresh()
        assert counter.shown()["verdict"] == "trusted"
        broken.unlink()
        await counter.office.refresh()
    assert capsys.readouterr().err.count('"attestation.kept"') == 1


async def test_it_all_goes_over_the_wire(site: Site, booted: BootedMachine) -> None:
    """A running service: bound, unknown, trusted by its reference, shown to an operator, held."""
    log = SealedLog()
    site.admit(log)
    log.checkpoint()
    booted.boot(BOOT)
    trusted = roots(booted, site.folder)
    overrides = (f"attestation.ek_roots={trusted}", "attestation.changed=hold")
    async with site.running(*overrides) as service, site.caller("operator") as operator:
        async with AttestationWay(url(service), site.context(), timeout_s=20) as way:
            assert (await way.attest(booted.speaker, GATEWAY)).verdict == "unknown"
            data = site.service / "data"
            found = States(data).all()[GATEWAY].booted
            assert found is not None
            file = ReferenceFile(
                name="r1", gateways=("*",), booted=found, source=GATEWAY, who="ops", why="trial", t=1
            )
            References(data).add(file)
            await service._office.refresh()
            assert (await way.attest(booted.speaker, GATEWAY)).verdict == "trusted"
            booted.boot(EVIL)
            standing = await way.attest(booted.speaker, GATEWAY)
            assert (standing.verdict, standing.changes[0][:5]) == ("changed", "PCR 0")
        async with operator.get(url(service, "/v1/attestation")) as response:
            (shown,) = (await response.json())["gateways"]
        assert (shown["verdict"], shown["action"], shown["reference"]) == ("changed", "hold", "r1")
        async with operator.get(url(service, "/v1/logs")) as response:
            assert (await response.json())["logs"][0]["attestation"]["verdict"] == "changed"
        async with operator.post(
            url(service, "/v1/attestation/nonce"), data=b"{}", headers={"Content-Type": MEDIA_TYPE}
        ) as response:
            assert response.status == 403
        async with (
            site.caller() as gateway,
            gateway.post(
                url(service, "/v1/entries"),
                data=log.body(),
                headers={"Content-Type": "application/vnd.coldseal.batch"},
            ) as response,
        ):
            assert response.status == 503
            assert "its machine is changed" in (await response.json(content_type=None))["detail"]
            States(data).decide(
                Decision(
                    gateway=GATEWAY, action="accept", who="ops", why="looked at", t=round(now().timestamp())
                )
            )
            await service._office.refresh()
            async with gateway.post(
                url(service, "/v1/entries"),
                data=log.body(),
                headers={"Content-Type": "application/vnd.coldseal.batch"},
            ) as taken:
                assert taken.status == 200
        assert service._describe()["attestation"] == "1 changed"
