"""What no quorum has cosigned is shown, and told once when that lasts too long, and once when it ends."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from coldseal.core.log import canonical
from coldseal.gateway.budget import Watch
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.health import Instruments
from coldseal.gateway.tally import Tally
from coldseal.gateway.uplink.cosignatures import StoredCosignature, UplinkEvidence, WitnessStatus
from coldseal.gateway.uplink.receipts import Receipts, StoredReceipt, UplinkStatus
from coldseal.observe.health import Progress
from tests.gateway.parts import KEY, ORIGIN, Hands, Parts, open_parts
from tests.trial import Site

DAY_MS = 86_400_000
_WITNESSES = """
[[uplink.witnesses]]
url = "https://w1:1"
key = "w1+00+x"
[[uplink.witnesses]]
url = "https://w2:1"
key = "w2+00+x"
[witness]
quorum = 2
"""


class Shown(NamedTuple):
    """A gateway's instruments, and what they look at."""

    hands: Hands
    parts: Parts
    instruments: Instruments
    receipts: Receipts

    async def seal(self) -> None:
        """Seal one more entry, with a checkpoint over it."""
        draft = self.parts.journal.draft("heartbeat", canonical.encode({}), self.hands.clock().now())
        await self.parts.journal.append([draft], self.parts.redelivery.snapshot)

    def gauge(self, name: str, **labels: str) -> float | None:
        """Read a gauge."""
        return self.parts.metrics.registry.get_sample_value(f"coldseal_gateway_{name}", labels)


def worried_s(shown: Shown) -> float:
    """Give the age that an alarm is raised about; 0 for none."""
    return shown.instruments.worries(shown.hands.clock().now().t_ms).unwitnessed_s


def config_of(tmp_path: Path, *, url: str) -> GatewayConfig:
    """Write the configuration of a gateway with two further witnesses; two of three must sign."""
    site = Site(tmp_path)
    certificate = site.certificates["gateway"]
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[gateway]\norigin = "{ORIGIN}"\nsite = "site-7"\ndata = "{site.gateway}"\n'
        '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:0"\npasswords = "passwords"\n'
        f'[uplink]\nurl = "{url}"\ncertificate = "{certificate}"\nkey = "k"\nca = "r"\nwitness = "s+1"\n'
        + (_WITNESSES if url else "")
    )
    return load_gateway(path)


async def shown_with(tmp_path: Path, url: str) -> AsyncIterator[Shown]:
    """Open a gateway's log, and look at it."""
    hands = Hands()
    config = config_of(tmp_path, url=url)
    async with open_parts(config.gateway.data / "log", hands) as parts:
        with closing(Receipts(config.gateway.data, KEY, quorum=2)) as receipts:
            progress = Progress("acknowledgements", 10)
            instruments = Instruments(
                config,
                clock=hands.clock(),
                metrics=parts.metrics,
                tally=Tally(parts.metrics, progress),
                progress=progress,
                log=parts.log,
                journal=parts.journal,
                store_key=KEY,
                budget=Watch(config.budget, memory=lambda: 0, close=lambda _is_closed: None),
            )
            yield Shown(hands, parts, instruments, receipts)


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Shown]:
    """Give a gateway with an uplink."""
    async for each in shown_with(tmp_path, "https://localhost:1"):
        yield each


def clocked(shown: Shown, ms: int) -> None:
    """Let time pass, and look."""
    shown.hands.pass_ms(ms)
    shown.instruments._clock = shown.hands.clock()
    shown.instruments.refresh()


def receipt(size: int) -> StoredReceipt:
    """Give a receipt over so many entries."""
    return StoredReceipt(size, 0, 0, b"%d" % size)


def cosign(shown: Shown, size: int) -> None:
    """Let two further witnesses cosign."""
    for name in ("w1", "w2"):
        shown.receipts.cosignatures.keep(StoredCosignature(size, name, 0, 0, b"note"))


