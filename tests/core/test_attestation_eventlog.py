"""The firmware's event log is read strictly, and replays to what the PCRs hold."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.attestation.eventlog import (
    MAX_EVENT,
    MAX_EVENTS,
    MAX_LOG,
    EventLog,
    LoggedEvent,
    parse_log,
    replay,
)
from coldseal.core.attestation.structures import Algorithm
from coldseal.errors import InputError
from tests.core.event_log import (
    ACTION,
    APPLICATION,
    BLOB,
    BOOT,
    DRIVER_CONFIG,
    IPL,
    SEPARATOR,
    SHA1,
    SHA256,
    SHA384,
    Told,
    measured,
    no_action,
    variable,
    write_event,
    write_log,
)

PCRS = (0, 2, 4, 7, 8)


def test_a_log_replays_to_what_was_measured() -> None:
    """Each PCR by its own events, in their order."""
    assert replay(parse_log(write_log(BOOT)), PCRS) == measured(BOOT, PCRS)


@given(
    st.lists(
        st.builds(
            Told,
            st.integers(0, 16),
            st.sampled_from([BLOB, SEPARATOR, IPL, ACTION, 0x7FFF0000]),
            st.binary(max_size=40),
            st.none(),
        ),
        max_size=12,
    ),
    st.sampled_from([None, 0, 3, 4]),
)
def test_any_log_replays_to_what_was_measured(told: list[Told], locality: int | None) -> None:
    """Whatever it holds, from whichever locality the machine started."""
    log = parse_log(write_log(told, locality=locality))

    assert [(each.pcr, each.kind, each.content) for each in log.events] == [each[:3] for each in told]
    assert replay(log, range(17)) == measured(told, range(17), locality=locality or 0)


def test_the_bank_that_was_asked_for_is_taken() -> None:
    """A log has digests for several."""
    log = parse_log(write_log(BOOT, algorithms=(SHA256, SHA384)), Algorithm.SHA384)

    assert log.events[0].digest == BOOT[0].digest(SHA384)
    assert len(replay(log, [4])[4]) == 48


def test_a_machine_that_measured_nothing_has_its_first_values() -> None:
    """Zeros, and ones where only a dynamic launch begins anew."""
    values = replay(parse_log(b""), (0, 16, 17, 22, 23))

    assert values == {0: bytes(32), 16: bytes(32), 17: b"\xff" * 32, 22: b"\xff" * 32, 23: bytes(32)}


def test_an_independent_tool_reads_the_same_values(tmp_path: Path) -> None:
    """tpm2_eventlog, of the TPM tools, replays the log of our writer."""
    tool = shutil.which("tpm2_eventlog")
    if tool is None:
        pytest.skip("no tpm2_eventlog: apt-get install tpm2-tools")
    path = tmp_path / "log"
    path.write_bytes(write_log(BOOT))
    out = subprocess.run([tool, str(path)], capture_output=True, text=True, check=True).stdout

    said = out.partition("pcrs:")[2].partition("sha256:")[2]
    found = {
        int(line.partition(":")[0]): line.partition(": 0x")[2] for line in said.splitlines() if ": 0x" in line
    }
    values = replay(parse_log(path.read_bytes()), sorted(found))
    assert {pcr: value.hex() for pcr, value in values.items()} == found
    assert set(found) == {0, 4, 7, 8}


def test_a_log_cut_anywhere_is_refused_or_ends_before_an_event() -> None:
    """What is cut between two events is found by its replay."""
    whole = write_log(BOOT)
    places = {len(write_log(BOOT[:count])) for count in range(len(BOOT) + 1)}
    for end in range(1, len(whole)):
        if end in places:
            assert replay(parse_log(whole[:end]), PCRS) != measured(BOOT, PCRS)
            continue
        with pytest.raises(InputError):
            parse_log(whole[:end])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        pytest.param(bytes(MAX_LOG + 1), "length", id="too long"),
        pytest.param(struct.pack("<II", 1, 3) + bytes(24), "first event", id="head in another PCR"),
        pytest.param(struct.pack("<II", 0, 4) + bytes(24), "first event", id="head is an event"),
        pytest.param(write_log((), signature=b"Spec ID Event02\0"), "signature", id="old form"),
        pytest.param(write_log((), count=0), "numberOfAlgorithms", id="no bank"),
        pytest.param(write_log((), count=25), "numberOfAlgorithms", id="too many banks"),
        pytest.param(write_log((), sizes={SHA256: 20}), "digestSize of sha256", id="wrong size"),
        pytest.param(write_log((), algorithms=(SHA1,)), "algorithms", id="only SHA-1"),
        pytest.param(write_log([Told(24, BLOB, b"")]), "pcrIndex of event 0", id="PCR 24"),
        pytest.param(
            write_log(()) + write_event(BOOT[0], (SHA256,)), "digests of event 0", id="a digest is missing"
        ),
        pytest.param(
            write_log(()) + write_event(BOOT[0], (SHA256, SHA256)), "algorithmId of event 0", id="twice"
        ),
        pytest.param(
            write_log(()) + write_event(BOOT[0], (SHA1, SHA384)), "algorithmId of event 0", id="another bank"
        ),
        pytest.param(
            write_log([Told(0, BLOB, bytes(MAX_EVENT + 1))]), "eventSize of event 0", id="endless text"
        ),
        pytest.param(write_log([Told(0, BLOB, b"")] * (MAX_EVENTS + 1)), "events", id="too many events"),
        pytest.param(
            write_log([Told(7, DRIVER_CONFIG, variable("SecureBoot"), b"other")]),
            "text of event 0",
            id="text",
        ),
        pytest.param(write_log((), locality=2), "StartupLocality", id="locality 2"),
        pytest.param(
            write_log(BOOT) + no_action(b"StartupLocality\0\x03"), "StartupLocality", id="locality too late"
        ),
        pytest.param(
            write_log(()) + no_action(b"StartupLocality\0"), "StartupLocality", id="locality without value"
        ),
    ],
)
def test_a_malformed_log_is_refused_by_the_name_of_the_field(content: bytes, field: str) -> None:
    """With what was expected."""
    with pytest.raises(InputError) as caught:
        parse_log(content)
    assert caught.value.field == field


def test_what_is_measured_nowhere_is_left_out() -> None:
    """Whatever such an event says."""
    log = parse_log(write_log(BOOT) + no_action(b"SP800-155 Event\0"))

    assert len(log.events) == len(BOOT)


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        (IPL, b"grub_cmd: set\x1b\n\0", "EV_IPL grub_cmd: set??"),
        (DRIVER_CONFIG, variable("SecureBoot"), "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot"),
        (DRIVER_CONFIG, b"short", "EV_EFI_VARIABLE_DRIVER_CONFIG"),
        (ACTION, b"Calling", "EV_EFI_ACTION Calling"),
        (APPLICATION, b"anything", "EV_EFI_BOOT_SERVICES_APPLICATION"),
        (0x1234, b"", "0x00001234"),
        (IPL, b"x" * 500, "EV_IPL " + "x" * 100),
    ],
)
def test_an_event_is_named_for_a_person(kind: int, content: bytes, text: str) -> None:
    """By its type, and what of its text can be read."""
    assert LoggedEvent(0, 4, kind, b"", content).render() == text


def test_a_log_is_a_value() -> None:
    """Equal where it says the same."""
    assert parse_log(write_log(())) == EventLog(Algorithm.SHA256, 0, ())
