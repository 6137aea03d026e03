"""The page in a real browser says of a good bundle that it is good, and of each false one what is wrong."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from coldseal.core.log.evidence import CHECKS
from tests.page import false_counts
from tests.page.builder import (
    BEFORE,
    HEARTBEAT_S,
    ORIGIN,
    Story,
    honest,
    table_of,
    without_calibrations,
    zipped,
)
from tests.page.cases import CASES, pruned
from tests.page.chromium import Tab
from tests.page.containers import CONTAINERS
from tests.page.false_times import booted_in_1970, down_on_one_boot
from tests.page.inspector import inspect


async def test_a_good_bundle_is_good_and_its_curves_are_drawn(tab: Tab, verifier: Path) -> None:
    """Restarts, roll-overs of both kinds of keys, and every kind of entry that lawfully happens."""
    seen = await inspect(tab, verifier, honest().bundle())
    assert (seen.verdict, seen.faults) == ("good", [])
    assert seen.banner.startswith("GOOD")
    assert "2026-03-04 06:02:25 UTC" in seen.banner
    assert f"continues {BEFORE}, of which it cites 7 entries. 2 of the witnesses" in seen.text
    assert seen.marks == [[check, "ok"] for check in CHECKS]
    assert {(curve["sensor"], curve["quantity"]) for curve in seen.curves} == {
        (sensor, quantity) for sensor in ("cold-room", "ramp") for quantity in ("temperature", "humidity")
    }
    assert [curve["quantity"] for curve in seen.curves[:2]] == ["temperature"] * 2
    assert {(curve["sensor"], curve["gaps"]) for curve in seen.curves} == {("cold-room", "2"), ("ramp", "3")}
    assert "greatest 99 °C" in seen.text
    assert "1 flagged as doubtful" in seen.text
    assert await tab.run("document.getElementById('unproven').hidden") is True
    assert tab.errors == []


async def test_the_page_asks_nothing_of_the_network_and_keeps_its_policy(tab: Tab, verifier: Path) -> None:
    """All that is ever asked for is the page itself."""
    seen = await inspect(tab, verifier, honest().bundle())
    assert seen.violations == []
    assert tab.requests == [verifier.as_uri()]


@pytest.mark.parametrize("name", CASES)
async def test_a_false_bundle_is_refused_by_name(name: str, tab: Tab, verifier: Path) -> None:
    """Each way to tamper has its verdict, and the first bad entry is the right one."""
    mutate, verdict = CASES[name]
    story = honest()
    seq = mutate(story)
    seen = await inspect(tab, verifier, story.bundle())
    assert (seen.verdict, seen.seq) == (verdict, seq)
    assert seen.banner.startswith(f"NOT GOOD: {verdict}")
    assert await tab.run("document.getElementById('unproven').hidden") is False
    assert verdict in next(found for check, found in CHECKS.items() if check == seen.failing[0])
    assert tab.errors == []
    assert seen.violations == []


async def test_a_choice_of_entries_is_proven_by_hashes_for_the_rest(tab: Tab, verifier: Path) -> None:
    """Three stretches out of the log, deflated; what is not there is said to be not there."""
    story = honest()
    bundle = story.bundle([(10, 20), (77, 78), (150, 260)], compression=zipfile.ZIP_DEFLATED)
    seen = await inspect(tab, verifier, bundle)
    assert (seen.verdict, seen.faults) == ("good", [])
    assert "124 of 290: 0, 10–19, 77, 123, 150–259, 287" in seen.text
    assert "166 entries of this log are not in the bundle" in seen.text


async def test_a_changed_proof_does_not_lead_to_the_root(tab: Tab, verifier: Path) -> None:
    """The hashes that stand for other entries are held by the signed root."""
    story = honest()
    with zipfile.ZipFile(io.BytesIO(story.bundle([(150, 260)]))) as archive:
        proof = archive.read("proof")
    story.extra["proof"] = proof[:-1] + bytes([proof[-1] ^ 1])
    seen = await inspect(tab, verifier, story.bundle([(150, 260)]))
    assert (seen.verdict, seen.seq) == ("root-mismatch", len(story.entries) - 1)


async def test_in_mode_checkpoint_the_signed_tree_stands_for_the_signatures(tab: Tab, verifier: Path) -> None:
    """Entries carry none, but for those that change keys."""
    story = Story(mode="checkpoint").grow(40)
    story.roll_record()
    story.grow(5)
    story.note()
    assert (await inspect(tab, verifier, story.bundle())).verdict == "good"


async def test_in_mode_checkpoint_the_record_key_must_sign_each_checkpoint(tab: Tab, verifier: Path) -> None:
    """Without it nothing stands for the entries' signatures."""
    story = Story(mode="checkpoint").grow(40)
    story.mode = "record"
    story.note()
    story.mode = "checkpoint"
    seen = await inspect(tab, verifier, story.bundle())
    assert (seen.verdict, seen.seq) == ("bad-checkpoint", 40)


