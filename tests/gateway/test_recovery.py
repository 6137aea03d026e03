"""A damaged log comes up again: whole, with a hole that it states, or as the next log; no file is deleted."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from coldseal.cli.main import run as run_command
from coldseal.core.log.merkle import EMPTY_ROOT
from coldseal.core.log.record import parse_entry
from coldseal.core.log.succession import link_of
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway import program, replacing
from coldseal.gateway.app import Gateway
from coldseal.gateway.carrying import MAX_RANGES, gap_data
from coldseal.gateway.clock import Clock
from coldseal.gateway.recovery import note_damage, open_sound, recover
from coldseal.gateway.replacing import DAMAGED, QUARANTINE, in_order, take_back
from coldseal.gateway.store.database import StoreDamagedError, WrongKeyError
from coldseal.gateway.store.disk import DISK
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.packing import Stretch, replace, write_packed
from coldseal.gateway.store.pruned import Pruned, PrunedError, arm, finish, write_draft
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import wal_path
from coldseal.gateway.survey import Outcome
from coldseal.gateway.writer import READY, Run
from tests.gateway.wrecks import STORE_KEY, Wreck, blank, cut, flip, make_wreck
from tests.sealed import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GROUPS = (50, 1, 200, 3, 300, 2, 100, 5)
ROLLS = (2, 4)
SALVAGE = ("recover", "salvage", "--why", "the disk had bad sectors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    """A log of three segments as after a crash; to be copied before it is damaged."""
    return asyncio.run(make_wreck(tmp_path_factory.mktemp("whole") / "gw", GROUPS, rolls=ROLLS))


@pytest.fixture
def wreck(whole: Wreck, tmp_path: Path) -> Wreck:
    """A copy of it."""
    return whole.copy(tmp_path / "gw")


def quarantined(wreck: Wreck) -> dict[str, bytes]:
    """Give the old log's files."""
    (folder,) = (wreck.folder / "data" / QUARANTINE).iterdir()
    return {path.name: path.read_bytes() for path in (folder / "log").iterdir()}


def files_of(wreck: Wreck) -> dict[str, bytes]:
    """Give the log's files as they are."""
    return {path.name: path.read_bytes() for path in wreck.store.iterdir()}


@pytest.mark.parametrize(
    "harm",
    [
        lambda _wreck: None,
        lambda wreck: flip(wreck.segment(0), 3),
        lambda wreck: flip(wreck.wal, 5_000),
        lambda wreck: flip(wreck.wal, 3),
        lambda wreck: cut(wreck.last, 0),
        lambda wreck: blank(wreck.store / "head", 0, 4608),
        lambda wreck: (wreck.store / "head").unlink(),
    ],
    ids=["nothing", "salt", "wal-frame", "wal-header", "cut-to-nothing", "head", "no-head"],
)
async def test_a_log_of_which_every_entry_can_be_read_goes_on_as_it_was(
    wreck: Wreck, harm: Callable[[Wreck], None]
) -> None:
    """Byte by byte, under its own name; behind it stand boot and gap. The old files are all there."""
    harm(wreck)
    before = files_of(wreck)
    plan = await recover(wreck.config)
    assert (plan.outcome, plan.lost, plan.origin) == (Outcome.WHOLE, [], ORIGIN)
    entries = wreck.entries()
    assert entries[: wreck.log.size] == wreck.log.entries
    kinds = [parse_entry(raw).kind for raw in entries[wreck.log.size :]]
    kinds = [kind for kind in kinds if kind != "clock"]
    assert kinds == ["boot", "gap", "config", "config", "gap", "shutdown"]
    gap = parse_entry(entries[plan.gap])
    assert (gap.kind, gap.data["cause"], gap.data["lost"], gap.data["log"]) == ("gap", "damage", [], ORIGIN)
    kept = quarantined(wreck)
    assert {name: kept[name] for name in before} == before
    assert gap.data["quarantine"] == plan.quarantine


