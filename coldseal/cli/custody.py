"""`coldseal gateway custody`: what an asset has used up goes with it to the next gateway, as a signed file.

The file is the proof of one entry of the log that hands over (C2SP tlog-proof): the entry states the figures,
its log's keys sign it, and whoever takes over verifies that before a second goes on record.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.cli.output import print_facts, print_json
from coldseal.errors import OperatorError, UnavailableError

if TYPE_CHECKING:
    from coldseal.core.log.canonical import Value
    from coldseal.core.log.keys import KeyHistory
    from coldseal.gateway.config import GatewayConfig

MAX_FILE: Final = 1 << 20
"""Bytes of a custody file; one entry and its proof are far less."""

_LOOK_S: Final = 0.5


def export(
    config: Path,
    asset: str,
    output: Path,
    /,
    *,
    who: str,
    why: str,
    seq: int | None = None,
    receipt_s: float = 0,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """State what an asset has used up, in the log, and write the statement with its proof to a file.

    Args:
        config: gateway.toml.
        asset: its name here.
        output: the new file; must not exist. Send it along with the product.
        who: who hands over.
        why: to whom, and on what occasion.
        seq: write the file of an earlier statement again, such as for a receipt that has come since.
        receipt_s: wait so many seconds for the service's receipt, so that the file bears a witness's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.changing import seal_change
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask

    settings = load_gateway(config, set_ or ())
    if output.exists():
        raise OperatorError(f"{output} exists already", "Name another file")
    if seq is None:
        said: dict[str, Value] = {"custody": {"asset": asset}, "who": who, "why": why}
        seq = seal_change(settings, "export", said).seq
        ask(place_of_control(settings), {"do": "checkpoint"})
    size, signers = _write(settings, config, seq, output, receipt_s)
    facts = {"asset": asset, "file": str(output), "seq": seq, "size": size, "signed_by": signers}
    if as_json:
        print_json(facts)
    else:
        print_facts({**facts, "signed_by": ", ".join(signers)})
    return 0


def _write(
    settings: "GatewayConfig", config: Path, seq: int, output: Path, receipt_s: float
) -> tuple[int, list[str]]:
    """Write the proof of a statement; gives the size that its checkpoint covers, and who signed that."""
    from coldseal.core.log.checkpoint import parse_note

    until = time.monotonic() + receipt_s
    while (found := _prove(settings, config, seq, is_last=time.monotonic() >= until)) is None:
        time.sleep(_LOOK_S)
    size, note, proof = found
    try:
        with output.open("xb") as file:
            file.write(proof)
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}", "Name another file") from error
    return size, [*dict.fromkeys(line.name for line in parse_note(note).signatures)]


def _prove(
    settings: "GatewayConfig", config: Path, seq: int, *, is_last: bool
) -> tuple[int, bytes, bytes] | None:
    """Give size, checkpoint and proof of a statement; None where waiting may bring a better one.

    Raises:
        OperatorError, InputError: the entry is not here, or states nothing.
        UnavailableError: no checkpoint covers it yet, and nobody waits.
    """
    from coldseal.cli.sources import open_source
    from coldseal.core.coldchain.custody import require_statement
    from coldseal.core.log.merkle import inclusion_proof
    from coldseal.core.log.proof import encode_proof
    from coldseal.core.log.record import parse_entry
    from coldseal.evidence.source import Blocks, is_cosigned, size_of

    with closing(open_source(config, settings.gateway.origin)) as source:
        if not source.begin <= seq < source.size:
            raise OperatorError(
                f"there is no entry {seq}", f"The log has {source.begin} to {source.size - 1}"
            )
        over = [note for note in source.notes() if size_of(note) > seq]
        witnessed = [note for note in over if is_cosigned(note, source.policy)]
        if not witnessed and not is_last:
            return None
        if not over:
            raise UnavailableError("the checkpoint", "none covers the statement yet: give --seq later")
        note = min(witnessed or over, key=size_of)
        blocks, size = Blocks(source), size_of(note)
        (raw,) = blocks.entries(seq, seq + 1)
        require_statement(parse_entry(raw))
        return size, note, encode_proof(seq, inclusion_proof(seq, size, blocks.nodes), note, raw)


def import_(
    config: Path,
    file: Path,
    /,
    *,
    keys: Path,
    who: str,
    why: str,
    asset: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Verify what an earlier gateway states of an asset, and count it here from now on.

    The same statement counts once. What is not signed by the keys given, or not in the log that it names,
    changes nothing.

    Args:
        config: gateway.toml of the gateway that takes over.
        file: the custody file.
        keys: public keys of the gateway that hands over: its admission.json, or, where its keys were changed
            since, an evidence bundle of its log that you have verified.
        who: who takes over.
        why: on what occasion.
        asset: its name here; without it, the name that it had there.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.custody import claim_data, open_leg
    from coldseal.gateway.changing import seal_change
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    try:
        data = file.read_bytes()
    except OSError as error:
        raise OperatorError(f"{file} cannot be read: {error.strerror}", "Name a custody file") from error
    if len(data) > MAX_FILE:
        raise OperatorError(f"{file} is longer than {MAX_FILE} bytes", "Name a custody file")
    history, mode = history_of_keys(keys)
    leg = open_leg(data, history, mode)
    if leg.origin == settings.gateway.origin:
        hint = "What an asset used up here counts here already"
        raise OperatorError(f"{file} is this gateway's own statement", hint)
    claim = claim_data(data, history, mode, asset or leg.asset)
    sealed = seal_change(settings, "import", {"custody": claim, "who": who, "why": why})
    facts = {
        **sealed._asdict(),
        "asset": asset or leg.asset,
        "from": f"{leg.origin}, entry {leg.seq}",
        "stated": leg.t,
        "signed_by": [*leg.signers],
    }
    if as_json:
        print_json(facts)
    else:
        print_facts({**facts, "signed_by": ", ".join(leg.signers)})
    return 0


def history_of_keys(path: Path) -> "tuple[KeyHistory, str]":
    """Read the public keys of a log: from its description, or with all changes from an evidence bundle.

    Raises:
        OperatorError, InputError, TrustError: it is neither, or damaged.
    """
    import zipfile

    from coldseal.core.log.keys import KeyHistory, Keys, history_of
    from coldseal.core.log.verifier import Algorithm, VerifierKey
    from coldseal.evidence.policies import read_policy

    if not path.is_file() or not zipfile.is_zipfile(path):
        policy = read_policy(path)
        record = VerifierKey(policy.origin, Algorithm.ECDSA, policy.record_key).public
        return KeyHistory(policy.origin, Keys(record, policy.checkpoint_keys)), policy.mode
    from coldseal.evidence.reader import Archive, open_bundle
    from coldseal.evidence.work import Scanned

    bundle = open_bundle(path)
    with closing(Archive(path)) as archive:
        settings = Scanned(bundle.files, tuple(bundle.sums[file.name] for file in bundle.files))(archive)
    return history_of(bundle.policy.origin, settings), bundle.policy.mode


COMMANDS: Final = (export, import_)
