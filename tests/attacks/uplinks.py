"""Attacks by the service, a witness or the network on what the gateway believes to be delivered."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable

from coldseal.core.log.checkpoint import (
    Checkpoint,
    Note,
    add_signature,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.cosigning import begin, parse_answer, settle
from coldseal.core.log.delivery.wire import Answer, Gap, Receipt, Stale, parse_batch
from coldseal.signing.keys import Ed25519Signer, generate_interop_key, open_ed25519
from tests.attacks.attack import Attack, Caught, Play, Stage, Where, Who
from tests.attacks.services import HELD, witnessing
from tests.gateway.uplink.deliveries import RETRY, delivering_by, grown
from tests.sealed import COSIGNED, ORIGIN, WITNESS, SealedLog, witness_key
from tests.service.test_witnessing import request
from tests.trial import Site
from tests.waiting import until

Reply = Callable[[bytes, Ed25519Signer], Answer]
"""What the dishonest side answers to a batch's checkpoint; it may have the service's own key."""


def answered(*replies: Reply) -> Play:
    """Deliver to somebody who answers like this, the last one again and again; give what was kept."""

    async def play(stage: Stage) -> Caught:
        site, log = Site(stage.folder), grown(SealedLog(), 20, 20)
        await site.store(log)
        signer = open_ed25519("file:witness.pem", base=site.service)
        left = list(replies)

        async def post(body: bytes, sent: asyncio.Event) -> Answer:
            sent.set()
            reply = left.pop(0) if len(left) > 1 else left[0]
            return reply(parse_batch(body).note, signer)

        async with delivering_by(site, post, batch_entries=HELD) as up:
            cosignatures = up.receipts.cosignatures

            async def is_kept() -> bool:
                return bool(await up.uplink.aside(cosignatures.evidence))

            await until(is_kept)
            return Caught((await up.uplink.aside(cosignatures.evidence))[0].verdict)

    return play


def receipt(checkpoint: Checkpoint, signer: Ed25519Signer) -> Receipt:
    """Cosign a checkpoint that the log never signed; a receipt needs the witness's line alone."""
    text = checkpoint.text()
    line = signer.cosign(WITNESS, text, COSIGNED)
    return Receipt(Note(text, (line,)).encode(), checkpoint.size, 0, ())


def stated(note: bytes) -> Checkpoint:
    """Read the checkpoint that was sent."""
    return parse_checkpoint_text(parse_note(note).text)


def too_much(note: bytes, signer: Ed25519Signer) -> Answer:
    """The service cosigns a tree of more entries than it was sent."""
    return receipt(Checkpoint(ORIGIN, stated(note).size + 1, bytes(32)), signer)


def far_ahead(note: bytes, signer: Ed25519Signer) -> Answer:
    """The service says that it holds more entries than the log has."""
    del note, signer
    return Stale(1_000)


def another_tree(note: bytes, signer: Ed25519Signer) -> Answer:
    """The service cosigns another root at the size that it was sent."""
    return receipt(Checkpoint(ORIGIN, stated(note).size, bytes(32)), signer)


def thrown_away(note: bytes, signer: Ed25519Signer) -> Answer:
    """The service gives a good receipt, stores nothing, and cannot go on from there."""
    sent = stated(note)
    line = signer.cosign(WITNESS, sent.text(), COSIGNED)
    return Receipt(add_signature(note, line), sent.size, 0, ())


def begins_anew(note: bytes, signer: Ed25519Signer) -> Answer:
    """The service has nothing."""
    del note, signer
    return Gap(0)


def without_key(note: bytes, signer: Ed25519Signer) -> Answer:
    """Somebody on the line makes up a receipt in the service's name, with a key of his own."""
    del signer
    return thrown_away(note, Ed25519Signer(generate_interop_key()))


async def rolled_back(stage: Stage) -> Caught:
    """A witness is restored from a backup that was made before it cosigned last."""
    site, log = Site(stage.folder), SealedLog().grow(2 * HELD)
    data, backup = site.service / "data", site.service / "backup"
    async with witnessing(site, log) as (add, _):
        await add(request(log, 0, HELD))
    shutil.copytree(data, backup)
    async with witnessing(site, log) as (add, _):
        await add(request(log, HELD, log.size))
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    longer = log.copy().grow(1)
    async with witnessing(site, log) as (add, _):
        said = await add(request(longer, log.size, longer.size))
    sent = Checkpoint(ORIGIN, longer.size, longer.chain.tree.root())
    answer = parse_answer(said.status, said.body)
    _, step = settle(begin(log.size), sent, answer, witness_key(), RETRY, log_size=longer.size, chance=0.5)
    return Caught("" if step.alarm is None else step.alarm.verdict)


def of(line: str, who: Who, verdict: str, *replies: Reply) -> Attack:
    """Take a case at the uplink."""
    how = " ".join((replies[0].__doc__ or "").split())
    return Attack(line, who, how, Where.UPLINK, verdict, answered(*replies))


ACKNOWLEDGED = "service acknowledging more than it stored"

ATTACKS: dict[str, Attack] = {
    "receipt for more than was sent": of(ACKNOWLEDGED, Who.SERVICE, "over-acknowledged", too_much),
    "claim to hold more than there is": of(ACKNOWLEDGED, Who.SERVICE, "over-acknowledged", far_ahead),
    "receipt for another tree": of(ACKNOWLEDGED, Who.SERVICE, "receipt-wrong-root", another_tree),
    "receipt for what was not stored": of(
        ACKNOWLEDGED, Who.SERVICE, "witness-rolled-back", thrown_away, begins_anew
    ),
    "receipt made up on the line": of("", Who.NETWORK, "unknown-key", without_key),
    "witness restored from a backup": Attack(
        "witness rolled back from backup",
        Who.WITNESS,
        " ".join((rolled_back.__doc__ or "").split()),
        Where.UPLINK,
        "witness-rolled-back",
        rolled_back,
    ),
}
