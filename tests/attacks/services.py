"""Attacks that the service notices: as the one who takes entries in, and as a witness who is only asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.delivery.wire import encode_batch
from coldseal.core.log.record import frame, parse_entry
from coldseal.core.log.witness import Answer
from coldseal.errors import TrustError
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.admission import Admission
from coldseal.service.ingest import Witness
from coldseal.service.ledger import Ledger
from coldseal.service.witnessing import Witnessing
from tests.attacks.attack import Attack, Caught, Play, Stage, Where, Who
from tests.page.cases import signed
from tests.page.false_notes import twin
from tests.sealed import COSIGNED, ORIGIN, WITNESS, SealedLog, new_keys, witness
from tests.service.bench import LEDGER_KEY, Bench
from tests.service.test_witnessing import request, watch
from tests.trial import Site

HELD = 21
"""Entries that the service holds, or has cosigned, before the attack."""

Deed = Callable[[SealedLog], tuple[bytes, int | None]]
"""Gives the batch that is sent, and the first entry that is wrong in it."""


def delivered(deed: Deed) -> Play:
    """Have a service hold an honest log, and send it what the adversary made of it."""

    async def play(stage: Stage) -> Caught:
        site = Site(stage.folder)
        ledger = Ledger.open(site.service / "data", LEDGER_KEY, limit_bytes=2**30)
        try:
            bench = Bench(site, ledger, stage.verifier, is_verified_first=True)
            log = bench.admit(SealedLog())
            await bench.take(log.grow(HELD - 1).body())
            body, made_at = deed(log)
            with suppress(TrustError):
                await bench.take(body)
            for kept in await bench.evidence():
                return Caught(kept.evidence.verdict, _seq(kept.evidence.entry), made_at)
            for refutation in await ledger.refutations(ORIGIN, 0, 2**40):
                return Caught(refutation.reason, refutation.seq, made_at)
            return Caught("")
        finally:
            await ledger.close()

    return play


def _seq(entry: bytes) -> int | None:
    """Give the place of the entry that is kept as evidence, if there is one."""
    return parse_entry(entry).seq if entry else None


def back_in_time(log: SealedLog, size: int) -> SealedLog:
    """Give the log as an old copy of the disk has it, head and all; it has the keys, too."""
    old = log.copy()
    old.chain = log.chain_at(size)
    del old.entries[size:]
    return old


def restored(log: SealedLog) -> tuple[bytes, int | None]:
    """The whole disk is put back, head and receipts too; the gateway starts, goes on, and delivers."""
    old = back_in_time(log, 11)
    old.seal("boot", {"last": old.chain.head, "software": "coldseal 0.1.0"})
    return old.grow(HELD).body(5), 11


def rewritten(log: SealedLog) -> tuple[bytes, int | None]:
    """What the service has cosigned is sealed anew with all software keys, and delivered again."""
    return back_in_time(log, 1).grow(2 * HELD, text="probe-2").body(), 1


def rewritten_behind(log: SealedLog) -> tuple[bytes, int | None]:
    """A new history is delivered from where the service's own copy ends, so that nothing is sent twice."""
    other = back_in_time(log, 11).grow(2 * HELD, text="probe-2")
    return other.body(HELD), None


def on_the_way(log: SealedLog) -> tuple[bytes, int | None]:
    """Somebody on the line changes a value in a batch."""
    log.grow(10)
    note, entries = log.checkpoint(), log.entries[HELD:]
    entries[4] = entries[4].replace(b"4.71", b"5.71")
    return encode_batch(note, HELD, frame(entries)), HELD + 5  # it no longer fits the entry behind it


def other_signature(log: SealedLog) -> tuple[bytes, int | None]:
    """An entry is signed by the checkpoint key, in the record key's name."""
    log.forge_signature()
    return log.body(HELD), HELD


def without_signature(log: SealedLog) -> tuple[bytes, int | None]:
    """A segment is closed by an entry without a signature."""
    sign, log.mode = log.mode, "checkpoint"
    log.seal("segment", {"first": 0, "last": HELD, "reason": "day"})
    log.mode = sign
    return log.body(HELD), HELD


def with_old_key(log: SealedLog) -> tuple[bytes, int | None]:
    """Behind a roll-over, an entry is sealed with the key that was rolled over."""
    log.roll_over()
    current, log.keys = log.keys, log.first_keys
    log.chain.kid = log.keys.record.kid
    log.grow(1)
    log.keys, log.chain.kid = current, current.record.kid
    return log.body(HELD), HELD + 1


