"""`coldseal service bulk`: closed ranges of every log to the bulk tier, their verification, and the way back.

What is written and what counts is decided in `service.bulk`; here a bundle is made of what comes back.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.output import print_json, print_lines, render_bytes
from coldseal.errors import ColdsealError, OperatorError, UnavailableError

if TYPE_CHECKING:
    from datetime import datetime

    from coldseal.evidence.writer import Contents
    from coldseal.service.bulk import Tier
    from coldseal.service.config import ServiceConfig
    from coldseal.service.storage.bulk_manifest import Manifest
    from coldseal.signing.keys import Ed25519Signer

ACTIONS: Final = ("run", "verify", "restore")
_HERE: Final = Path()


def bulk(
    action: str,
    config: Path,
    /,
    *,
    origin: str = "",
    output: Path | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Write closed ranges of every log to the bulk tier, verify what is there, or bring a log back.

    Actions: run writes what is closed and not there yet, and may be run while the service runs, by a timer;
    verify reads everything back and checks it; restore makes an evidence bundle of one log, checked the same
    way. Neither of the last two needs the ledger.

    Args:
        action: run, verify or restore.
        config: service.toml.
        origin: this log alone.
        output: the new bundle that restore makes.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.service.bulk import Tier
    from coldseal.service.config import load_service
    from coldseal.signing.keys import open_ed25519

    if action not in ACTIONS:
        raise OperatorError(f"bulk cannot {action!r}", f"It can: {', '.join(ACTIONS)}")
    settings = load_service(config, set_ or ())
    signer = open_ed25519(settings.witness.key, base=_HERE)
    tier = Tier(settings.bulk, signer.verifier_key(settings.service.name, cosigner=True))
    if action == "run":
        return _run(settings, tier, signer, origin, as_json=as_json)
    if action == "verify":
        return _verify(tier, origin, as_json=as_json)
    return _restore(tier, origin, output, as_json=as_json)


def _run(
    config: "ServiceConfig", tier: "Tier", signer: "Ed25519Signer", origin: str, *, as_json: bool
) -> int:
    """Write what is closed."""
    from coldseal.service.admission import Admission
    from coldseal.service.ledger import LEDGER
    from coldseal.service.storage.sqlite import SqliteLedger
    from coldseal.signing.secrets import read_symmetric_key

    data = config.service.data
    if not (data / LEDGER).exists():
        raise OperatorError(
            f"{data / LEDGER} is not there", "Name the service.toml of a service that has run"
        )
    key = read_symmetric_key(config.store.key, _HERE)
    logs = [log.origin for log in Admission(data / "logs").all() if origin in {"", log.origin}]
    if not logs:
        raise OperatorError(f"the service keeps no log {origin!r}", "See: coldseal service admit")
    found = []
    with closing(SqliteLedger(data / LEDGER, key, limit_bytes=config.store.limit_mb << 20)) as ledger:
        for log in logs:
            for each in tier.write(ledger, log, signer, _now()):
                found.append(each)
                if not as_json:
                    print_lines(
                        f"{each.log} {each.first}-{each.last}  {each.name}  {render_bytes(each.size)}"
                    )
    if as_json:
        print_json({"written": [each._asdict() for each in found]})
    elif not found:
        print_lines("nothing is closed that is not there already")
    return 0


def _verify(tier: "Tier", origin: str, *, as_json: bool) -> int:
    """Verify everything, log by log; the exit code tells the worst."""
    from coldseal.service.bulk import folder_of

    folders = [folder_of(origin)] if origin else tier.logs()
    if not folders:
        raise OperatorError("the tier is empty", "Fill it: coldseal service bulk run CONFIG")
    found = [_check(tier, folder, origin) for folder in folders]
    if as_json:
        print_json({"logs": found})
    else:
        for each in found:
            print_lines(
                f"{each['verdict']:<8}  {each['log']}  {each['entries']} entries  {each['detail']}".rstrip()
            )
    return 0 if all(each["verdict"] == "good" for each in found) else 1


def _check(tier: "Tier", folder: str, origin: str) -> dict[str, Any]:
    """Verify one log, as far as it holds."""
    end, log = 0, origin or folder
    try:
        log = origin or tier.origin_of(folder)
        for manifest in tier.manifests(log):
            tier.entries(manifest)
            tier.require_locked(manifest, _now())
            end = manifest.end
    except UnavailableError:
        raise
    except ColdsealError as error:
        return {"log": log, "entries": end, "verdict": "bad", "detail": str(error)}
    return {"log": log, "entries": end, "verdict": "good", "detail": ""}


def _restore(tier: "Tier", origin: str, output: Path | None, *, as_json: bool) -> int:
    """Make a bundle of one log."""
    from coldseal.evidence.writer import write_bundle

    if output is None:
        raise OperatorError("it is not said where the bundle goes", "Use --output FILE")
    logs = [origin] if origin else [tier.origin_of(folder) for folder in tier.logs()]
    if len(logs) != 1:
        raise OperatorError(
            f"the tier holds {len(logs)} logs", f"Use --origin with one of: {', '.join(logs)}"
        )
    contents = _contents(tier, logs[0])
    try:
        write_bundle(output, contents)
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}", "Name another file") from error
    size, (_, end) = contents.layout.size, contents.layout.runs[-1]
    if as_json:
        print_json({"bundle": output, "entries": end, "origin": logs[0], "size": size})
    else:
        print_lines(f"{output}: {end} entries of {logs[0]}, proven in its first {size}")
    return 0


def _contents(tier: "Tier", origin: str) -> "Contents":
    """Put a bundle together from what the tier holds of a log; entries are read when they are written."""
    from coldseal.cli.sources import policy_of
    from coldseal.core.log.layout import Layout, subtrees
    from coldseal.evidence.source import size_of
    from coldseal.evidence.writer import Contents

    manifests = list(tier.manifests(origin))
    if not manifests:
        raise OperatorError(f"the tier holds nothing of {origin}", "See: coldseal service bulk verify CONFIG")
    last = manifests[-1]
    behind = len(list(subtrees(last.end, last.receipt().size)))
    whole = last.layout()
    layout = Layout(whole.size, ((0, last.end),), whole.hashes[len(whole.hashes) - behind :])
    notes = {each.checkpoint.encode() for each in manifests}
    chosen = [note for note in notes if size_of(note) <= last.end or size_of(note) == whole.size]
    reader = _Entries(tier, manifests)
    genesis = next(reader(0, 1))
    policy = policy_of(genesis, (tier.witness,), 1)
    return Contents(policy, layout, reader, chosen, {"from": tier.objects.url})


class _Entries:
    """Gives entries of a log out of the tier, one range after the other; each is checked when it is read."""

    def __init__(self, tier: "Tier", manifests: "list[Manifest]") -> None:
        """Take the manifests; no file is read yet."""
        self._tier, self._manifests = tier, manifests
        self._first = 0
        self._held: list[bytes] = []

    def __call__(self, first: int, end: int) -> Iterator[bytes]:
        """Give the entries of a range."""
        while first < end:
            if not self._first <= first < self._first + len(self._held):
                manifest = next(each for each in self._manifests if each.first <= first < each.end)
                self._first, self._held = manifest.first, self._tier.entries(manifest)
            part = self._held[first - self._first : end - self._first]
            yield from part
            first += len(part)


def _now() -> "datetime":
    """Give this moment."""
    import time
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time.time_ns() / 1e9, UTC)
