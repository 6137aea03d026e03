"""A chip is bound once and for certain; each lie about a machine is refused with its own reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from coldseal.core.attestation.quotes import AttestationError, Quoted, question
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.service.attestation.references import ReferenceFile, References
from coldseal.service.attestation.states import FOLDER, Booted, States
from tests.core.event_log import APPLICATION, BLOB, BOOT, Told, write_log
from tests.service.counter import Fleet, Trial
from tests.signing.machines import BootedMachine, machine, roots
from tests.signing.software_tpm import software_tpm

OTHER_KERNEL = (*BOOT[:6], Told(4, APPLICATION, b"\0" * 32, b"other"), *BOOT[7:])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give the machines; making a chip takes a second."""
    folder = tmp_path_factory.mktemp("fleet")
    with (
        machine(folder / "one") as one,
        machine(folder / "two", ca=one.chip.ek_root.parent) as two,
        machine(folder / "foreign") as foreign,
    ):
        yield Fleet(one, two, foreign, roots(one, folder))


@pytest.fixture
def trial(tmp_path: Path, fleet: Fleet) -> Trial:
    """Give a desk of which nothing is known yet; the first machine has booted in the ordinary way."""
    fleet.one.event_log.write_bytes(write_log(BOOT))
    return Trial(tmp_path, fleet)


def test_a_chip_is_bound_and_its_machine_becomes_trusted(trial: Trial, fleet: Fleet) -> None:
    """Once an operator has taken its values for the release's."""
    trial.bind(fleet.one)
    bound = trial.desk.of("gw-1").bound
    assert bound is not None
    assert "swtpm" in bound.model

    assert trial.attest(fleet.one) == "unknown"
    trial.take_reference()
    assert trial.desk.of("gw-1").verdict == "trusted"
    assert trial.attest(fleet.one) == "trusted"
    assert trial.desk.of("gw-1").reason == "as release-1"


def test_what_is_known_survives_a_restart_of_the_service(trial: Trial, fleet: Fleet) -> None:
    """The chip, the verdict, the clock and the reference values."""
    trial.bind(fleet.one)
    trial.attest(fleet.one)
    trial.take_reference()
    before = trial.desk.of("gw-1")

    trial.desk = trial.open()
    assert trial.desk.of("gw-1") == before
    assert trial.attest(fleet.one) == "trusted"


def test_another_kernel_is_named_by_pcr_and_event(trial: Trial, fleet: Fleet) -> None:
    """And a planned one is trusted once its values are taken."""
    trial.bind(fleet.two)
    trial.attest(fleet.two)
    trial.take_reference()
    fleet.two.boot(OTHER_KERNEL)

    standing = trial.desk.attest("gw-1", trial.quoted(fleet.two))
    assert (standing.verdict, standing.reference) == ("changed", "release-1")
    (change,) = standing.changes
    assert change.startswith("PCR 4, event 2: EV_EFI_BOOT_SERVICES_APPLICATION")

    trial.take_reference("release-2")
    assert trial.attest(fleet.two) == "trusted"
    history = [each.verdict for each in trial.desk.of("gw-1").history]
    assert history == ["unknown", "unknown", "trusted", "changed", "trusted"]
    fleet.two.boot(BOOT)


# ---- binding


def _refused(trial: Trial, machine: BootedMachine, gateway: str = "gw-1", **changes: bytes) -> str:
    """Give the reason for which a chip is not bound."""
    with pytest.raises(AttestationError) as caught:
        trial.desk.enrol(gateway, machine.shown()._replace(**changes))
    assert trial.desk.of(gateway).verdict == "unknown"
    return caught.value.verdict


def test_a_chip_of_an_unknown_maker_is_refused(trial: Trial, fleet: Fleet) -> None:
    """Its certificate is as good as any, but nobody trusts who signed it."""
    assert _refused(trial, fleet.foreign) == "foreign-endorsement"


def test_the_certificate_of_another_chip_is_refused(trial: Trial, fleet: Fleet) -> None:
    """It is for another endorsement key."""
    other = fleet.two.shown()
    assert _refused(trial, fleet.one, certificate=other.certificate) == "bad-endorsement"


def test_an_unrestricted_key_is_no_attestation_key(trial: Trial, fleet: Fleet) -> None:
    """It would sign what its owner made up."""
    from tests.core.test_attestation_structures import VECTORS  # noqa: PLC0415 # a key of another chip will do

    key = bytes.fromhex(VECTORS["unrestricted"])
    assert _refused(trial, fleet.one, key=key) == "bad-attestation-key"


