"""`coldseal gateway archive`: ended segments as verified bundles in an archive, and back again.

What is archived and what may go is decided in the gateway's own rules; here bundles are written and verified.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.archive import BundleArchive
from coldseal.cli.output import print_json, print_lines, render_bytes
from coldseal.errors import OperatorError, TrustError, UnavailableError

if TYPE_CHECKING:
    from coldseal.gateway.archives import Archived
    from coldseal.gateway.config import GatewayConfig

ACTIONS: Final = ("run", "list", "verify", "restore")
NICE: Final = 10
"""How far a round steps back behind all that the machine does besides."""


class BundleTools:
    """Writes and verifies bundles of a gateway's log."""

    def __init__(self, config: "GatewayConfig") -> None:
        """Take the gateway; its keys are those that bundles are verified with."""
        self._config = config

    def write(self, draft: Path, first: int, last: int) -> int:
        """Write a compressed bundle of a range as a new file, durably; gives the tree size that it proves."""
        from coldseal.cli.export import gather
        from coldseal.cli.sources import GatewaySource
        from coldseal.evidence.compression import pack
        from coldseal.evidence.selection import Wish
        from coldseal.evidence.writer import write_bundle

        plain = draft.with_name(f"{draft.name}.plain")
        with closing(GatewaySource(self._config)) as source:
            contents, _ = gather(source, Wish(first=first, last=last), is_tail=False)
            write_bundle(plain, contents)
        pack(plain, draft, level=self._config.archive.level)
        plain.unlink()
        return contents.layout.size

    @contextmanager
    def verified(self, path: Path) -> Iterator[BundleArchive]:
        """Open a bundle that holds in every check.

        Raises:
            BadArchiveError: it does not.
        """
        from coldseal.cli.sources import GatewaySource
        from coldseal.evidence.compression import unpacked
        from coldseal.evidence.verification import Question, verify_bundle
        from coldseal.gateway.archives import BadArchiveError

        with closing(GatewaySource(self._config)) as source:
            policy = source.policy
        with unpacked(path, folder=path.parent) as plain:
            report = verify_bundle(plain, Question(policy=policy, workers=1)).report
            if not report.is_good:
                why = "; ".join(f"{fault.verdict}: {fault.detail}" for fault in report.faults[:3])
                raise BadArchiveError(path.name, why)
            yield BundleArchive(plain, packed=path)

    @contextmanager
    def opened(self, path: Path) -> Iterator[BundleArchive]:
        """Open a bundle that was verified before."""
        from coldseal.evidence.compression import unpacked

        with unpacked(path, folder=path.parent) as plain:
            yield BundleArchive(plain, packed=path)


