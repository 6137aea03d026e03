"""The ledger on disk: bundles of entries, heads, receipts, refutations, links, evidence, in one SQLite file.

Encrypted page by page and authenticated (AEGIS-256), WAL, `synchronous=FULL`; a transaction is durable
when `transaction` has ended without an error, else its state is unknown. Two connections: one thread may
write while another reads. Decides nothing about batches.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import apsw

from coldseal.core.log.delivery.receiver import Head
from coldseal.core.log.delivery.signatures import Refutation
from coldseal.core.log.merkle import HASH_SIZE
from coldseal.core.log.record import parse_frames
from coldseal.errors import UnavailableError
from coldseal.service.storage.announced import AnnouncedList
from coldseal.service.storage.database import SCHEMA, open_database, verify_encrypted
from coldseal.service.storage.values import Evidence, KeptEvidence, Link, Receipted, Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from coldseal.core.log.delivery.receiver import Accepted

MAX_EVIDENCE: Final = 256
"""Distinct proofs of fault kept for one log; beyond, only known ones are counted."""
WRITER_CACHE_KIB: Final = 16 * 1024
"""Memory for the writer's pages: a usual batch fits; one that does not takes twice the processor time."""
_MAX_SIZE: Final = 2**63 - 1


class SqliteLedger:
    """One open ledger."""

    def __init__(self, path: Path, key: bytes, *, limit_bytes: int) -> None:
        """Open or create it.

        Args:
            path: the database file; its directory must exist.
            key: 32 raw bytes.
            limit_bytes: size at which nothing more is taken.

        Raises:
            OperatorError: the key is not this ledger's.
            UnavailableError: the file cannot be opened.
            PlaintextError: it is not encrypted.
        """
        self._path = path
        self._limit = limit_bytes
        self._writer = open_database(path, key)
        self._writer.pragma("cache_size", -WRITER_CACHE_KIB)
        with self.transaction():
            self._writer.execute(SCHEMA)
        self._reader = open_database(path, key)
        self._reader.pragma("query_only", 1)
        self.announced = AnnouncedList(self._writer, self._reader)
        verify_encrypted(path)

    def close(self) -> None:
        """Close both connections; the WAL is merged by then."""
        self._reader.close()
        self._writer.close()

    @property
    def size_bytes(self) -> int:
        """Size on disk of database and WAL."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        return sum(file.stat().st_size for file in (self._path, wal) if file.exists())

    @property
    def limit_bytes(self) -> int:
        """Size at which nothing more is taken."""
        return self._limit

    # ---- writing, in one thread

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside one durable step; nested, a step that may fail alone.

        Raises:
            UnavailableError: the disk refuses. At the outer level what was written may yet be durable.
        """
        try:
            with self._writer:
                yield
        except apsw.Error as error:
            raise UnavailableError(str(self._path), str(error)) from error

    def append(self, origin: str, accepted: Accepted, receipt: Receipted, *, is_verified: bool) -> None:
        """Store new entries, the log's new head and the receipt over it.

        Args:
            origin: the log.
            accepted: what is to be stored.
            receipt: for its checkpoint.
            is_verified: whether the new entries' signatures are checked already.

        Raises:
            UnavailableError: the ledger is full, or another writer was faster.
        """
        if self.size_bytes + len(accepted.frames) > self._limit:
            raise UnavailableError(str(self._path), f"the limit of {self._limit} bytes is reached")
        head = accepted.head
        execute = self._writer.execute
        execute(
            "INSERT INTO logs (origin, size, last, hashes, root, mode, verified)"
            " VALUES (?, 0, x'', x'', x'', '', 0) ON CONFLICT DO NOTHING",
            (origin,),
        )
        execute(
            "UPDATE logs SET size = ?, last = ?, hashes = ?, root = ?, mode = ?,"
            " verified = CASE WHEN ? AND verified = size THEN ? ELSE verified END"
            " WHERE origin = ? AND size = ?",
            (
                head.size,
                head.last,
                b"".join(head.hashes),
                head.root,
                head.mode,
                is_verified,
                head.size,
                origin,
                accepted.first,
            ),
        )
        if self._writer.changes() != 1:
            raise UnavailableError(str(self._path), f"{origin} is no longer at size {accepted.first}")
        log = self._log_id(origin)
        execute(
            "INSERT INTO bundles (log, first, count, frames) VALUES (?, ?, ?, ?)",
            (log, accepted.first, accepted.count, accepted.frames),
        )
        held = len(head.settings) - len(accepted.settings)
        self._writer.executemany(
            "INSERT INTO settings (log, number, entry) VALUES (?, ?, ?)",
            [(log, number, raw) for number, raw in enumerate(accepted.settings, held)],
        )
        self._writer.executemany(
            "INSERT INTO tiles (log, level, n, root) VALUES (?, ?, ?, ?)",
            [(log, *tile) for tile in accepted.tiles],
        )
        execute(
            "INSERT INTO receipts (log, size, t, root, note) VALUES (?, ?, ?, ?, ?)",
            (log, receipt.size, receipt.t, receipt.root, receipt.note),
        )
        if accepted.after is not None:
            cited = accepted.after.cited
            execute("INSERT INTO successors VALUES (?, ?, ?)", (origin, cited.origin, cited.size))

    def refute(self, origin: str, refuted: Sequence[Refutation]) -> None:
        """Mark entries whose own signature or form fails; again is no change."""
        log = self._log_id(origin)
        self._writer.executemany(
            "INSERT INTO refuted (log, seq, leaf, reason, detail) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [(log, each.seq, each.leaf, each.reason, each.detail) for each in refuted],
        )

    def mark_verified(self, origin: str, first: int, verified: int) -> None:
        """Move the size up to which signatures are checked, from ``first`` to ``verified``."""
        self._writer.execute(
            "UPDATE logs SET verified = ? WHERE origin = ? AND verified = ?", (verified, origin, first)
        )

    def witness(self, origin: str, before: int | None, cosigned: Receipted) -> None:
        """Move a log that is only witnessed from one size, or from nothing, to what was cosigned.

        Raises:
            UnavailableError: it is not where it was.
        """
        if before is None:
            query = "INSERT INTO witnessed VALUES (?5, ?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING"
        else:
            query = (
                "UPDATE witnessed SET size = ?1, t = ?2, root = ?3, note = ?4 WHERE origin = ?5 AND size = ?6"
            )
        values = (cosigned.size, cosigned.t, cosigned.root, cosigned.note, origin, before)
        self._writer.execute(query, values[: 5 if before is None else 6])
        if self._writer.changes() != 1:
            raise UnavailableError(str(self._path), f"{origin} is no longer witnessed at size {before}")

    def keep(self, evidence: Evidence) -> bool:
        """Keep a proof, or count it if the same one is kept already; False beyond `MAX_EVIDENCE`."""
        execute = self._writer.execute
        execute(
            "UPDATE evidence SET times = times + 1, last_t = ? WHERE origin = ? AND verdict = ? AND note = ?",
            (evidence.t, evidence.origin, evidence.verdict, evidence.note),
        )
        if self._writer.changes():
            return True
        execute(
            "INSERT INTO evidence (origin, verdict, first_t, last_t, times, detail, note, held, entry)"
            " SELECT ?, ?, ?, ?, 1, ?, ?, ?, ?"
            " WHERE (SELECT count(*) FROM evidence WHERE origin = ?) < ?",
            (
                evidence.origin,
                evidence.verdict,
                evidence.t,
                evidence.t,
                evidence.detail,
                evidence.note,
                evidence.held,
                evidence.entry,
                evidence.origin,
                MAX_EVIDENCE,
            ),
        )
        return bool(self._writer.changes())

    def merge_wal(self) -> None:
        """Move the WAL's pages into the database, as far as readers allow; outside of any commit."""
        try:
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return
        except apsw.Error as error:
            raise UnavailableError(str(self._path), str(error)) from error

    def head(self, origin: str) -> Head:
        """Give the end of a log, as the writer sees it."""
        rows = self._fetch(
            "SELECT size, last, hashes, root, mode FROM logs WHERE origin = ?", origin, by=self._writer
        )
        if not rows:
            return Head()
        size, last, hashes, root, mode = rows[0]
        parts = tuple(hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
        return Head(size, last, parts, root, mode, self._settings(origin, by=self._writer))

    def witnessed(self, origin: str) -> Receipted | None:
        """Give what was cosigned last of a log that is only witnessed, as the writer sees it."""
        query = "SELECT size, t, root, note FROM witnessed WHERE origin = ?"
        rows = self._fetch(query, origin, by=self._writer)
        return Receipted(*rows[0]) if rows else None

    # ---- reading, in one other thread

    def summary(self, origin: str) -> Summary:
        """Say how far a log is; zeros if nothing of it is held."""
        rows = self._fetch(
            "SELECT size, verified, (SELECT count(*) FROM refuted WHERE log = id), mode"
            " FROM logs WHERE origin = ?",
            origin,
        )
        return Summary(*rows[0]) if rows else Summary()

    def totals(self) -> Summary:
        """Say how far all logs are together."""
        query = "SELECT total(size), total(verified), (SELECT count(*) FROM refuted) FROM logs"
        size, verified, refuted = self._fetch(query)[0]
        return Summary(int(size), int(verified), refuted)

    def settings(self, origin: str) -> tuple[bytes, ...]:
        """Give the entries that say what a log is, in order."""
        return self._settings(origin)

    def entries(self, origin: str, first: int, end: int) -> list[bytes]:
        """Give entries ``first`` to ``end``, as far as they are held."""
        found: list[bytes] = []
        for at, _, frames in self._bundles(origin, first, end):
            entries = parse_frames(frames)
            found += entries[max(0, first - at) : end - at]
        return found

    def tiles(self, origin: str, level: int, first: int, end: int) -> list[bytes]:
        """Give the stored hashes of full tiles, those over the subtrees ``first`` to ``end`` of a level."""
        rows = self._fetch(
            "SELECT root FROM tiles WHERE log = (SELECT id FROM logs WHERE origin = ?)"
            " AND level = ? AND n >= ? AND n < ? ORDER BY n",
            origin,
            level,
            first,
            end,
        )
        return [root for (root,) in rows]

    def next_bundles(self, origin: str, first: int, limit: int) -> list[tuple[int, int, bytes]]:
        """Give bundles from the one that holds entry ``first`` on: seq of the first entry, count, frames."""
        return self._bundles(origin, first, first + limit)

    def receipt(self, origin: str, size: int | None = None) -> Receipted | None:
        """Give the receipt at a size, or the newest one; None if there is none."""
        rows = self._fetch(
            "SELECT size, t, root, note FROM receipts WHERE log = (SELECT id FROM logs WHERE origin = ?)"
            " AND size <= ? ORDER BY size DESC LIMIT 1",
            origin,
            _MAX_SIZE if size is None else size,
        )
        found = Receipted(*rows[0]) if rows else None
        return found if found is None or size in {None, found.size} else None

    def receipts(self, origin: str) -> list[Receipted]:
        """Give every receipt of a log, rising."""
        rows = self._fetch(
            "SELECT size, t, root, note FROM receipts WHERE log = (SELECT id FROM logs WHERE origin = ?)"
            " ORDER BY size",
            origin,
        )
        return [Receipted(*row) for row in rows]

    def refuted(self, origin: str, limit: int) -> tuple[int, ...]:
        """Name the newest refuted seqs, rising."""
        rows = self._fetch(
            "SELECT seq FROM refuted WHERE log = (SELECT id FROM logs WHERE origin = ?)"
            " ORDER BY seq DESC LIMIT ?",
            origin,
            limit,
        )
        return tuple(sorted(seq for (seq,) in rows))

    def refutations(self, origin: str, first: int, end: int) -> list[Refutation]:
        """Give what is held against the entries ``first`` to ``end``, in order."""
        rows = self._fetch(
            "SELECT seq, leaf, reason, detail FROM refuted"
            " WHERE log = (SELECT id FROM logs WHERE origin = ?) AND seq >= ? AND seq < ? ORDER BY seq",
            origin,
            first,
            end,
        )
        return [Refutation(*row) for row in rows]

    def links(self) -> list[Link]:
        """Give the logs that continue another one, by origin."""
        rows = self._fetch("SELECT origin, predecessor, size FROM successors ORDER BY origin")
        return [Link(*row) for row in rows]

    def successor(self, origin: str) -> str | None:
        """Name the log that continues another one."""
        rows = self._fetch("SELECT origin FROM successors WHERE predecessor = ?", origin)
        return rows[0][0] if rows else None

    def evidence(self, origin: str) -> list[KeptEvidence]:
        """Give what is kept against a log, oldest first."""
        rows = self._fetch(
            "SELECT verdict, first_t, detail, note, held, entry, last_t, times FROM evidence"
            " WHERE origin = ? ORDER BY id",
            origin,
        )
        return [
            KeptEvidence(
                evidence=Evidence(
                    origin=origin, verdict=verdict, t=t, detail=detail, note=note, held=held, entry=entry
                ),
                last_t=last_t,
                times=times,
            )
            for verdict, t, detail, note, held, entry, last_t, times in rows
        ]

    def unverified(self) -> list[str]:
        """Name the logs that hold entries whose signatures are still to be checked."""
        return [
            origin for (origin,) in self._fetch("SELECT origin FROM logs WHERE verified < size ORDER BY id")
        ]

    # ---- inside

    def _bundles(self, origin: str, first: int, end: int) -> list[tuple[int, int, bytes]]:
        """Give the bundles that hold entries of a range."""
        rows = self._fetch("SELECT id FROM logs WHERE origin = ?", origin)
        if not rows:
            return []
        found: list[tuple[int, int, bytes]] = self._fetch(
            "SELECT first, count, frames FROM bundles WHERE log = ?1 AND first < ?3 AND first >="
            " coalesce((SELECT max(first) FROM bundles WHERE log = ?1 AND first <= ?2), 0)"
            " AND first + count > ?2 ORDER BY first",
            rows[0][0],
            first,
            end,
        )
        return found

    def _settings(self, origin: str, *, by: apsw.Connection | None = None) -> tuple[bytes, ...]:
        """Read a log's settings over one of the connections."""
        query = (
            "SELECT entry FROM settings WHERE log = (SELECT id FROM logs WHERE origin = ?) ORDER BY number"
        )
        return tuple(entry for (entry,) in self._fetch(query, origin, by=by))

    def _fetch(self, query: str, *values: str | int, by: apsw.Connection | None = None) -> list[Any]:
        """Give the rows of a query; the types of its columns are the schema's matter."""
        try:
            return (by or self._reader).execute(query, values).fetchall()
        except apsw.Error as error:
            raise UnavailableError(str(self._path), str(error)) from error

    def _log_id(self, origin: str) -> int:
        """Look up the number of a log that is there; for the writer."""
        rows = self._fetch("SELECT id FROM logs WHERE origin = ?", origin, by=self._writer)
        number: int = rows[0][0]
        return number