async def test_what_a_quorum_has_not_cosigned_is_counted_and_dated(shown: Shown) -> None:
    """A receipt alone is not enough where two must sign."""
    await shown.seal()
    shown.hands.pass_ms(5_000)
    await shown.seal()
    clocked(shown, 1_000)
    assert (shown.gauge("unwitnessed_entries"), shown.gauge("unwitnessed_seconds")) == (2, 6)

    shown.receipts.keep(receipt(2), UplinkStatus(published=2))
    clocked(shown, 0)
    assert (shown.gauge("backlog_entries"), shown.gauge("unwitnessed_entries")) == (0, 2)
    status = shown.instruments.status()
    assert (status["unwitnessed"], status["unwitnessed_s"]) == (2, 6)


async def test_a_witnessed_log_shows_nothing_unwitnessed(shown: Shown, lines: io.StringIO) -> None:
    """And no alarm, however much time passes."""
    await shown.seal()
    await shown.seal()
    cosign(shown, 2)
    clocked(shown, 2 * DAY_MS)

    assert (shown.gauge("unwitnessed_entries"), shown.gauge("unwitnessed_seconds")) == (0, 0)
    assert "witness.overdue" not in lines.getvalue()


async def test_a_day_without_a_quorum_is_an_alarm_once(shown: Shown, lines: io.StringIO) -> None:
    """And the end of it is told once; readings are taken in all the time."""
    await shown.seal()
    clocked(shown, DAY_MS)
    assert "witness.overdue" not in lines.getvalue()
    assert not worried_s(shown)
    for _ in range(3):
        clocked(shown, 1_000)
    assert lines.getvalue().count("witness.overdue") == 1
    assert shown.instruments.ready().reasons == ()
    assert worried_s(shown) > DAY_MS / 1000

    cosign(shown, 1)
    for _ in range(3):
        clocked(shown, 1_000)
    assert lines.getvalue().count("witness.caught-up") == 1
    assert not worried_s(shown)


async def test_each_further_witness_and_the_evidence_is_shown(shown: Shown) -> None:
    """As a gauge, and in words."""
    await shown.seal()
    cosignatures = shown.receipts.cosignatures
    cosignatures.note("w1+00", WitnessStatus(cosigned=1))
    cosignatures.note("w2+00", WitnessStatus(failures=1, fault="no route"))
    cosignatures.note("w3+00", WitnessStatus(failures=9, fault="not asked any more"))
    cosignatures.keep_evidence(
        UplinkEvidence(
            t_ms=1, witness="w1+00", verdict="witness-rolled-back", size=1, detail="", note=b"", held=b""
        )
    )
    clocked(shown, 0)

    assert shown.gauge("witness_up", witness="w1+00") == 1
    assert shown.gauge("witness_up", witness="w2+00") == 0
    assert shown.gauge("witness_evidence", verdict="witness-rolled-back") == 1
    assert shown.instruments.status()["witnesses"] == {
        "w1+00": "cosigns, up to 1",
        "w2+00": "no route, up to 0",
    }


async def test_who_disputes_the_log_is_told_for_an_alarm(shown: Shown) -> None:
    """As long as it is held: a further witness that is still asked, and the service."""
    await shown.seal()
    cosignatures = shown.receipts.cosignatures
    held = WitnessStatus(failures=1, fault="fork", is_held=True)
    for name in ("w1+00", "w3+00"):
        cosignatures.note(name, held)
    cosignatures.note("w2+00", WitnessStatus(failures=1, fault="no route"))
    shown.receipts.note(UplinkStatus(phase="held", failures=1, fault="receipt-wrong-root"))
    clocked(shown, 0)
    disputes = shown.instruments.worries(0).disputes
    assert disputes == (("s", "receipt-wrong-root"), ("w1", "fork"))

    cosignatures.note("w1+00", WitnessStatus(cosigned=1))
    shown.receipts.note(UplinkStatus(phase="waiting", failures=1, fault="no route"))
    clocked(shown, 0)
    assert shown.instruments.worries(0).disputes == ()


async def test_without_an_uplink_nobody_is_alarmed(tmp_path: Path, lines: io.StringIO) -> None:
    """Entries stay here, as was wished; they are shown as unwitnessed."""
    async for shown in shown_with(tmp_path, ""):
        await shown.seal()
        clocked(shown, 2 * DAY_MS)
        assert shown.gauge("unwitnessed_entries") == 1
    assert "witness.overdue" not in lines.getvalue()