async def test_a_recovered_log_can_be_written_and_opened_as_any_other(wreck: Wreck) -> None:
    """The next run begins behind it, and its chain and roots hold."""
    flip(wreck.wal, 5_000)
    await recover(wreck.config)
    async with Run.open(wreck.config) as run:
        assert run.log.chain.tree.root() == run.log.reader.root(run.log.size)
    entries = [parse_entry(raw) for raw in wreck.entries()]
    for before, after in itertools.pairwise(entries):
        assert (after.seq, after.prev) == (before.seq + 1, before.leaf_hash.hex())


async def test_a_hole_in_a_closed_segment_is_stated_and_the_log_goes_on(wreck: Wreck) -> None:
    """What stood in the damaged page is lost, nothing else; a reader is told by which entry."""
    flip(wreck.segment(1), 100_000)
    plan = await recover(wreck.config)
    assert plan.outcome is Outcome.PARTLY
    ((first, last),) = plan.lost
    assert last - first < 20
    with_hole = LogReader(wreck.store, STORE_KEY)
    try:
        found = [seq for seq in range(wreck.log.size) if readable(with_hole, seq, wreck)]
        assert found == [seq for seq in range(wreck.log.size) if not first <= seq <= last]
        with pytest.raises(
            LostError, match=f"entries {first} to {last} were lost .* entry {plan.gap}, of the kind gap"
        ):
            with_hole.read(first)
        size = with_hole.size()
        (raw,) = with_hole.read(plan.gap, max_entries=1)
        assert with_hole.root(size) != EMPTY_ROOT
    finally:
        with_hole.close()
    said = parse_entry(raw).data["lost"]
    assert said == [{"count": last - first + 1, "first": first, "last": last}]
    async with Run.open(wreck.config) as run:
        assert run.log.size > size


def readable(reader: LogReader, seq: int, wreck: Wreck) -> bool:
    """Whether an entry can be read; then it is the right one."""
    try:
        (raw,) = reader.read(seq, max_entries=1)
    except LostError:
        return False
    assert raw == wreck.log.entries[seq]
    return True


async def test_a_missing_segment_is_a_hole(wreck: Wreck) -> None:
    """A file that is gone is stated as well, be it the first one."""
    wreck.segment(0).unlink()
    wreck.segment(0).with_name(f"{wreck.segment(0).name}-wal").unlink(missing_ok=True)
    plan = await recover(wreck.config)
    assert (plan.outcome, plan.lost) == (Outcome.PARTLY, [(0, wreck.starts[1] - 1)])


async def test_a_hole_over_several_segments_is_stated_part_by_part(wreck: Wreck) -> None:
    """Two damaged pages, two ranges; a second recovery of it changes nothing more."""
    flip(wreck.segment(0), 50_000)
    cut(wreck.segment(1), 100_000)
    plan = await recover(wreck.config)
    assert plan.outcome is Outcome.PARTLY
    assert len(plan.lost) == 2
    again = await recover(wreck.config)
    assert (again.outcome, again.lost) == (Outcome.PARTLY, plan.lost)


async def test_a_lost_end_makes_the_next_log_which_states_it_and_carries_the_rest_over(wreck: Wreck) -> None:
    """Under the next origin, behind the newest checkpoint; what was saved is in it, byte by byte."""
    cut(wreck.wal, 60_000)
    plan = await recover(wreck.config)
    assert (plan.outcome, plan.origin) == (Outcome.SUCCESSOR, f"{ORIGIN}/2")
    assert wreck.config.gateway.origin == f"{ORIGIN}/2"
    genesis, gap, *rest = wreck.parsed()
    cited = link_of(genesis)
    assert cited is not None
    assert cited.cited.origin == ORIGIN
    assert gap.data["lost"] == [
        {"count": last - first + 1, "first": first, "last": last} for first, last in plan.lost
    ]
    assert plan.lost[-1][1] == wreck.log.size - 1
    imports = [entry for entry in rest if entry.kind == "import"]
    assert len(imports) == plan.carried > 0
    for entry in imports:
        seq = int(str(entry.data["name"]).partition("#")[2])
        assert str(entry.data["entry"]).encode() == wreck.log.entries[seq]
    async with Run.open(wreck.config) as run:
        assert run.log.chain.log == f"{ORIGIN}/2"


