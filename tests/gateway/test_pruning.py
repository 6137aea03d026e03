"""Entries go when they are cosigned, archived and not held back; and the log says that they went."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from coldseal.cli.main import run as run_command
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import add_signature, parse_note
from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError, TrustError, UnavailableError
from coldseal.gateway import pruning
from coldseal.gateway.config import load_gateway
from coldseal.gateway.control import ask
from coldseal.gateway.holds import holds_of
from coldseal.gateway.records import leaf_to_correct, open_reader, seal_record
from coldseal.gateway.store.pruned import PrunedError, list_drafts
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.tables.outward import FurtherWitness
from coldseal.gateway.uplink.cosignatures import StoredCosignature
from coldseal.gateway.uplink.receipts import Receipts, StoredReceipt, UplinkStatus
from coldseal.gateway.writer import LOG_FOLDER, Run
from coldseal.signing.keys import Ed25519Signer, generate_interop_key
from coldseal.signing.secrets import read_symmetric_key
from tests.gateway.test_app import load
from tests.gateway.test_records import run_once, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig

WITNESS = Ed25519Signer(generate_interop_key())
NAME = "witness.example"
SET = (
    "store.segment_entries=300",
    f"uplink.witness={WITNESS.verifier_key(NAME, cosigner=True).encode()}",
)
ASKED: dict[str, Any] = {"who": "Eva", "why": "retention of 1 day"}


@dataclass
class Copy:
    """An archive in memory: the entries of a log, as they were."""

    origin: str
    first: int
    held: list[bytes]
    name: str = "old.coldseal"
    sha256: str = "A" * 43 + "="

    def entries(self, first: int, last: int) -> Iterator[bytes]:
        """Give a range, as far as it is held."""
        place = first - self.first
        return iter(self.held[place : last + 1 - self.first] if place >= 0 else [])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gateway whose log has three closed segments and a receipt over all of them."""
    folder = tmp_path / "gw"
    ca = tmp_path / "ca"
    assert run_command(["identity", "dev-ca", str(ca), "--devices", "1", "--gateway", "gw-1"]) == 0
    command = ["gateway", "init", str(folder), "--origin", "example.com/gw-1", "--site", "s"]
    assert run_command([*command, "--pki", str(ca)]) == 0
    asyncio.run(grow(load(folder / "gateway.toml", *SET)))
    return folder / "gateway.toml"


async def grow(config: GatewayConfig) -> None:
    """Begin the log, fill segments, and have the whole cosigned."""
    await run_once(config)
    async with Run.open(config) as run:
        for _ in range(10):
            draft = run.journal.draft("heartbeat", b"{}", run.clock.now())
            await run.append([draft] * 100)
    receive(config)


def receive(config: GatewayConfig, *, signer: Ed25519Signer = WITNESS, text: bytes | None = None) -> None:
    """Keep a receipt over the newest checkpoint, as the uplink does."""
    key = store_key(config)
    with closing(open_reader(config)) as reader:
        newest = reader.checkpoint_at_most(reader.size())
    assert newest is not None
    signed = text or parse_note(newest.note).text
    note = newest.note if text is None else text + newest.note[newest.note.index(b"\n\n") + 1 :]
    cosigned = add_signature(note, signer.cosign(NAME, signed, 1_800_000_000))
    with closing(Receipts(config.gateway.data, key)) as receipts:
        receipts.keep(StoredReceipt(newest.size, 1_800_000_000, 1, cosigned), UplinkStatus())


def forget_receipts(config: GatewayConfig) -> None:
    """Lose the uplink's file."""
    for file in config.gateway.data.glob("uplink.db*"):
        file.unlink()


def store_key(config: GatewayConfig) -> bytes:
    """Read the store key."""
    return read_symmetric_key(config.store.key, config.gateway.data)


def copy_of(config: GatewayConfig, first: int = 0, end: int | None = None) -> Copy:
    """Copy entries out of a log."""
    with closing(open_reader(config)) as reader:
        held = [raw for _, raw in zip(range(end or reader.size()), reader.read_from(0), strict=False)]
    return Copy(config.gateway.origin, first, held[first:])