def archive(
    config: Path,
    action: str,
    /,
    *,
    segment: int | None = None,
    output: Path | None = None,
    who: str = "",
    why: str = "",
    background: bool = False,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Archive ended segments as bundles, and look after what is archived.

    Actions: run does one round now (archive what has ended, prune what retention lets go), as a running
    gateway does by itself; list says how each ended segment stands; verify checks every bundle, or that of
    one segment; restore brings pruned segments back into the log of a gateway that does not run, with a hold
    on them, or copies the verified bundle of one to a folder.

    Args:
        config: gateway.toml.
        action: run, list, verify or restore.
        segment: first entry of the segment; restore brings back all pruned ones from there on.
        output: folder for restore to copy the bundle of --segment to, unpacked.
        who: who has segments brought back.
        why: why.
        background: for the gateway that starts it: step back behind all else, and write by that one alone.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway

    if action not in ACTIONS:
        raise OperatorError(f"archive cannot {action!r}", f"It can: {', '.join(ACTIONS)}")
    if background:
        signal.signal(signal.SIGTERM, _leave)
        os.nice(NICE)
    settings = load_gateway(config, set_ or ())
    if action == "run":
        return _run(settings, is_beside=background, as_json=as_json)
    if action == "list":
        return _list(settings, as_json=as_json)
    if action == "verify":
        return _verify(settings, segment, as_json=as_json)
    return _restore(settings, segment, output, who, why, as_json=as_json)


def _leave(_number: int, _frame: object) -> None:
    """End in order, so that copies and drafts go."""
    raise SystemExit(128 + signal.SIGTERM)


def _run(config: "GatewayConfig", *, is_beside: bool, as_json: bool) -> int:
    """Do one round."""
    from coldseal.gateway.archiving import run_round
    from coldseal.gateway.clock import Clock

    done = run_round(config, BundleTools(config), now_ms=Clock().now().t_ms, is_beside=is_beside)
    if as_json:
        parts = {name: [_facts(each) for each in getattr(done, name)] for name in ("archived", "pruned")}
        print_json({**parts, "waiting": done.waiting, "damaged": done.damaged})
        return 0
    for verb, found in (("archived", done.archived), ("pruned", done.pruned)):
        for each in found:
            print_lines(f"{verb} {each.first}-{each.last}  {each.name}  {render_bytes(each.size)}")
    print_lines(*(f"damaged, put aside: {name}" for name in done.damaged))
    print_lines(f"{done.waiting} ended segments wait for witnesses")
    return 0


def _list(config: "GatewayConfig", *, as_json: bool) -> int:
    """Say how each ended segment stands."""
    from coldseal.gateway.archives import survey
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.records import open_reader

    with closing(open_reader(config)) as reader:
        found = survey(config, reader, Clock().now().t_ms)
    if as_json:
        print_json({"segments": [each._asdict() for each in found]})
        return 0
    for each in found:
        where = each.state if each.is_present or not each.archive else f"{each.state}, file not here"
        window = f"{each.retention} until {each.until}" if each.retention else "kept"
        hold = f"  on hold: {each.hold}" if each.hold else ""
        print_lines(f"{each.first}-{each.last}  {where}  {window}{hold}  {each.archive}".rstrip())
    return 0


def _verify(config: "GatewayConfig", segment: int | None, *, as_json: bool) -> int:
    """Verify what is archived; the exit code tells the worst."""
    from coldseal.gateway.archives import archive_folder, read_index

    folder, index = archive_folder(config), read_index(config.gateway.data)
    chosen = [each for first, each in sorted(index.items()) if segment in {None, first}]
    if not chosen:
        raise OperatorError("nothing like that is archived", "See: coldseal gateway archive CONFIG list")
    found: list[dict[str, Any]] = []
    for each in chosen:
        verdict, detail = _check(config, folder, each)
        found.append({"first": each.first, "last": each.last, "name": each.name, "verdict": verdict})
        found[-1]["detail"] = detail
    if as_json:
        print_json({"archives": found})
    else:
        print_lines(*(f"{each['verdict']:<8}  {each['name']}  {each['detail']}".rstrip() for each in found))
    verdicts = {each["verdict"] for each in found}
    return 1 if "bad" in verdicts else 3 if "absent" in verdicts else 0


def _check(config: "GatewayConfig", folder: Path, known: "Archived") -> tuple[str, str]:
    """Verify one bundle: its hash, every check of its own, and its entries against the log's hashes."""
    from coldseal.gateway.archives import examine
    from coldseal.gateway.records import open_reader

    path = folder / known.name
    if not path.is_file():
        return "absent", "it is not in the archive's folder now"
    try:
        with BundleTools(config).verified(path) as archive, closing(open_reader(config)) as reader:
            examine(reader, archive, known.first, known.last)
            if archive.sha256 != known.sha256:
                return "bad", "it is a good bundle, but not the one that was archived"
    except TrustError as error:
        return "bad", str(error)
    return "good", ""


def _restore(
    config: "GatewayConfig", segment: int | None, output: Path | None, who: str, why: str, *, as_json: bool
) -> int:
    """Bring segments back, or copy one bundle."""
    from coldseal.gateway.restoring import restore

    if segment is None:
        raise OperatorError("it is not said which segment", "Use --segment with its first entry")
    if output is not None:
        made = _copy(config, segment, output)
        if as_json:
            print_json({"bundle": made})
        else:
            print_lines(f"{made}: verified; see coldseal evidence show and verify")
        return 0
    if not who or not why:
        raise OperatorError("nobody says who has it brought back, and why", "Use --who and --why")
    first, last = restore(config, BundleTools(config), segment, who=who, why=why)
    if as_json:
        print_json({"first": first, "last": last})
    else:
        print_lines(f"entries {first} to {last} are back, with a hold on them")
        print_lines("lift it when they may go again: coldseal gateway hold CONFIG --remove RANGE")
    return 0


def _copy(config: "GatewayConfig", segment: int, output: Path) -> Path:
    """Copy the bundle of a segment to a folder, unpacked, once it is verified."""
    from coldseal.evidence.compression import SUFFIX, unpacked
    from coldseal.gateway.archives import archive_folder, read_index

    folder, known = archive_folder(config), read_index(config.gateway.data).get(segment)
    if known is None:
        what = f"no archived segment begins with entry {segment}"
        raise OperatorError(what, "See: coldseal gateway archive CONFIG list")
    path, made = folder / known.name, output / known.name.removesuffix(SUFFIX)
    if not path.is_file():
        raise UnavailableError(str(path), "it is not in the archive's folder now")
    verdict, detail = _check(config, folder, known)
    if verdict != "good":
        from coldseal.gateway.archives import BadArchiveError

        raise BadArchiveError(known.name, detail)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with unpacked(path, folder=output) as plain, plain.open("rb") as source, made.open("xb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise OperatorError(f"{made} cannot be written: {error.strerror}", "Name another folder") from error
    return made


def _facts(found: "Archived") -> dict[str, Any]:
    """Give what a script wants to know of an archived segment."""
    names = ("first", "last", "name", "sha256", "size", "kinds", "ended", "root")
    return {name: getattr(found, name) for name in names}
