"""`coldseal gateway`: set up a gateway's folder, run it, ask how it is.

`init` writes every file or refuses before it writes any key. `run` is the program itself; `status`
asks a running one over loopback. `correct` and `import` put on record what people state;
`prune` and `hold` say what may go and what must stay; `archive` keeps what has ended elsewhere.
"""

from pathlib import Path

from coldseal.cli.access import COMMANDS as OF_ACCESS
from coldseal.cli.alarms import COMMANDS as OF_ALARMS
from coldseal.cli.archives import archive
from coldseal.cli.asset import COMMANDS as OF_ASSETS
from coldseal.cli.attestation import attest
from coldseal.cli.broker import mosquitto
from coldseal.cli.calibration import COMMANDS as OF_CALIBRATIONS
from coldseal.cli.commands import Group
from coldseal.cli.custody import COMMANDS as OF_CUSTODY
from coldseal.cli.excursions import COMMANDS as OF_EXCURSIONS
from coldseal.cli.firewall import FIREWALL_COMMANDS
from coldseal.cli.gateway_unit import UNIT_COMMANDS
from coldseal.cli.maintenance import COMMANDS as OF_MAINTENANCE
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.profile import COMMANDS as OF_PROFILES
from coldseal.cli.prune import hold, prune
from coldseal.cli.records import correct, import_
from coldseal.cli.rejected import COMMANDS as REJECTED
from coldseal.cli.routes import COMMANDS as OF_ROUTES
from coldseal.cli.running import run
from coldseal.cli.time import time, time_config
from coldseal.cli.topics import COMMANDS as TOPICS

CONFIG = "gateway.toml"
ADMISSION = "admission.json"
PREDECESSOR = "predecessor.receipt"


def init(
    folder: Path,
    /,
    *,
    site: str,
    origin: str = "",
    after: Path | None = None,
    pki: Path | None = None,
    uplink: str = "",
    witness: str = "",
    as_json: bool = False,
) -> int:
    """Make a gateway's folder: configuration, store key, signing keys, and the file that admits its log.

    Args:
        folder: where; must not hold a gateway yet.
        site: site level of the topics.
        origin: origin of the log, such as example.com/site-7/gw-0001; its last part is the gateway's name.
            With --after it may be left out: the next one is taken.
        after: last receipt of a lost log that this one continues, as `coldseal service receipt` writes it.
        pki: folder made by `coldseal identity dev-ca`, whose certificates the configuration will name.
        uplink: the service, as https://host:port; without it, entries stay here.
        witness: verifier key of the service's witness, as `coldseal service init` prints it.
        as_json: answer with one JSON object.
    """
    from coldseal.cli.setup import Holder, check, new_folder, quote, write_new
    from coldseal.cli.templates import GATEWAY
    from coldseal.gateway.tables.values import Name, Origin

    origin, name, receipt = _begin(origin, after)
    check("--origin", origin, Origin)
    check("--site", site, Name)
    holder = Holder(folder, pki, "gateway", name)
    new_folder(folder, CONFIG)
    if after is not None:
        write_new(folder / PREDECESSOR, receipt)
    write_new(folder / ADMISSION, _make_keys(folder, origin, site, holder.name))
    text = GATEWAY.format(
        origin=quote(origin),
        site=quote(site),
        after=quote(f"file:{PREDECESSOR}" if after else ""),
        certificate=quote(holder.certificate),
        key=quote(holder.key),
        trust=quote(holder.trust),
        uplink=quote(uplink),
        witness=quote(witness),
    )
    write_new(folder / CONFIG, text.encode())
    made = {"config": str(folder / CONFIG), "admission": str(folder / ADMISSION), "origin": origin}
    if as_json:
        print_json(made)
    else:
        print_facts(made)
        print_lines("", "Next:", f"  coldseal service admit SERVICE.toml {folder / ADMISSION}")
        print_lines(f"  coldseal gateway run {folder / CONFIG}")
    return 0