def segments(config: GatewayConfig) -> list[tuple[int, int, int | None]]:
    """Give first and end of each closed segment, and the entry that pruned it."""
    with closing(open_reader(config)) as reader:
        return [(first, end, about and about.seq) for first, end, about in reader.closed_segments()]


def test_segments_below_the_named_entry_go_and_the_log_says_what_went(path: Path) -> None:
    """Whole segments only; what is left can be read, proven, corrected, and pruned further."""
    config = load(path, *SET)
    ((_, first_end, _), (_, second_end, _), (_, third_end, _)) = segments(config)
    copy = copy_of(config)
    done = pruning.prune(config, copy, before=second_end + 5, **ASKED)
    assert (done["first"], done["last"], done["left"]) == (0, second_end - 1, "")
    assert segments(config) == [
        (0, first_end, done["seq"]),
        (first_end, second_end, done["seq"]),
        (second_end, third_end, None),
    ]
    with closing(open_reader(config)) as reader:
        entry = parse_entry(reader.read(done["seq"], max_entries=1)[0])
        assert (entry.kind, entry.leaf_hash.hex()) == ("prune", done["leaf"])
        assert entry.data["root"] == canonical.encode_base64(reader.root(second_end))
        archive = entry.data["archive"]
        assert isinstance(archive, dict)
        assert (archive["name"], archive["sha256"]) == (copy.name, copy.sha256)
        assert f"\n{NAME}" not in str(archive["receipt"])
        assert f"— {NAME} " in str(archive["receipt"])
        assert reader.read(0, max_entries=1) == copy.held[:1]
        assert leaf_to_correct(reader, 7) == parse_entry(copy.held[7]).leaf_hash.hex()
        with pytest.raises(PrunedError):
            reader.read(7)
    again = pruning.prune(config, copy, until="9999-01-01T00:00:00.000Z", **ASKED)
    assert (again["first"], again["last"]) == (second_end, third_end - 1)
    with pytest.raises(OperatorError, match=f"from entry {third_end} on"):
        pruning.prune(config, copy, before=10**6, **ASKED)
    asyncio.run(run_once(config))


async def test_a_running_gateway_prunes_on_request_and_goes_on(path: Path) -> None:
    """It frees what it has open, and takes nothing that was not prepared."""
    config = load(path, *SET)
    copy = copy_of(config)
    async with running(config) as gateway:
        first_end = segments(config)[0][1]
        gateway.log.reader.read(5, max_entries=1)
        oldest = min((config.gateway.data / LOG_FOLDER).glob("*.db"))
        used = oldest.stat().st_size
        done = await asyncio.to_thread(pruning.prune, config, copy, before=first_end, **ASKED)
        assert (done["last"], done["left"]) == (first_end - 1, "")
        with pytest.raises(PrunedError):
            gateway.log.reader.read(5, max_entries=1)
        assert oldest.stat().st_size < used
        when = gateway._instruments._accepted_at
        assert when(5) == when(done["seq"]) > when(0)
        (raw,) = gateway.log.reader.read(done["seq"], max_entries=1)
        data: dict[str, Any] = {**parse_entry(raw).data}
        for wrong, said in (
            (data, "not prepared"),
            ({**data, "hold": "x"}, "well formed"),
            (None, "without a reason"),
        ):
            with pytest.raises(OperatorError, match=said):
                await asyncio.to_thread(ask, config.gateway.data, {"do": "prune", "data": wrong})