def test_only_the_chip_that_has_the_key_can_answer(trial: Trial, fleet: Fleet) -> None:
    """The endorsement of one chip with the attestation key of another is opened by neither."""
    challenge = trial.desk.enrol("gw-1", fleet.one.shown()._replace(key=fleet.two.shown().key))
    for each in (fleet.one, fleet.two):
        with pytest.raises((OperatorError, UnavailableError)):  # this software chip falls ill of a wrong key
            each.speaker.activate(challenge)
    fleet.two.boot(BOOT)

    with pytest.raises(AttestationError, match="wrong-chip"):
        trial.desk.activate("gw-1", bytes(32))
    assert trial.desk.of("gw-1").bound is None


def test_a_challenge_counts_once_and_not_for_long(trial: Trial, fleet: Fleet) -> None:
    """Nothing is bound by guessing, nor later."""
    with pytest.raises(AttestationError, match="old-challenge"):
        trial.desk.activate("gw-1", bytes(32))
    secret = fleet.one.speaker.activate(trial.desk.enrol("gw-1", fleet.one.shown()))
    trial.now += trial.settings.nonce_s + 1
    with pytest.raises(AttestationError, match="old-challenge"):
        trial.desk.activate("gw-1", secret)


def test_another_chip_is_bound_only_after_an_operator_has_forgotten_the_first(
    trial: Trial, fleet: Fleet
) -> None:
    """Whoever has a gateway's certificate cannot bring a machine of his own."""
    trial.bind(fleet.one)
    assert _refused(trial, fleet.two) == "another-chip"

    trial.now += 1
    trial.decide("forget")
    assert trial.desk.of("gw-1").bound is None
    trial.now += 1
    trial.bind(fleet.two)
    trial.decide("default")
    assert trial.attest(fleet.two) == "unknown"


def test_a_chip_is_of_one_gateway(trial: Trial, fleet: Fleet) -> None:
    """It cannot speak for a second one."""
    trial.bind(fleet.one)
    assert _refused(trial, fleet.one, "gw-2") == "chip-taken"


def test_the_same_chip_may_be_shown_again(trial: Trial, fleet: Fleet) -> None:
    """What is known of it stays."""
    trial.bind(fleet.one)
    trial.attest(fleet.one)
    trial.take_reference()
    trial.bind(fleet.one)
    assert trial.desk.of("gw-1").verdict == "trusted"


# ---- quotes


def test_a_gateway_without_a_chip_is_not_believed(trial: Trial, fleet: Fleet) -> None:
    """Nothing is bound."""
    assert trial.reason(trial.quoted(fleet.one)) == "not-bound"


def test_a_forged_quote_is_refused(trial: Trial, fleet: Fleet) -> None:
    """By a key of the forger's own, over a statement as the chip would make it."""
    trial.bind(fleet.one)
    quoted = trial.quoted(fleet.one)
    forger = ec.generate_private_key(ec.SECP256R1())
    r, s = decode_dss_signature(forger.sign(quoted.attest, ec.ECDSA(hashes.SHA256())))
    forged = bytes.fromhex("0018000b") + b"".join(b"\0\x20" + each.to_bytes(32) for each in (r, s))

    assert trial.reason(quoted._replace(signature=forged)) == "bad-signature"


def test_a_replayed_quote_is_refused(trial: Trial, fleet: Fleet) -> None:
    """Each nonce counts once, and only the newest one."""
    trial.bind(fleet.one)
    quoted = trial.quoted(fleet.one)
    trial.desk.attest("gw-1", quoted)

    assert trial.reason(quoted) == "wrong-nonce"
    trial.desk.ask("gw-1")
    assert trial.reason(quoted) == "wrong-nonce"


def test_a_late_quote_is_refused(trial: Trial, fleet: Fleet) -> None:
    """A nonce does not wait."""
    trial.bind(fleet.one)
    quoted = trial.quoted(fleet.one)
    trial.now += trial.settings.nonce_s + 1
    assert trial.reason(quoted) == "old-nonce"


def test_the_quote_of_another_gateway_is_refused(trial: Trial, fleet: Fleet) -> None:
    """By another chip; or by this one in answer to another gateway's question."""
    trial.bind(fleet.one)
    trial.bind(fleet.two, "gw-2")
    nonce = trial.desk.ask("gw-1")
    assert trial.reason(fleet.two.speaker.quoted("gw-1", nonce)) == "bad-signature"
    nonce = trial.desk.ask("gw-1")
    assert trial.reason(fleet.one.speaker.quoted("gw-2", nonce)) == "wrong-nonce"