async def test_without_any_checkpoint_the_next_log_cites_nothing(tmp_path: Path) -> None:
    """There is nothing to cite; the gap says what was before it."""
    wreck = await make_wreck(tmp_path / "gw", (40,))
    cut(wreck.wal, 30_000)
    plan = await recover(wreck.config)
    assert (plan.outcome, wreck.config.gateway.after) == (Outcome.SUCCESSOR, None)
    assert "after" not in next(wreck.parsed()).data


async def test_an_entry_too_long_to_be_carried_is_carried_by_its_hash(tmp_path: Path) -> None:
    """It stays in quarantine; the next log says which it was."""
    wreck = await make_wreck(tmp_path / "gw", (2, 2), text="x" * 60_000)
    cut(wreck.wal, wreck.wal.stat().st_size - 50_000)
    plan = await recover(wreck.config)
    assert plan.outcome is Outcome.SUCCESSOR
    carried = [entry for entry in wreck.parsed() if entry.kind == "import"]
    assert "entry" not in carried[-1].data
    assert carried[-1].data["sha256"] is not None


async def test_logs_sealed_by_checkpoints_are_recovered_as_well(tmp_path: Path) -> None:
    """Entries without signatures of their own hold by the entry that names them."""
    wreck = await make_wreck(tmp_path / "gw", GROUPS, rolls=ROLLS, mode="checkpoint")
    flip(wreck.segment(1), 90_000)
    plan = await recover(wreck.config)
    assert plan.outcome is Outcome.PARTLY
    assert sum(last - first + 1 for first, last in plan.lost) < 40