def test_what_is_on_hold_stays_until_the_hold_is_lifted(path: Path) -> None:
    """The log says who held it; a hold on a part holds the whole."""
    config = load(path, *SET)
    copy, end = copy_of(config), segments(config)[0][1]
    change: dict[str, Any] = {"action": "add", "first": end - 1, "last": end + 5}
    hold: dict[str, Any] = {"hold": change, "who": "Legal", "why": "case 7"}
    lift: dict[str, Any] = {"hold": {**change, "action": "remove"}, "who": "Legal", "why": "closed"}
    with pytest.raises(OperatorError, match="no hold"):
        seal_record(config, "config", lift)
    with pytest.raises(OperatorError, match="empty"):
        seal_record(config, "config", {**hold, "hold": {**change, "last": 0}})
    sealed = seal_record(config, "config", hold)
    seal_record(config, "config", hold)
    with closing(open_reader(config)) as reader:
        assert [found[:4] for found in holds_of(reader)] == [(end - 1, end + 5, "Legal", "case 7")]
        assert holds_of(reader)[0].seq > sealed.seq
    with pytest.raises(OperatorError, match="on hold: case 7"):
        pruning.prune(config, copy, before=end, **ASKED)
    asyncio.run(run_once(load(path, *SET, "checkpoint.heartbeat_seconds=60")))
    seal_record(config, "config", lift)
    seal_record(config, "config", {**hold, "hold": {"action": "add", "first": end, "last": end}})
    assert pruning.prune(config, copy, before=end, **ASKED)["last"] == end - 1


def spoil(copy: Copy, how: str) -> Copy:
    """Make an archive that is not one of this log."""
    if how == "other log":
        copy.origin = "example.com/other"
    elif how == "too short":
        copy.held = copy.held[:120]
    elif how == "begins later":
        copy = Copy(copy.origin, 1, copy.held[1:])
    else:
        copy.held[7] = copy.held[8]
    return copy


@pytest.mark.parametrize("how", ["other log", "too short", "begins later", "other entry"])
def test_what_the_archive_does_not_hold_stays(path: Path, how: str) -> None:
    """Entry by entry; the first that is missing is named."""
    config = load(path, *SET)
    with pytest.raises(pruning.NotArchivedError) as caught:
        pruning.prune(config, spoil(copy_of(config), how), before=10**6, **ASKED)
    assert caught.value.seq == {"other log": 0, "too short": 120, "begins later": 0, "other entry": 7}[how]
    assert {about for _, _, about in segments(config)} == {None}


def test_what_no_witness_has_cosigned_stays(path: Path) -> None:
    """No receipt, one by another key, or one for another history."""
    config, copy = load(path, *SET), copy_of(load(path, *SET))
    with pytest.raises(OperatorError, match="no witness is configured"):
        pruning.prune(load(path), copy, before=10**6, **ASKED)
    with closing(Receipts(config.gateway.data, store_key(config), readonly=True)) as receipts:
        newest = receipts.newest()
    assert newest is not None
    origin, size, root = parse_note(newest.note).text.decode().splitlines()
    other = f"{origin}\n{size}\n{root[::-1].strip('=')[:42] + 'A='}\n".encode()
    strange = Ed25519Signer(generate_interop_key())
    for signer, text, said in ((strange, None, "not signed"), (WITNESS, other, "another history")):
        forget_receipts(config)
        receive(config, signer=signer, text=text)
        with pytest.raises(TrustError, match=said):
            pruning.prune(config, copy, before=10**6, **ASKED)
    forget_receipts(config)
    with (
        closing(Receipts(config.gateway.data, store_key(config))),
        pytest.raises(OperatorError, match="; 0 entries"),
    ):
        pruning.prune(config, copy, before=10**6, **ASKED)
    with closing(open_reader(config)) as reader, pytest.raises(OperatorError, match="no receipt covers"):
        pruning.receipt_over(config, reader, store_key(config), 5)


