"""A whole gateway has the end of each of its segments stamped, and shows how that stands."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from coldseal.core.log.checkpoint import parse_note
from coldseal.gateway import app
from coldseal.gateway.config import load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.stamped import TimestampGauges
from coldseal.gateway.uplink.tokens import StoredTimestamp, TimestampStatus, Tokens
from coldseal.observe.metrics import GatewayMetrics
from coldseal.signing.secrets import read_symmetric_key
from tests.gateway.parts import payload
from tests.gateway.test_app import ask, config_file, entries_of, pki, publish, running
from tests.sealed import WITNESS, witness
from tests.trial import STORE_KEY
from tests.tsa import Authority, Desk
from tests.waiting import until

__all__ = ["config_file", "pki"]


async def test_each_segment_of_a_gateway_is_stamped(config_file: Path, pki: Path, tmp_path: Path) -> None:
    """Though its service is away; an export reads the timestamps, and OpenSSL accepts them."""
    authority = Authority(tmp_path / "tsa")
    overrides = [
        "uplink.url=https://localhost:1",
        f"uplink.certificate={pki / 'gateway' / 'gw-1.pem'}",
        f"uplink.key={pki / 'gateway' / 'gw-1.key'}",
        f"uplink.ca={pki / 'root.pem'}",
        f"uplink.witness={witness().verifier_key(WITNESS, cosigner=True).encode()}",
        f"timestamp.ca={authority.ca}",
        "store.segment_entries=4",
    ]
    async with Desk(authority).open() as desk, running(config_file, *overrides, at(desk)) as gateway:
        for number in range(9):  # each in a group of its own
            await publish(pki, gateway.listener.port, payload(number))

        async def is_stamped() -> bool:
            return "coldseal_gateway_timestamps_total 2.0" in await ask(gateway, "/metrics")

        await until(is_stamped)
        shown = await ask(gateway, "/metrics")
    assert "coldseal_gateway_timestamp_waiting_seconds 0.0" in shown

    config = load_gateway(config_file)
    key = read_symmetric_key(config.store.key, config_file.parent)
    ends = [each.seq + 1 for each in entries_of(config_file) if each.kind == "segment"]
    log, data = config.gateway.data / app.LOG_FOLDER, config.gateway.data
    with closing(LogReader(log, key)) as reader, closing(Tokens(data, key, readonly=True)) as tokens:
        found = tokens.timestamps(0, reader.size())
        assert [each.size for each in found] == ends[: len(found)]
        assert len(found) >= 2
        for each in found:
            stored = reader.checkpoint_at_most(each.size)
            assert stored is not None
            assert authority.accepts(each.response, parse_note(stored.note).text)


def at(desk: Desk) -> str:
    """Give the setting that names the authority."""
    return f"timestamp.url={desk.url}"


def test_the_gauges_follow_what_the_uplink_writes_down(tmp_path: Path) -> None:
    """Before there is a file, while an end waits, and behind it; counters never fall."""
    metrics = GatewayMetrics()
    gauges = TimestampGauges(metrics, tmp_path, STORE_KEY, lambda seq: 1000 * seq)
    gauges.refresh(0)
    with closing(Receipts(tmp_path, STORE_KEY)), closing(Tokens(tmp_path, STORE_KEY)) as tokens:
        tokens.note(TimestampStatus(kept=5, failed={"busy": 1}))
        gauges.refresh(0)
        tokens.keep(StoredTimestamp(4, 1, b""), TimestampStatus(kept=7, failed={"busy": 2}, waiting=10))
        gauges.refresh(12_500)
        shown = metrics.render().decode()
        tokens.note(TimestampStatus())  # the file was lost and is made anew
        gauges.refresh(12_500)

    assert "coldseal_gateway_timestamps_total 7.0" in shown
    assert 'coldseal_gateway_timestamp_failures_total{cause="busy"} 2.0' in shown
    assert "coldseal_gateway_timestamp_waiting_seconds 3.5" in shown
    assert "coldseal_gateway_timestamp_waiting_seconds 0.0" in metrics.render().decode()
    assert "coldseal_gateway_timestamps_total 7.0" in metrics.render().decode()