def without_proof(log: SealedLog) -> tuple[bytes, int | None]:
    """A new record key is named without a proof that its holder agrees."""
    stolen = new_keys()
    data = parse_entry(log.copy().roll_over(keys=stolen)).data
    log.seal_key({**data, "proof": data["key"]})
    return log.body(HELD), HELD


def doubled_key(log: SealedLog) -> tuple[bytes, int | None]:
    """The real key signs an entry in which a JSON key stands twice."""
    body = parse_entry(log.copy().seal("correction", {"why": "a"})).body
    log.forge_entry(signed(body.replace(b'{"why":"a"}', b'{"why":"a","why":"b"}'), log.keys.record.sign))
    return log.body(HELD), HELD


def higher_s(log: SealedLog) -> tuple[bytes, int | None]:
    """An entry carries the twin of its signature, which anybody can make."""
    entry = parse_entry(log.copy().grow(1).entries[-1])
    log.forge_entry(signed(entry.body, lambda _: twin(entry.sig or b"")))
    return log.body(HELD), HELD


Request = Callable[[SealedLog], bytes]


def asked(then: Request) -> Play:
    """Have a witness cosign an honest log, and ask it for something else of the same name."""

    async def play(stage: Stage) -> Caught:
        log = SealedLog().grow(HELD - 1)
        async with witnessing(Site(stage.folder), log) as (add, ledger):
            await add(request(log, 0, HELD))
            await add(then(log))
            for kept in await ledger.evidence(ORIGIN):
                size = parse_checkpoint_text(parse_note(kept.evidence.note).text).size
                return Caught(kept.evidence.verdict, size - 1, size - 1)
            return Caught("")

    return play


@asynccontextmanager
async def witnessing(
    site: Site, log: SealedLog
) -> AsyncIterator[tuple[Callable[[bytes], Awaitable[Answer]], Ledger]]:
    """Open a witness that watches a log, without HTTP."""
    watch(site, log)
    ledger = Ledger.open(site.service / "data", LEDGER_KEY, limit_bytes=2**30)
    try:
        witnesses = Witnessing(
            Admission(site.service / "data" / "logs"),
            Admission(site.service / "data" / "witnessed"),
            ledger,
            Witness(WITNESS, witness()),
            now=lambda: COSIGNED,
            metrics=ServiceMetrics(),
        )
        yield witnesses.add, ledger
    finally:
        await ledger.close()


def other_root(log: SealedLog) -> bytes:
    """A second history of the same length is shown to the witness of the first."""
    other = back_in_time(log, 11).grow(HELD - 11, text="probe-2")
    return request(other, HELD, HELD)


def other_growth(log: SealedLog) -> bytes:
    """A longer history, which does not continue the first, is shown to the witness of the first."""
    other = back_in_time(log, 11).grow(HELD, text="probe-2")
    return request(other, HELD, other.size)


def taken(line: str, who: Who, verdict: str, deed: Deed) -> Attack:
    """Take a case at the ingest."""
    how = " ".join((deed.__doc__ or "").split())
    return Attack(line, who, how, Where.INGEST, verdict, delivered(deed))


def shown(line: str, verdict: str, then: Request) -> Attack:
    """Take a case at the witness."""
    how = " ".join((then.__doc__ or "").split())
    return Attack(line, Who.KEYS, how, Where.WITNESS, verdict, asked(then))


ATTACKS: dict[str, Attack] = {
    "old disk image restored whole": taken("restore an old disk image", Who.THIEF, "fork", restored),
    "history rewritten and delivered again": taken(
        "rewrite with all software keys", Who.KEYS, "fork", rewritten
    ),
    "history rewritten and continued": taken(
        "rewrite with all software keys", Who.KEYS, "fork", rewritten_behind
    ),
    "value changed on the line": taken("flip an entry", Who.NETWORK, "broken-chain", on_the_way),
    "entry delivered with another key's signature": taken("", Who.SOME, "bad-signature", other_signature),
    "segment delivered without signature": taken("unsigned segment", Who.SOME, "unsigned", without_signature),
    "entry delivered with an older key": taken(
        "new entries signed with an older key", Who.SOME, "wrong-key", with_old_key
    ),
    "key change delivered without proof": taken("", Who.SOME, "bad-key-change", without_proof),
    "duplicate JSON key delivered": taken("duplicate JSON key", Who.KEYS, "malformed", doubled_key),
    "high-S twin delivered": taken("high-S twin", Who.SOME, "malformed", higher_s),
    "second history shown to the first one's witness": shown(
        "fork two histories to two witnesses", "fork", other_root
    ),
    "longer second history shown to the first one's witness": shown(
        "fork two histories to two witnesses", "inconsistent", other_growth
    ),
}