def test_a_quote_of_too_few_pcrs_is_refused(trial: Trial, fleet: Fleet) -> None:
    """The service says which must be covered."""
    trial.bind(fleet.one)
    stated = fleet.one.speaker._chip.quote(question("gw-1", trial.desk.ask("gw-1")), (0, 2, 4))
    assert trial.reason(Quoted(*stated, write_log(BOOT))) == "wrong-pcrs"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        pytest.param(OTHER_KERNEL, "log-mismatch", id="an event is another"),
        pytest.param(BOOT[:-1], "log-mismatch", id="an event is gone"),
        pytest.param((*BOOT, BOOT[-1]), "log-mismatch", id="an event is added"),
        pytest.param((BOOT[2], BOOT[1], BOOT[0], *BOOT[3:]), "log-mismatch", id="two have changed places"),
    ],
)
def test_an_edited_event_log_is_refused(
    trial: Trial, fleet: Fleet, told: tuple[Told, ...], reason: str
) -> None:
    """The chip knows what was measured."""
    trial.bind(fleet.one)
    assert trial.reason(trial.quoted(fleet.one)._replace(log=write_log(told))) == reason


def test_edited_values_are_refused(trial: Trial, fleet: Fleet) -> None:
    """With a log to match: the quote has another digest."""
    trial.bind(fleet.one)
    quoted = trial.quoted(fleet.one)
    values = {**quoted.values, 4: quoted.values[2]}
    assert trial.reason(quoted._replace(values=values)) == "wrong-values"


def test_a_text_that_its_digest_does_not_cover_is_refused(trial: Trial, fleet: Fleet) -> None:
    """Where firmware measures the text itself, it cannot be another."""
    trial.bind(fleet.one)
    lie = (*BOOT[:4], BOOT[4]._replace(content=b"Calling nobody", measured=BOOT[4].content), *BOOT[5:])
    with pytest.raises(InputError, match="what its digest covers"):
        trial.desk.attest("gw-1", trial.quoted(fleet.one)._replace(log=write_log(lie)))


def test_a_chip_whose_state_was_put_back_is_refused(tmp_path: Path, trial: Trial, fleet: Fleet) -> None:
    """Its restarts are counted, and fewer than before cannot be."""
    with software_tpm(tmp_path / "chip", ca=fleet.one.chip.ek_root.parent) as chip:
        copied = BootedMachine(chip, tmp_path)
        trial.bind(copied, "gw-9")
        chip.stop()
        shutil.copytree(tmp_path / "chip" / "state", tmp_path / "old")
        copied.boot(BOOT)
        copied.boot(BOOT)
        trial.attest(copied, "gw-9")
        trial.take_reference(gateway="gw-9")
        chip.stop()
        shutil.rmtree(tmp_path / "chip" / "state")
        shutil.copytree(tmp_path / "old", tmp_path / "chip" / "state")
        copied.boot(BOOT)

        assert trial.reason(trial.quoted(copied, "gw-9"), "gw-9") == "clock-back"
        assert trial.desk.of("gw-9").verdict == "unknown"


def test_what_is_refused_takes_trust_away_and_is_on_record(trial: Trial, fleet: Fleet) -> None:
    """But not what may happen to anybody, such as an answer that comes too late."""
    trial.bind(fleet.one)
    trial.attest(fleet.one)
    trial.take_reference()
    quoted = trial.quoted(fleet.one)
    trial.now += trial.settings.nonce_s + 1
    assert trial.reason(quoted) == "old-nonce"
    assert trial.desk.of("gw-1").verdict == "trusted"

    assert trial.reason(trial.quoted(fleet.one)._replace(log=b"")) == "log-mismatch"
    found = trial.desk.of("gw-1")
    assert (found.verdict, found.history[-1].verdict) == ("unknown", "unknown")
    assert "log-mismatch" in found.reason
    trial.take_reference("again")
    assert trial.desk.of("gw-1").verdict == "unknown"
    assert trial.attest(fleet.one) == "trusted"


# ---- the way back to a certificate


def _recovery(trial: Trial, machine: BootedMachine, gateway: str = "gw-1") -> Quoted:
    """Have a machine answer a nonce for recovery."""
    return machine.speaker.quoted(gateway, trial.desk.ask(gateway, "recovery"), "recovery")


def test_a_chip_is_a_way_back_to_a_certificate(trial: Trial, fleet: Fleet) -> None:
    """For the hosts that the gateway had when it attested last."""
    trial.bind(fleet.one)
    trial.desk.attest("gw-1", trial.quoted(fleet.one), ("gw-1.example",))

    assert trial.desk.recover("gw-1", _recovery(trial, fleet.one)) == ("gw-1.example",)
    assert trial.desk.of("gw-1").hosts == ("gw-1.example",)


