"""Cosignatures of further witnesses, how far they are, and what is kept against them, in ``uplink.db``.

Part of `receipts`, in the same file and the same transactions: the note of a receipt carries every
cosignature that came for its checkpoint, in whatever order. Verifies nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import add_signature, parse_note
from coldseal.gateway.store.database import fetch, translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.store.database import Connection

MAX_EVIDENCE: Final = 256
"""Proofs of fault that are kept; the oldest ones tell most."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cosignatures (
    size INTEGER NOT NULL,
    witness TEXT NOT NULL,
    cosigned_s INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cosignatures_of ON cosignatures (witness, size);
CREATE TABLE IF NOT EXISTS witnesses (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS witnessed (quorum INTEGER PRIMARY KEY, size INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS evidence (
    id INTEGER PRIMARY KEY,
    t_ms INTEGER NOT NULL,
    witness TEXT NOT NULL,
    verdict TEXT NOT NULL,
    size INTEGER NOT NULL,
    detail TEXT NOT NULL,
    note BLOB NOT NULL,
    held BLOB NOT NULL,
    UNIQUE (witness, verdict, size, detail)
) STRICT;
"""


class StoredCosignature(msgspec.Struct, frozen=True):
    """A cosignature of a further witness.

    Args:
        size: size of the checkpoint.
        witness: name and key id.
        cosigned_s: when the witness signed, Unix seconds, by its clock.
        received_ms: when it came, Unix milliseconds, by ours.
        note: the checkpoint with the lines of the log and of this witness.
    """

    size: int
    witness: str
    cosigned_s: int
    received_ms: int
    note: bytes


class WitnessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a further witness is.

    Args:
        cosigned: size of the newest checkpoint that it cosigned.
        failures: answers in a row that brought nothing; 0 when all is well.
        fault: why the last one did not; empty when all is well.
        is_held: it disputes this log and is not asked any more.
    """

    cosigned: int = 0
    failures: int = 0
    fault: str = ""
    is_held: bool = False

    def describe(self) -> str:
        """Say it for a person."""
        state = f"held ({self.fault})" if self.is_held else self.fault or "cosigns"
        return f"{state}, up to {self.cosigned}"


class UplinkEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Proof that a witness, or the service, forgot or contradicts what it signed.

    Args:
        t_ms: when it was noticed, Unix milliseconds.
        witness: name and key id; empty for the service.
        verdict: what was wrong.
        size: size of the checkpoint that was sent.
        detail: what was found, for people.
        note: the note that came, or the checkpoint that was sent.
        held: what it had signed before: the newest note with its cosignature; empty if there is none.
    """

    t_ms: int
    witness: str
    verdict: str
    size: int
    detail: str
    note: bytes
    held: bytes = b""


class Cosignatures:
    """The part of `Receipts` that is about further witnesses.

    Args:
        what: the file, for errors.
        connection: the open file, whose transactions are the caller's.
        quorum: cosignatures on one checkpoint that make it witnessed.
        asked: the witnesses that count for it, by name and key id; None: all.
    """

    def __init__(
        self, what: str, connection: Connection, quorum: int, asked: Sequence[str] | None = None
    ) -> None:
        """Take the open file."""
        self._what = what
        self._connection = connection
        self._quorum = quorum
        self._asked = "null" if asked is None else canonical.encode(dict.fromkeys(asked, True)).decode()

    def recount(self) -> None:
        """Find the witnessed size anew where this quorum was never counted; in one go over all notes."""
        with translated(self._what), self._connection:
            self._connection.execute(
                "INSERT INTO witnessed SELECT ?1, coalesce(max(size), 0) FROM ("
                " SELECT size, count(*) AS signed FROM ("
                "  SELECT size FROM receipts UNION ALL SELECT size FROM cosignatures"
                "  WHERE ?2 = 'null' OR witness IN (SELECT key FROM json_each(?2))) GROUP BY size)"
                " WHERE signed >= ?1 ON CONFLICT DO NOTHING",
                (self._quorum, self._asked),
            )

    def join(self, size: int, note: bytes) -> bytes:
        """Add to a receipt's note what further witnesses have cosigned at its size."""
        query = "SELECT note FROM cosignatures WHERE size = ? ORDER BY witness"
        for (cosigned,) in fetch(self._connection, query, (size,)):
            note = _joined(note, cosigned)
        return note

    def keep(self, found: StoredCosignature) -> None:
        """Store a cosignature, and add it to the receipt at its size; the first one at a size stays."""
        with translated(self._what), self._connection:
            self._connection.execute(
                "INSERT INTO cosignatures VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (found.size, found.witness, found.cosigned_s, found.received_ms, found.note),
            )
            if self._connection.changes():
                rows = fetch(self._connection, "SELECT note FROM receipts WHERE size = ?", (found.size,))
                for (note,) in rows:
                    self._connection.execute(
                        "UPDATE receipts SET note = ? WHERE size = ?", (_joined(note, found.note), found.size)
                    )
                self.count(found.size)

    def count(self, size: int) -> None:
        """Move the witnessed size if a quorum has cosigned this one; within the caller's transaction."""
        query = (
            "SELECT (SELECT count(*) FROM receipts WHERE size = ?1)"
            " + (SELECT count(*) FROM cosignatures WHERE size = ?1"
            " AND (?2 = 'null' OR witness IN (SELECT key FROM json_each(?2))))"
        )
        if fetch(self._connection, query, (size, self._asked))[0][0] >= self._quorum:
            self._connection.execute(
                "INSERT INTO witnessed VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET size = max(size, excluded.size)",
                (self._quorum, size),
            )

    def keep_evidence(self, found: UplinkEvidence) -> None:
        """Store a proof of fault; the same one again changes nothing."""
        with translated(self._what), self._connection:
            self._connection.execute(
                "INSERT INTO evidence (t_ms, witness, verdict, size, detail, note, held)"
                " SELECT ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM evidence) < ?"
                " ON CONFLICT DO NOTHING",
                (
                    found.t_ms,
                    found.witness,
                    found.verdict,
                    found.size,
                    found.detail,
                    found.note,
                    found.held,
                    MAX_EVIDENCE,
                ),
            )

    def note(self, name: str, status: WitnessStatus) -> None:
        """Store how far a witness is."""
        with translated(self._what), self._connection:
            self._connection.execute(
                "INSERT INTO witnesses VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (name, msgspec.msgpack.encode(status)),
            )

    def statuses(self) -> dict[str, WitnessStatus]:
        """Give how far each witness is."""
        with translated(self._what):
            rows = fetch(self._connection, "SELECT name, value FROM witnesses ORDER BY name")
        return {name: msgspec.msgpack.decode(value, type=WitnessStatus) for name, value in rows}

    def newest(self, witness: str) -> StoredCosignature | None:
        """Give the cosignature of one witness over the most entries."""
        query = "SELECT * FROM cosignatures WHERE witness = ? ORDER BY size DESC LIMIT 1"
        with translated(self._what):
            rows = fetch(self._connection, query, (witness,))
        return StoredCosignature(*rows[0]) if rows else None

    def all(self) -> list[StoredCosignature]:
        """Give all cosignatures, rising; also those where no receipt came for the same size."""
        with translated(self._what):
            rows = fetch(self._connection, "SELECT * FROM cosignatures ORDER BY size, witness")
        return [StoredCosignature(*row) for row in rows]

    def alone(self) -> dict[int, bytes]:
        """Give the notes where no receipt came, by size and rising: one a size, with all its cosignatures."""
        query = (
            "SELECT size, note FROM cosignatures WHERE size NOT IN (SELECT size FROM receipts)"
            " ORDER BY size, witness"
        )
        with translated(self._what):
            rows: list[tuple[int, bytes]] = fetch(self._connection, query)
        found: dict[int, bytes] = {}
        for size, note in rows:
            found[size] = _joined(found[size], note) if size in found else note
        return found

    def witnessed(self, quorum: int) -> int:
        """Give the newest size that a quorum has cosigned; 0 if there is none."""
        with translated(self._what):
            rows = fetch(self._connection, "SELECT size FROM witnessed WHERE quorum = ?", (quorum,))
        return int(rows[0][0]) if rows else 0

    def evidence_counts(self) -> dict[str, int]:
        """Count what is kept, by verdict."""
        with translated(self._what):
            return dict(fetch(self._connection, "SELECT verdict, count(*) FROM evidence GROUP BY verdict"))

    def evidence(self) -> list[UplinkEvidence]:
        """Give what is kept, oldest first."""
        query = "SELECT t_ms, witness, verdict, size, detail, note, held FROM evidence ORDER BY id"
        with translated(self._what):
            rows = fetch(self._connection, query)
        names = UplinkEvidence.__struct_fields__
        return [UplinkEvidence(**dict(zip(names, row, strict=True))) for row in rows]


def _joined(note: bytes, cosigned: bytes) -> bytes:
    """Add the last line of another note over the same checkpoint: its witness's."""
    return add_signature(note, parse_note(cosigned).signatures[-1])
