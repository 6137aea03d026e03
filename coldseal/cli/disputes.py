"""`coldseal evidence disputes`: what a gateway keeps against its witnesses, and a service against its logs.

Both stores are encrypted and only read; the program may be running. Judges nothing anew: signed notes come
out as they are kept, for tools of others.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.cli.output import print_json, print_lines
from coldseal.cli.sources import is_gateway
from coldseal.errors import OperatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE: Final = Path()


class Dispute(NamedTuple):
    """One proof that is kept.

    Attributes:
        log: the log's name.
        by: who signed what should not be: a further witness, the service, or the log itself.
        t_ms: when it was noticed first, Unix milliseconds.
        times: how often it came.
        verdict: what was wrong.
        detail: what was found.
        parts: the signed notes and what belongs to them, by name; none is empty.
    """

    log: str
    by: str
    t_ms: int
    times: int
    verdict: str
    detail: str
    parts: dict[str, bytes]


def disputes(config: Path, /, *, output: Path | None = None, as_json: bool = False) -> int:
    """Show the kept proofs that a log, a witness or the service signed what contradicts itself.

    The exit code is 1 where there are any. In each, `note` is the signed checkpoint that was refused, or
    that came, `held` the newest one that was cosigned before, and `entry` the entry or the whole request.

    Args:
        config: gateway.toml or service.toml; the program may be running.
        output: a new folder; each note is written there as it was signed.
        as_json: answer with one JSON object, with the notes in it.
    """
    found = list(_of_gateway(config) if is_gateway(config) else _of_service(config))
    if output is not None:
        _write(output, found)
    if as_json:
        print_json({"count": len(found), "disputes": [_facts(each) for each in found]})
        return int(bool(found))
    from coldseal.gateway.clock import render_time

    for number, each in enumerate(found, 1):
        again = f", {each.times} times" if each.times > 1 else ""
        print_lines(f"{number:>4}  {render_time(each.t_ms)}  {each.verdict}  {each.by}: {each.detail}{again}")
    where = f", written to {output}" if output is not None else ""
    print_lines(f"{len(found)} kept{where}" if found else "nothing is kept against anybody")
    return int(bool(found))


def _of_gateway(config: Path) -> Iterator[Dispute]:
    """Read what a gateway keeps beside its receipts.

    Raises:
        OperatorError: the key is not the file's.
        UnavailableError: it cannot be read now.
    """
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.uplink.receipts import NAME, Receipts
    from coldseal.signing.secrets import read_symmetric_key

    settings = load_gateway(config)
    data, service = settings.gateway.data, "+".join(settings.uplink.witness.split("+", 2)[:2])
    if not (data / NAME).exists():  # nothing was ever delivered
        return
    with closing(Receipts(data, read_symmetric_key(settings.store.key, _HERE), readonly=True)) as receipts:
        for each in receipts.cosignatures.evidence():
            parts = _filled(note=each.note, held=each.held)
            by = each.witness or service
            yield Dispute(settings.gateway.origin, by, each.t_ms, 1, each.verdict, each.detail, parts)


def _of_service(config: Path) -> Iterator[Dispute]:
    """Read what a service keeps of each log that it takes in or watches; see `_of_gateway`."""
    from coldseal.service.admission import Admission
    from coldseal.service.config import load_service
    from coldseal.service.ledger import LEDGER
    from coldseal.service.storage.sqlite import SqliteLedger
    from coldseal.signing.secrets import read_symmetric_key

    settings = load_service(config)
    data = settings.service.data
    if not (data / LEDGER).exists():  # it never ran
        return
    origins = {log.origin for folder in ("logs", "witnessed") for log in Admission(data / folder).all()}
    key = read_symmetric_key(settings.store.key, _HERE)
    with closing(SqliteLedger(data / LEDGER, key, limit_bytes=settings.store.limit_mb << 20)) as ledger:
        for origin in sorted(origins):
            for each in ledger.evidence(origin):
                kept = each.evidence
                parts = _filled(note=kept.note, held=kept.held, entry=kept.entry)
                yield Dispute(origin, origin, kept.t * 1000, each.times, kept.verdict, kept.detail, parts)


def _filled(**parts: bytes) -> dict[str, bytes]:
    """Leave out what is empty."""
    return {name: part for name, part in parts.items() if part}


def _facts(found: Dispute) -> dict[str, object]:
    """Give one for a script."""
    texts = {name: part.decode("utf-8", "replace") for name, part in found.parts.items()}
    return {**found._asdict(), "parts": texts}


def _write(folder: Path, found: list[Dispute]) -> None:
    """Write the notes into a new folder.

    Raises:
        OperatorError: it exists already.
        UnavailableError: it cannot be written.
    """
    from coldseal.signing.private_files import make_private_folder, write_private_file

    if folder.exists():
        raise OperatorError(f"{folder} exists already", "Name a new folder with --output")
    try:
        make_private_folder(folder)
    except OSError as error:
        raise UnavailableError(str(folder), str(error.strerror)) from error
    for number, each in enumerate(found, 1):
        for name, part in each.parts.items():
            write_private_file(folder / f"{number:04}-{each.verdict}.{name}", part)