async def test_a_pruned_range_with_a_receipt_is_in_order(tab: Tab, verifier: Path) -> None:
    """The receipt that the prune entry carries covers what was pruned."""
    story = honest()
    pruned(50)(story)
    assert (await inspect(tab, verifier, story.bundle([(51, 291)]))).verdict == "good"


async def test_calibrated_readings_and_tables_from_before_them_are_good(tab: Tab, verifier: Path) -> None:
    """With indication and calibration in the table, and without these two columns."""
    story = Story()
    story.grow(5)
    story.read_calibrated()
    story.note()
    for table in (None, without_calibrations(table_of(story.entries))):
        story.table = table
        seen = await inspect(tab, verifier, story.bundle())
        assert (seen.verdict, seen.faults) == ("good", [])


async def test_a_counter_that_rises_is_in_order(tab: Tab, verifier: Path) -> None:
    """The chip's word holds under each of the log's keys, beyond what a number of the browser can hold."""
    story = honest()
    false_counts.rising(story)
    seen = await inspect(tab, verifier, story.bundle())
    assert (seen.verdict, seen.faults) == ("good", [])
    assert "2 at size 290; 4 certifications hold" in seen.text


async def test_a_start_on_a_clock_that_stepped_is_no_silence(tab: Tab, verifier: Path) -> None:
    """The gateway was down on one boot of its machine: first `clock`, then `boot`."""
    story = honest()
    down_on_one_boot(story, "boot")
    assert (await inspect(tab, verifier, story.bundle())).verdict == "good"


async def test_a_boot_in_1970_is_no_fault(tab: Tab, verifier: Path) -> None:
    """Its readings come in the order of the log, and a `clock` entry tells when time came."""
    story = honest()
    booted_in_1970(story)
    assert (await inspect(tab, verifier, story.bundle())).verdict == "good"


async def test_silence_within_what_was_promised_is_no_fault(tab: Tab, verifier: Path) -> None:
    """Two and a half heartbeats, as promised last, and five seconds, to the millisecond."""
    story = honest()
    story.pass_time(2.5 * 2 * HEARTBEAT_S + 5)
    story.seal("heartbeat", {"accepted": 1, "rejected": 0, "backlog": 0})
    story.note()
    assert (await inspect(tab, verifier, story.bundle())).verdict == "good"


@pytest.mark.parametrize("name", CONTAINERS)
async def test_a_damaged_container_is_refused(name: str, tab: Tab, verifier: Path) -> None:
    """What is no whole bundle is said to be damaged, and nothing else is claimed of it."""
    seen = await inspect(tab, verifier, CONTAINERS[name](honest().bundle()))
    assert (seen.verdict, seen.seq) == ("bundle-damaged", 0)
    assert {mark for _, mark in seen.marks[1:]} == {"skipped"}
    assert seen.curves == []


async def test_content_that_unpacks_to_more_than_it_says_is_refused(tab: Tab, verifier: Path) -> None:
    """A small file that would fill the memory is not unpacked."""
    bundle = zipped({"manifest.json": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    lie = bundle.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    seen = await inspect(tab, verifier, lie)
    assert seen.verdict == "bundle-damaged"
    assert "deflated content" in seen.text


async def test_what_a_bundle_says_never_becomes_markup(tab: Tab, verifier: Path) -> None:
    """A sensor whose name is a tag is shown as that name."""
    story = Story()
    story.read("<img src=x onerror=alert(1)>", "5.00")
    story.note()
    seen = await inspect(tab, verifier, story.bundle())
    assert seen.verdict == "good"
    assert "<img src=x onerror=alert(1)>" in seen.text
    assert await tab.run("document.images.length") == 0
    assert ORIGIN in seen.text