async def test_of_a_packed_segment_a_tile_is_lost_with_a_page_of_it(wreck: Wreck) -> None:
    """All other tiles are saved; the segment is written anew, and packed again later."""
    stretch = Stretch(0, wreck.starts[1])
    wal_path(wreck.segment(0)).unlink()  # an empty one
    for _ in write_packed(wreck.store, STORE_KEY, stretch, disk=DISK):
        pass
    replace(wreck.store, stretch, wreck.segment(0).stat().st_ino, disk=DISK)
    packed = wreck.segment(0)
    sound = await recover(wreck.copy(wreck.folder.parent / "sound").config)
    assert sound.outcome is Outcome.WHOLE
    flip(packed, packed.stat().st_size // 2)
    plan = await recover(wreck.config)
    assert plan.outcome in {Outcome.PARTLY, Outcome.WHOLE}
    assert sum(last - first + 1 for first, last in plan.lost) <= 256


async def test_a_pruned_segment_stays_pruned_while_another_is_recovered(wreck: Wreck) -> None:
    """It is sound, with what it has."""
    about = Pruned(0, wreck.starts[1] - 1, "archive", "A" * 44)
    with closing(LogReader(wreck.store, STORE_KEY)) as reader:
        draft = write_draft(reader, wreck.store, STORE_KEY, 0, about)
    arm(draft, STORE_KEY, wreck.log.size)
    finish(draft, STORE_KEY, wreck.log.size)
    flip(wreck.wal, 5_000)
    plan = await recover(wreck.config)
    assert (plan.outcome, plan.lost) == (Outcome.WHOLE, [])
    with closing(LogReader(wreck.store, STORE_KEY)) as reader:
        with pytest.raises(PrunedError):
            reader.read(5)
        assert reader.root(wreck.log.size) == wreck.log.chain_at(wreck.log.size).tree.root()


async def test_a_dry_run_changes_nothing(wreck: Wreck) -> None:
    """It says what would be done."""
    flip(wreck.segment(1), 100_000)
    before = files_of(wreck)
    told: list[str] = []
    plan = await recover(wreck.config, is_dry=True, tell=told.append)
    assert (plan.outcome, plan.gap) == (Outcome.PARTLY, -1)
    assert files_of(wreck) == before
    assert not (wreck.folder / "data" / QUARANTINE).exists()
    assert any("page by page" in line for line in told)


async def test_a_recovery_that_was_cut_short_is_finished_by_the_next_start(
    wreck: Wreck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two of its moves; the log that goes on is there whole, or the old one still is."""
    cut(wreck.wal, 60_000)
    real, moves = replacing._move, [0]

    def move(source: Path, target: Path, *names: str) -> None:
        for name in names:
            if (source / name).exists():
                moves[0] -= 1
                if moves[0] < 0:
                    raise KeyboardInterrupt
                real(source, target, name)

    monkeypatch.setattr(replacing, "_move", move)
    for allowed in range(4):
        copy = wreck.copy(wreck.folder.parent / f"cut-{allowed}")
        moves[0] = allowed
        with pytest.raises(KeyboardInterrupt):
            await recover(copy.config)
        moves[0] = 100
        config = in_order(copy.config)
        assert config.gateway.origin == f"{ORIGIN}/2"
        assert [entry.kind for entry in copy.parsed()][:2] == ["genesis", "gap"]
        assert "head" in quarantined(copy)
        async with Run.open(config):
            pass


async def test_a_start_on_a_damaged_log_recovers_it_and_says_so(
    wreck: Wreck, capsys: pytest.CaptureFixture[str]
) -> None:
    """By itself; the event names what was lost and where the old files are."""
    cut(wreck.last, 0)
    config, log = await open_sound(wreck.config, STORE_KEY, Clock().now().t_ms)
    await log.close()
    assert config.gateway.origin == ORIGIN
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "store.recovered" in line]
    assert [(line["outcome"], line["lost"]) for line in said] == [("whole", 0)]


async def test_damage_found_by_reading_is_recovered_by_the_next_start(wreck: Wreck) -> None:
    """The mark goes into quarantine with the files."""
    flip(wreck.segment(1), 100_000)
    note_damage(wreck.config, 300)
    _, log = await open_sound(wreck.config, STORE_KEY, Clock().now().t_ms)
    await log.close()
    assert not (wreck.folder / "data" / DAMAGED).exists()
    assert [parse_entry(raw).kind for raw in log.reader.read(log.size - 1)] == ["shutdown"]


async def test_a_log_with_a_sound_end_goes_on_though_it_cannot_be_recovered_now(
    wreck: Wreck, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, and tried again at the next start."""
    flip(wreck.segment(1), 100_000)
    note_damage(wreck.config, None)
    (wreck.folder / "data" / QUARANTINE).write_text("in the way")
    _, log = await open_sound(wreck.config, STORE_KEY, Clock().now().t_ms)
    await log.close()
    assert log.size == wreck.log.size
    assert not (wreck.folder / "data" / READY).exists()
    assert "store.recovered" not in capsys.readouterr().err
    (wreck.folder / "data" / QUARANTINE).unlink()
    _, log = await open_sound(wreck.config, STORE_KEY, Clock().now().t_ms)
    await log.close()
    assert log.size > wreck.log.size


async def test_nobody_writes_to_a_log_that_is_about_to_be_replaced(
    wreck: Wreck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written then would be lost with it; and once the old log is gone there is no way back."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replacing, "_move", die)
    with pytest.raises(KeyboardInterrupt):
        await recover(wreck.config)
    with pytest.raises(OperatorError, match="is not finished"):
        async with Run.open(wreck.config):
            pass
    wreck.store.rename(wreck.folder / "elsewhere")
    with pytest.raises(UnavailableError, match="could not be put in place"):
        take_back(wreck.folder / "data")


async def test_where_it_is_switched_off_a_damaged_log_is_refused(wreck: Wreck) -> None:
    """A person decides; nothing was changed."""
    cut(wreck.last, 0)
    path = wreck.folder / "gateway.toml"
    path.write_text(path.read_text() + "[recovery]\nautomatic = false\n")
    with pytest.raises(StoreDamagedError, match="less than a page"):
        await open_sound(wreck.config, STORE_KEY, 0)
    assert not (wreck.folder / "data" / QUARANTINE).exists()


async def test_a_wrong_store_key_is_no_damage(wreck: Wreck) -> None:
    """It stays the operator's matter; a damaged first page under the right key is damage."""
    (wreck.folder / "store.key").write_text("ab" * 32)
    with pytest.raises(WrongKeyError):
        await open_sound(wreck.config, bytes.fromhex("ab" * 32), 0)
    (wreck.folder / "store.key").write_text(STORE_KEY.hex())
    flip(wreck.last, 100)
    _, log = await open_sound(wreck.config, STORE_KEY, Clock().now().t_ms)
    await log.close()
    assert wreck.entries()[: wreck.log.size] == wreck.log.entries


async def test_a_log_that_is_being_written_is_left_alone(wreck: Wreck) -> None:
    """The lock says so."""
    async with Run.open(wreck.config):
        with pytest.raises(OperatorError, match="in use by another process"):
            await recover(wreck.config)


async def test_a_gateway_on_a_damaged_log_takes_readings_again(wreck: Wreck) -> None:
    """From the open log to the end of its run."""
    cut(wreck.last, 0)
    (wreck.folder / "passwords").write_text("# nobody yet\n")
    (wreck.folder / "passwords").chmod(0o600)
    config = wreck.config
    stop = asyncio.Event()
    stop.set()
    gateway = await Gateway.open(config, [str(wreck.folder / "gateway.toml")])
    try:
        await gateway.serve(stop)
    finally:
        await gateway.close()
    assert wreck.entries()[: wreck.log.size] == wreck.log.entries


def test_damage_that_ends_a_running_gateway_is_recovered_by_the_next_start(
    wreck: Wreck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that only writing needs is not looked at by a start."""

    async def fail(*_: object) -> None:
        raise ExceptionGroup("tasks", [StoreDamagedError("the log", "a page of the tree", None)])

    monkeypatch.setattr(program, "_run_until_signal", fail)
    with pytest.raises(StoreDamagedError):
        program.run(wreck.config, [])
    assert (wreck.folder / "data" / DAMAGED).exists()


def test_the_command_says_what_it_found_and_did(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for scripts; it ends with 1 where entries are lost."""
    config = str(wreck.folder / "gateway.toml")
    flip(wreck.segment(1), 100_000)
    assert run_command(["recover", "salvage", config, "--dry-run"]) == 1
    assert "nothing was changed" in capsys.readouterr().out
    assert run_command([*SALVAGE, config, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["outcome"], said["admission"]) == ("partly", None)
    assert run_command([*SALVAGE, config]) == 1
    assert "with a hole that it states" in capsys.readouterr().out


def test_the_command_leaves_a_sound_log_alone(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing goes into quarantine; what a start has begun by itself can be admitted."""
    config = str(wreck.folder / "gateway.toml")
    assert run_command(["recover", "salvage", config]) == 0
    assert capsys.readouterr().out == "the log is sound: nothing was changed\n"
    assert not (wreck.folder / "data" / QUARANTINE).exists()
    cut(wreck.segment(2), 0)
    wreck.wal.unlink()

    async def start() -> None:
        _, log = await open_sound(wreck.config, STORE_KEY, Clock().now().t_ms)
        await log.close()

    asyncio.run(start())
    capsys.readouterr()
    assert run_command(["recover", "salvage", config]) == 0
    assert "coldseal service admit SERVICE.toml" in capsys.readouterr().out
    assert run_command(["recover", "salvage", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "sound"


def test_the_command_says_how_to_admit_the_next_log(wreck: Wreck, capsys: pytest.CaptureFixture[str]) -> None:
    """Its admission file is written beside."""
    cut(wreck.wal, 60_000)
    assert run_command([*SALVAGE, str(wreck.folder / "gateway.toml")]) == 1
    said = capsys.readouterr().out
    assert "coldseal service admit SERVICE.toml" in said
    assert json.loads((wreck.folder / "data" / "admission.json").read_bytes())["origin"] == f"{ORIGIN}/2"


async def test_many_ranges_are_written_down_in_fewer(wreck: Wreck) -> None:
    """An entry has room for so many: those next to one another count together, and the count stays true."""
    plan = await recover(wreck.config, is_dry=True)
    many = [(at, at) for at in range(0, 2000, 2)]
    said = gap_data(ORIGIN, structs.replace(plan, lost=many), Clock())["lost"]
    assert isinstance(said, list)
    assert len(said) <= MAX_RANGES
    assert sum(int(str(each["count"])) for each in said if isinstance(each, dict)) == 1000