def test_nothing_goes_before_a_quorum_of_witnesses_has_cosigned_it(path: Path) -> None:
    """The service's receipt alone is not enough where a further witness counts."""
    second, name = Ed25519Signer(generate_interop_key()), "second.example"
    config = load(path, *SET)
    key = second.verifier_key(name, cosigner=True)
    further = FurtherWitness(url="https://second.example", key=key.encode())
    uplink = replace(config.uplink, witnesses=(further,))
    config = replace(config, uplink=uplink, witness=replace(config.witness, quorum=2))
    plan: dict[str, Any] = {"before": 10**6, **ASKED}
    with closing(Receipts(config.gateway.data, store_key(config), quorum=2)) as receipts:
        with pytest.raises(OperatorError, match="; 0 entries are witnessed"):
            pruning.prune(config, copy_of(config), **plan)
        with (
            closing(open_reader(config)) as reader,
            pytest.raises(OperatorError, match="with the 2 cosignatures"),
        ):
            pruning.receipt_over(config, reader, store_key(config), 5)
        newest = receipts.newest()
        assert newest is not None
        signed = parse_note(newest.note).text
        cosigned = add_signature(newest.note, second.cosign(name, signed, 1_800_000_001))
        receipts.cosignatures.keep(
            StoredCosignature(newest.size, f"{name}+{key.id.hex()}", 1_800_000_001, 1, cosigned)
        )
    assert pruning.prune(config, copy_of(config), **plan)["first"] == 0


@pytest.mark.parametrize(
    ("before", "until", "said"),
    [(3, None, "no whole segment"), (None, "2000-01-01T00:00:00.000Z", "no whole segment")],
)
def test_a_segment_goes_whole_or_not_at_all(
    path: Path, before: int | None, until: str | None, said: str
) -> None:
    """And not before its time."""
    config = load(path, *SET)
    with pytest.raises(OperatorError, match=said):
        pruning.prune(config, copy_of(config), before=before, until=until, **ASKED)


DYING = """
import os, signal, sys
from pathlib import Path
from tests.gateway.test_pruning import ASKED, copy_of, pruning
from tests.gateway.test_app import load
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
config = load(Path(sys.argv[1]), *sys.argv[3:])
step = getattr(pruning, sys.argv[2])
calls = []
def last(*given):
    if calls or sys.argv[2] != "arm":
        die()
    calls.append(step(*given))
setattr(pruning, sys.argv[2], last)
pruning.prune(config, copy_of(config), before=10**6, **ASKED)
"""


@pytest.mark.parametrize(
    ("step", "is_pruned"), [("write_draft", False), ("arm", False), ("finish", True), ("place_of", True)]
)
def test_a_crash_leaves_all_or_is_finished_at_the_next_start(path: Path, step: str, is_pruned: bool) -> None:
    """No file goes before the entry is on disk; once it is, they go."""
    config = load(path, *SET)
    ended = subprocess.run([sys.executable, "-c", DYING, str(path), step, *SET], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert {about for _, _, about in segments(config)} == {None}
    asyncio.run(run_once(config))
    assert all((about is not None) == is_pruned for _, _, about in segments(config))
    with closing(open_reader(config)) as reader:
        kinds = [parse_entry(raw).kind for raw in reader.read_from(segments(config)[-1][1])]
    assert ("prune" in kinds) == is_pruned
    assert [draft for draft in list_drafts(config.gateway.data / LOG_FOLDER) if is_pruned] == []
    if not is_pruned:
        assert pruning.prune(config, copy_of(config), before=10**6, **ASKED)["left"] == ""


def test_a_segment_that_cannot_be_replaced_now_is_replaced_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says so."""
    config = load(path, *SET)

    def fail(*_: object) -> None:
        raise UnavailableError("the disk", "planted")

    with monkeypatch.context() as patched:
        patched.setattr(pruning, "finish", fail)
        done = pruning.prune(config, copy_of(config), before=10**6, **ASKED)
    assert "planted" in done["left"]
    asyncio.run(run_once(config))
    assert {about for _, _, about in segments(config)} == {done["seq"]}


def test_a_prune_is_asked_for_by_its_own_name(path: Path) -> None:
    """Not as something that a person states."""
    config = load_gateway(path)
    with pytest.raises(OperatorError, match="cannot be put on record"):
        seal_record(config, "prune", {})
    assert LogReader(config.gateway.data / LOG_FOLDER, store_key(config)).snapshot_size() > 0
