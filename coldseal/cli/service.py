"""`coldseal service`: set up a service's folder, admit logs, run it, ask how it is.

`init` writes every file or refuses before it writes any key. A log is taken in only after `admit`;
`receipt` gives what a new gateway needs to continue a lost one.
"""

import hashlib
from contextlib import closing
from pathlib import Path

from coldseal.cli.attestation import SERVICE_COMMANDS as ATTESTATION
from coldseal.cli.bulk import bulk
from coldseal.cli.commands import Group, program
from coldseal.cli.enrolments import ENROLMENTS
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.service_unit import UNIT_COMMANDS
from coldseal.errors import OperatorError

CONFIG = "service.toml"


def init(folder: Path, /, *, name: str = "localhost", pki: Path | None = None, as_json: bool = False) -> int:
    """Make a service's folder: configuration, store key and witness key; print the witness's verifier key.

    Args:
        folder: where; must not hold a service yet.
        name: name of the service and of its witness.
        pki: folder made by `coldseal identity dev-ca`, whose certificates the configuration will name.
        as_json: answer with one JSON object.
    """
    from coldseal.cli.setup import Holder, check, new_folder, quote, write_new
    from coldseal.cli.templates import SERVICE
    from coldseal.service.config import Name
    from coldseal.signing.keys import Ed25519Signer, generate_interop_key, write_private_key
    from coldseal.signing.private_files import write_private_file
    from coldseal.signing.secrets import generate_symmetric_key

    check("--name", name, Name)
    holder = Holder(folder, pki, "service", name.rpartition("/")[2])
    new_folder(folder, CONFIG)
    key = generate_interop_key()
    write_private_file(folder / "store.key", generate_symmetric_key())
    write_private_key(folder / "witness.pem", key)
    text = SERVICE.format(
        name=quote(name),
        certificate=quote(holder.certificate or "service.pem"),
        key=quote(holder.key or "service.key"),
        trust=quote(holder.trust or "root.pem"),
    )
    write_new(folder / CONFIG, text.encode())
    witness = Ed25519Signer(key).vkey(name, cosigner=True)
    made = {"config": str(folder / CONFIG), "witness": witness}
    if as_json:
        print_json(made)
    else:
        print_facts(made)
        print_lines("", "Next: put that witness into each gateway's [uplink], and admit its log:")
        print_lines(f"  coldseal service admit {folder / CONFIG} GATEWAY/admission.json")
        print_lines(f"  coldseal service run {folder / CONFIG}")
    return 0


def admit(
    config: Path, admissions: list[Path], /, *, witness_only: bool = False, as_json: bool = False
) -> int:
    """Take gateways' logs from now on; a running service notices it by itself.

    Args:
        config: service.toml.
        admissions: files made by `coldseal gateway init`.
        witness_only: cosign checkpoints of these logs when asked, and take no entries in.
        as_json: answer with one JSON object.
    """
    from coldseal.cli.setup import write_new
    from coldseal.service.admission import Admission, encode_log_file, parse_log_file
    from coldseal.service.config import load_service
    from coldseal.signing.private_files import make_private_folder

    data = load_service(config).service.data
    make_private_folder(data)
    folder = data / ("witnessed" if witness_only else "logs")
    known = Admission(folder)
    admitted = []
    for path in admissions:
        try:
            log = parse_log_file(path.read_bytes(), where=str(path))
        except OSError as error:
            hint = "Name the admission.json that `coldseal gateway init` made"
            raise OperatorError(f"{path}: {error.strerror}", hint) from error
        held = known.find(log.origin)
        if held is not None and held != log:
            raise OperatorError(
                f"{path}: the log {log.origin} is admitted already, with other keys",
                "An origin is never used again: give the new gateway a new one",
            )
        if held is None:
            name = hashlib.sha256(log.origin.encode()).hexdigest()[:16]
            write_new(folder / f"{name}.json", encode_log_file(log))
        admitted.append(log.origin)
    if as_json:
        print_json({"admitted": admitted})
    else:
        print_lines(*(f"admitted {origin}" for origin in admitted))
    return 0


@program
def run(config: Path, /, *, set_: list[str] | None = None, log_level: str = "info") -> int:
    """Run the service until SIGTERM or SIGINT; logs go to stderr as JSON lines.

    Args:
        config: service.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        log_level: debug, info, warning, error or critical.
    """
    from coldseal.cli.setup import start_logs
    from coldseal.service.config import load_service

    settings = load_service(config, set_ or ())
    start_logs(log_level)
    from coldseal.service import app  # after the settings: a wrong one is told at once

    return app.run(settings)


def status(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Ask a running service how it is; the exit code is 1 when it is not well.

    Args:
        config: service.toml of the running service.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.cli.status import show_status
    from coldseal.service.config import load_service

    return show_status("service", load_service(config, set_ or ()).http.listen, as_json=as_json)


def receipt(config: Path, origin: str, *, output: Path | None = None) -> int:
    """Give the newest receipt of a log, which a new gateway cites to continue it; the service may be running.

    Args:
        config: service.toml.
        origin: the log.
        output: a new file for it; without it, it is printed.
    """
    from coldseal.cli.setup import write_new
    from coldseal.service.config import load_service
    from coldseal.service.ledger import LEDGER
    from coldseal.service.storage.sqlite import SqliteLedger
    from coldseal.signing.secrets import read_symmetric_key

    settings = load_service(config)
    path = settings.service.data / LEDGER
    if not path.exists():
        raise OperatorError(f"{path} is not there", "Name the service.toml of a service that has run")
    key = read_symmetric_key(settings.store.key, Path())
    with closing(SqliteLedger(path, key, limit_bytes=settings.store.limit_mb << 20)) as ledger:
        newest = ledger.receipt(origin)
    if newest is None:
        raise OperatorError(f"no receipt was given for {origin}", "Name the origin of a log that is held")
    if output is None:
        print_lines(newest.note.decode().removesuffix("\n"))
    else:
        write_new(output, newest.note)
        print_lines(f"{output}: {origin} at size {newest.size}")
    return 0


ATTESTATION_COMMANDS = Group(
    "attestation", "what gateways' machines booted, and what they should", ATTESTATION
)
COMMANDS = (init, admit, run, status, receipt, bulk, ATTESTATION_COMMANDS, ENROLMENTS, UNIT_COMMANDS)