def test_only_the_bound_chip_finds_the_way_back(trial: Trial, fleet: Fleet) -> None:
    """Nobody else does, and whoever tries changes nothing: anybody may ask."""
    with pytest.raises(AttestationError, match="not-bound"):
        trial.desk.ask("gw-1", "recovery")
    trial.bind(fleet.one)
    trial.attest(fleet.one)
    trial.take_reference()
    before = trial.desk.of("gw-1")
    of_another = _recovery(trial, fleet.two)
    with pytest.raises(AttestationError, match="bad-signature"):
        trial.desk.recover("gw-1", of_another)
    session = fleet.one.speaker.quoted("gw-1", trial.desk.ask("gw-1", "recovery"))
    with pytest.raises(AttestationError, match="wrong-nonce"):
        trial.desk.recover("gw-1", session)
    assert trial.desk.of("gw-1") == before


def test_a_changed_machine_finds_no_way_back_by_itself(trial: Trial, fleet: Fleet) -> None:
    """Somebody must look at it first."""
    trial.bind(fleet.two)
    trial.attest(fleet.two)
    trial.take_reference()
    fleet.two.boot(OTHER_KERNEL)
    with pytest.raises(AttestationError, match="changed: the machine booted something else"):
        trial.desk.recover("gw-1", _recovery(trial, fleet.two))
    assert trial.desk.of("gw-1").verdict == "changed"
    fleet.two.boot(BOOT)


# ---- reference values and time


def test_trust_does_not_last(trial: Trial, fleet: Fleet) -> None:
    """A quote is as good as it is fresh; a machine that was found changed stays so."""
    trial.bind(fleet.one)
    trial.attest(fleet.one)
    trial.take_reference()
    trial.now += round(trial.settings.max_age_h * 3600) + 1
    trial.desk.refresh()

    assert trial.desk.of("gw-1").verdict == "unknown"
    assert trial.desk.of("gw-1").reason == "the last quote is too old"
    assert trial.attest(fleet.one) == "trusted"


def test_reference_values_taken_away_take_trust_away(trial: Trial, fleet: Fleet) -> None:
    """At once, by what is known of the last quote."""
    trial.bind(fleet.one)
    trial.attest(fleet.one)
    trial.take_reference()
    References(trial.folder).remove("release-1")
    trial.desk.refresh()

    assert trial.desk.of("gw-1").verdict == "unknown"
    assert trial.desk.of("gw-1").reason == "no reference values apply to it"


def test_reference_values_that_cannot_be_read_leave_those_before(trial: Trial, fleet: Fleet) -> None:
    """It is said, and nobody loses trust by it."""
    trial.bind(fleet.one)
    trial.attest(fleet.one)
    trial.take_reference()
    (trial.folder / "references" / "broken.json").write_text("{")
    trial.desk.refresh()

    assert trial.desk.of("gw-1").verdict == "trusted"
    with pytest.raises(OperatorError, match=r"broken\.json cannot be read"):
        trial.open()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_reference_has_a_plain_name(trial: Trial, name: str) -> None:
    """It is a file's."""
    file = ReferenceFile(
        name=name, gateways=("*",), booted=Booted(values={}), source="gw", who="x", why="y", t=0
    )
    with pytest.raises(OperatorError, match="cannot be a reference's name"):
        References(trial.folder).add(file)


def test_a_reference_that_is_not_there_cannot_be_removed(trial: Trial) -> None:
    """The known ones are named."""
    with pytest.raises(OperatorError, match="Known are: none"):
        References(trial.folder).remove("release-1")


@pytest.mark.parametrize("kind", [States, References])
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, kind: type[States | References]) -> None:
    """With what to do."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(OperatorError, match="cannot be made"):
        kind(tmp_path / "data")


def test_a_broken_state_stops_the_start(trial: Trial) -> None:
    """Nobody is forgotten without a word."""
    (trial.folder / FOLDER / "gw-1.json").write_text("{}")
    with pytest.raises(OperatorError, match=r"gw-1\.json cannot be read"):
        trial.open()


def test_the_history_of_a_gateway_is_bounded(trial: Trial, fleet: Fleet) -> None:
    """The newest hundred things that happened are kept."""
    trial.bind(fleet.one)
    for _ in range(120):
        trial.desk.refuse("gw-1", AttestationError("wrong-nonce", "again"))
    assert len(trial.desk.of("gw-1").history) == 100


def test_a_firmware_that_measures_nothing_known_is_still_held_to_its_values(
    trial: Trial, fleet: Fleet
) -> None:
    """A machine without any event has all its PCRs at their first value, and is changed if it should have."""
    trial.bind(fleet.two)
    fleet.two.boot(BOOT)
    trial.attest(fleet.two)
    trial.take_reference()
    fleet.two.boot([Told(0, BLOB, b"", b"evil firmware")])
    standing = trial.desk.attest("gw-1", trial.quoted(fleet.two))

    assert standing.verdict == "changed"
    assert [each[:5] for each in standing.changes] == ["PCR 0", "PCR 4", "PCR 7", "PCR 8"]
    fleet.two.boot(BOOT)
