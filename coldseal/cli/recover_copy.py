"""The verbs of `coldseal recover` that use the service's copy: restore on new hardware, decide a roll-back.

Both refuse while a gateway writes the log, say how far they are, and delete nothing.
"""

import sys
from contextlib import closing
from pathlib import Path

from coldseal.cli.output import print_facts, print_json, print_lines

ADMISSION = "admission.json"


def clone(
    config: Path, /, *, keys: Path, why: str, set_: list[str] | None = None, as_json: bool = False
) -> int:
    """Restore a lost gateway on new hardware: its log from the service, and a new log that continues it.

    Takes a role that may `recover`; who did it, and why, stands at the begin of the new log.

    Args:
        config: gateway.toml of the lost gateway; its data folder holds no log.
        keys: folder with the backup of the key files that the configuration names.
        why: such as what happened to the old machine.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    import asyncio

    from coldseal.gateway import cloning
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    made = asyncio.run(cloning.clone(settings, keys, _progress, why))
    admission = write_admission(config, set_)
    facts = {
        "copied": settings.gateway.origin,
        "entries": made.entries,
        "folder": str(made.before),
        "origin": made.origin,
        "admission": str(admission),
    }
    return _say(facts, config, admission, as_json=as_json)


def decide(
    config: Path,
    /,
    *,
    restore: bool = False,
    successor: bool = False,
    who: str,
    why: str,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Decide what becomes of a log that was put back to an older state; until then the gateway refuses.

    Args:
        config: gateway.toml.
        restore: fetch what is missing from the service; the log goes on under its own origin.
        successor: leave it; a new log goes on under the next origin.
        who: decides.
        why: such as what happened to the disk.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    import asyncio

    from coldseal.errors import OperatorError
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.deciding import Decision

    if restore == successor:
        raise OperatorError("nothing is decided", "Give one of --restore and --successor")
    settings = load_gateway(config, set_ or ())
    decision = Decision(settings, who, why, _progress)
    done = asyncio.run(decision.restore() if restore else decision.successor())
    facts = {
        "origin": done.origin,
        "common": done.common,
        "fetched": done.fetched,
        "carried": done.carried,
        "quarantine": str(done.quarantine),
    }
    admission = write_admission(config, set_) if done.origin != settings.gateway.origin else None
    if admission is not None:
        facts["admission"] = str(admission)
    return _say(facts, config, admission, as_json=as_json)


def write_admission(config: Path, set_: list[str] | None) -> Path:
    """Write what the service must know of the log that is in force now."""
    from coldseal.core.log.delivery.receiver import AdmittedLog
    from coldseal.core.log.keys import genesis_keys
    from coldseal.core.log.record import parse_entry
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.store.reader import LogReader
    from coldseal.gateway.writer import LOG_FOLDER
    from coldseal.identity.peer import read_peer
    from coldseal.service.admission import encode_log_file
    from coldseal.signing.secrets import read_symmetric_key

    settings = load_gateway(config, set_ or ())
    origin, certificate = settings.gateway.origin, settings.uplink.certificate
    name = read_peer(certificate).name if certificate is not None else origin
    store_key = read_symmetric_key(settings.store.key, Path())
    with closing(LogReader(settings.gateway.data / LOG_FOLDER, store_key)) as reader:
        keys = genesis_keys(parse_entry(reader.settings()[0]))
    log = AdmittedLog(origin, name, keys.record, keys.checkpoint, settings.gateway.site)
    path = settings.gateway.data / ADMISSION
    path.write_bytes(encode_log_file(log, mode=settings.gateway.signature))
    return path


def _say(facts: dict[str, object], config: Path, admission: Path | None, *, as_json: bool) -> int:
    """Answer what was done, and what comes next."""
    if as_json:
        print_json(facts)
        return 0
    print_facts(facts)
    print_lines("", "Next:")
    if admission is not None:
        print_lines(f"  coldseal service admit SERVICE.toml {admission}")
    print_lines(f"  coldseal gateway run {config}")
    return 0


def _progress(done: int, total: int) -> None:
    """Draw progress on a terminal; silent elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} of {total:,} entries" + ("\n" if done >= total else ""))
        sys.stderr.flush()


COMMANDS = (clone, decide)