def _begin(origin: str, after: Path | None) -> tuple[str, str, bytes]:
    """Give the origin of a new log, its gateway's name, and the receipt that it cites, if there is one."""
    from coldseal.core.log.succession import first_origin, next_origin
    from coldseal.errors import OperatorError
    from coldseal.gateway.succession import read_receipt

    if after is None:
        if not origin:
            raise OperatorError("--origin is missing", "Give it, or --after to continue a lost log")
        return origin, origin.rpartition("/")[2], b""
    receipt = read_receipt(after)
    expected = next_origin(receipt.cited.origin)
    if origin not in {"", expected}:
        what = f"--origin is {origin!r}, but {receipt.cited.origin} goes on as {expected}"
        raise OperatorError(what, "Leave --origin out: the right one is taken")
    return expected, first_origin(expected).rpartition("/")[2], receipt.note


def _make_keys(folder: Path, origin: str, site: str, name: str) -> bytes:
    """Write the gateway's keys, and give the public description of its log."""
    from coldseal.core.log.delivery.receiver import AdmittedLog
    from coldseal.service.admission import encode_log_file
    from coldseal.signing import keys
    from coldseal.signing.private_files import write_private_file
    from coldseal.signing.secrets import generate_symmetric_key

    record, checkpoint = keys.generate_record_key(), keys.generate_record_key()
    interop = keys.generate_interop_key()
    write_private_file(folder / "store.key", generate_symmetric_key())
    keys.write_private_key(folder / "record.pem", record)
    keys.write_private_key(folder / "checkpoint.pem", checkpoint)
    keys.write_private_key(folder / "interop.pem", interop)
    lines = (
        keys.EcdsaSigner(checkpoint).verifier_key(origin),
        keys.Ed25519Signer(interop).verifier_key(origin),
    )
    log = AdmittedLog(origin, name, keys.EcdsaSigner(record).spki, lines, site)
    return encode_log_file(log, mode="record")  # as the configuration says that is written beside it


def status(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Ask a running gateway how it is; the exit code is 1 when it is not well.

    Args:
        config: gateway.toml of the running gateway.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.cli.status import show_status
    from coldseal.gateway.config import load_gateway

    return show_status("gateway", load_gateway(config, set_ or ()).http.listen, as_json=as_json)


ALARM_COMMANDS = Group("alarms", "what people are told, and who sees to it", OF_ALARMS)
BROKER_COMMANDS = Group("broker-config", "files of an external broker, made from the registry", (mosquitto,))
CUSTODY_COMMANDS = Group("custody", "what an asset has used up goes on to the next gateway", OF_CUSTODY)
EXCURSION_COMMANDS = Group("excursions", "out of their conditions, and what was decided", OF_EXCURSIONS)
ROUTE_COMMANDS = Group("routes", "routes to other systems, and what their sinks refuse", OF_ROUTES)
TOPIC_COMMANDS = Group("topics", "what devices may do by the policy in force", TOPICS)
ASSET_COMMANDS = Group("asset", "what sensors watch, and by which profile", OF_ASSETS)
CALIBRATION_COMMANDS = Group("calibration", "certificates of calibration, and what is due", OF_CALIBRATIONS)
MAINTENANCE_COMMANDS = Group("maintenance", "sensors that are being worked on", OF_MAINTENANCE)
PROFILE_COMMANDS = Group("profile", "product profiles: check, try and apply them", OF_PROFILES)
REJECTED_COMMANDS = Group("rejected", "what was not taken, and what can be taken in after all", REJECTED)
COMMANDS = (
    init,
    run,
    status,
    correct,
    import_,
    prune,
    hold,
    archive,
    attest,
    *OF_ACCESS,
    PROFILE_COMMANDS,
    ASSET_COMMANDS,
    CALIBRATION_COMMANDS,
    MAINTENANCE_COMMANDS,
    EXCURSION_COMMANDS,
    ALARM_COMMANDS,
    CUSTODY_COMMANDS,
    TOPIC_COMMANDS,
    ROUTE_COMMANDS,
    REJECTED_COMMANDS,
    BROKER_COMMANDS,
    time,
    time_config,
    FIREWALL_COMMANDS,
    UNIT_COMMANDS,
)
