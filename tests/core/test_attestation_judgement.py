"""A machine is trusted, changed or unknown; a change is named by its PCR and its first event."""

from __future__ import annotations

from coldseal.core.attestation.eventlog import parse_log, replay
from coldseal.core.attestation.judgement import Finding, Reference, State, judge
from coldseal.core.attestation.quotes import Verified
from coldseal.core.attestation.structures import ClockInfo
from tests.core.event_log import APPLICATION, BOOT, Told, write_log

PCRS = (0, 4, 7, 8)


def _state(told: tuple[Told, ...], pcrs: tuple[int, ...] = PCRS) -> State:
    """Give what a machine that booted so is known by."""
    log = parse_log(write_log(told))
    return State.of(Verified(replay(log, pcrs), log, ClockInfo(0, 0, 0, is_safe=True), 0))


def _reference(name: str, told: tuple[Told, ...] = BOOT, *gateways: str) -> Reference:
    """Give the reference values of a boot."""
    return Reference(name, gateways or ("*",), _state(told))


OTHER_KERNEL = (*BOOT[:6], Told(4, APPLICATION, b"\0" * 32, b"other"), *BOOT[7:])


def test_a_machine_that_booted_as_its_release_is_trusted() -> None:
    """By the reference that it meets, whichever others there are."""
    references = [_reference("old", OTHER_KERNEL), _reference("new")]

    assert judge("gw-1", _state(BOOT), references) == Finding("trusted", "new")


def test_a_change_is_named_by_pcr_and_first_event() -> None:
    """What was expected there, and what was found."""
    found = judge("gw-1", _state(OTHER_KERNEL), [_reference("one")])

    assert (found.verdict, found.reference) == ("changed", "one")
    (change,) = found.changes
    assert (change.pcr, change.place) == (4, 2)
    assert change.expected_event.startswith("EV_EFI_BOOT_SERVICES_APPLICATION")
    assert change.expected_event != change.found_event
    assert change.render().startswith("PCR 4, event 2: EV_EFI_BOOT_SERVICES_APPLICATION (")


def test_an_event_too_few_or_too_many_is_named_too() -> None:
    """Nothing more was measured, or nothing more should have been."""
    (fewer,) = judge("gw-1", _state(BOOT[:-1]), [_reference("one")]).changes
    (more,) = judge("gw-1", _state((*BOOT, BOOT[-1])), [_reference("one")]).changes

    assert (fewer.pcr, fewer.place, fewer.found_event) == (8, 0, "")
    assert (more.pcr, more.place, more.expected_event) == (8, 1, "")
    assert "nothing more; expected EV_IPL" in fewer.render()
    assert "expected nothing more" in more.render()


def test_of_references_that_differ_the_nearest_one_is_named() -> None:
    """The one with the fewest PCRs that differ."""
    far = (Told(0, BOOT[0].kind, b"", b"other firmware"), *BOOT[1:6])
    found = judge(
        "gw-1", _state(OTHER_KERNEL), [_reference("far", far), _reference("near"), _reference("f", far)]
    )

    assert found.reference == "near"


def test_without_a_reference_that_applies_nothing_is_known() -> None:
    """None at all, or only of other gateways."""
    assert judge("gw-1", _state(BOOT), []) == Finding("unknown", "")
    assert judge("gw-1", _state(BOOT), [_reference("one", BOOT, "truck-*")]) == Finding("unknown", "")


def test_a_pcr_that_was_not_quoted_counts_as_changed() -> None:
    """What is not shown is not trusted."""
    found = judge("gw-1", _state(BOOT, (0, 4)), [_reference("one")])

    assert [each.pcr for each in found.changes] == [7, 8]


def test_events_of_other_pcrs_are_not_kept() -> None:
    """Only what a quote covers is known."""
    assert {each.pcr for each in _state(BOOT, (4,)).events} == {4}
