"""How a run begins, and what people put on record: by a running gateway, or without one."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.cli.main import run as run_command
from coldseal.core.access import Action
from coldseal.errors import ColdsealError, InputError, OperatorError
from coldseal.gateway.app import Gateway
from coldseal.gateway.control import ask
from coldseal.gateway.persons import Asked
from coldseal.gateway.records import (
    MAX_DATA,
    Sealed,
    leaf_to_correct,
    open_reader,
    parse_record,
    seal_record,
)
from coldseal.gateway.writer import Run
from tests.gateway.test_app import entries_of, load
from tests.gateway.users import QUALITY, TECHNICIAN, as_user, needs_root, open_folder
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from coldseal.core.log.record import Entry
    from coldseal.gateway.config import GatewayConfig

IMPORT: dict[str, Any] = {
    "bytes": 3,
    "name": "certificate.pdf",
    "sha256": "A" * 43 + "=",
    "who": "Eva Müller",
    "why": "calibration",
}
EXPORT: dict[str, Any] = {
    "bundle": "A" * 43 + "=",
    "first": 0,
    "last": 0,
    "selection": {"sensor": "door", "first": 0},
    "size": 1,
    "who": "Eva",
    "why": "asked for",
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with a gateway."""
    folder = tmp_path_factory.mktemp("pki")
    assert run_command(["identity", "dev-ca", str(folder / "ca"), "--devices", "1", "--gateway", "gw-1"]) == 0
    return folder / "ca"


@pytest.fixture
def config_file(tmp_path: Path, pki: Path) -> Path:
    """A new gateway's configuration."""
    command = ["gateway", "init", str(tmp_path / "gw"), "--origin", "example.com/gw-1", "--site", "s"]
    assert run_command([*command, "--pki", str(pki)]) == 0
    return tmp_path / "gw" / "gateway.toml"


@asynccontextmanager
async def running(config: GatewayConfig) -> AsyncIterator[Gateway]:
    """Run a gateway within this process."""
    stop = asyncio.Event()
    gateway = await Gateway.open(config, [])
    serving = asyncio.ensure_future(gateway.serve(stop))
    try:
        await until(lambda: bool(gateway.health_address) or serving.done())
        yield gateway
    finally:
        stop.set()
        await serving
        await gateway.close()


async def run_once(config: GatewayConfig) -> None:
    """Start a gateway and stop it."""
    async with running(config):
        pass


def kinds(entries: list[Entry]) -> list[str]:
    """Name their kinds."""
    return [entry.kind for entry in entries]


def correction(config: GatewayConfig, seq: int, **changes: object) -> dict[str, Any]:
    """Make a correction of an entry."""
    reader = open_reader(config)
    try:
        leaf = leaf_to_correct(reader, seq)
    finally:
        reader.close()
    return {"leaf": leaf, "reason": "typo", "seq": seq, "value": {"v": "4.71"}, "who": "Eva", **changes}


async def test_a_gateway_that_was_killed_leaves_a_gap_on_record(config_file: Path) -> None:
    """From the last entry that there is to the start that noticed; sealed right behind the boot entry."""
    overrides = ("mqtt.listen=127.0.0.1:0", "http.listen=127.0.0.1:0", "checkpoint.heartbeat_seconds=1")
    options = [part for each in overrides for part in ("--set", each)]
    config = load(config_file, *overrides)
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coldseal.cli.main", "gateway", "run", str(config_file), *options),
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def has_beaten() -> bool:
            answer = await asyncio.to_thread(ask, config.gateway.data, {"do": "status"})
            return answer is not None and entries_of(config_file)[-1].kind == "heartbeat"

        await until(has_beaten)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    entries = entries_of(config_file)
    place = kinds(entries).index("boot")
    last, boot, gap = entries[place - 1 : place + 2]
    assert (last.kind, gap.kind) == ("heartbeat", "gap")
    assert gap.data == {"cause": "stopped", "from": last.t, "noticed": boot.t, "to": boot.t}
    assert datetime.fromisoformat(last.t) < datetime.fromisoformat(boot.t)


async def test_a_stop_in_order_leaves_none_also_where_a_segment_ended_with_it(config_file: Path) -> None:
    """The segment's entry may stand behind the shutdown."""
    for _ in range(2):
        await run_once(load(config_file, "store.segment_entries=2"))
    found = kinds(entries_of(config_file))
    assert found == ["genesis", "shutdown", "segment", "boot", "shutdown", "segment"]


async def test_the_genesis_promises_the_heartbeat_and_a_change_is_put_on_record(config_file: Path) -> None:
    """Once, and once more when it is changed back."""
    for _ in range(2):
        await run_once(load(config_file, "checkpoint.heartbeat_seconds=299.5"))
    assert kinds(entries_of(config_file)) == ["genesis", "shutdown", "boot", "shutdown"]
    assert entries_of(config_file)[0].data["heartbeat"] == 300
    for _ in range(2):
        await run_once(load(config_file, "checkpoint.heartbeat_seconds=60"))
    later = entries_of(config_file)[4:]
    assert kinds(later) == ["boot", "config", "config", "shutdown", "boot", "shutdown"]
    assert later[1].data == {"heartbeat": 60}
    await run_once(load(config_file))
    changed = [entry.data for entry in entries_of(config_file)[10:] if entry.kind == "config"]
    assert changed[0] == {"heartbeat": 300}
    assert changed[1]["settings"] == {"checkpoint.heartbeat_seconds": {"after": None, "before": "60.0"}}


async def test_what_is_asked_of_a_running_gateway_is_sealed_before_it_is_answered(config_file: Path) -> None:
    """The answer names the place and the leaf hash of an entry that is on disk."""
    config = load(config_file)
    places = []
    async with running(config):
        for kind, data in (("import", IMPORT), ("export", EXPORT)):
            sealed = await asyncio.to_thread(seal_record, config, kind, data)
            places.append(sealed.seq)
            entry = entries_of(config_file)[sealed.seq]
            assert (entry.kind, entry.data, entry.leaf_hash.hex()) == (kind, data, sealed.leaf)
        fix = correction(config, places[0])
        corrected = await asyncio.to_thread(seal_record, config, "correction", fix)
        status = await asyncio.to_thread(ask, config.gateway.data, {"do": "status"})
        assert status is not None
        assert status["status"]["size"] == corrected.seq + 1
    assert kinds(entries_of(config_file)) == [
        "genesis",
        *("access", "import"),
        *("access", "export"),
        *("access", "correction"),
        "shutdown",
    ]
    assert entries_of(config_file)[6].data == fix


def test_without_a_gateway_the_command_seals_in_a_run_of_its_own(config_file: Path) -> None:
    """Between boot and shutdown, with a checkpoint over it; the next start finds all in order."""
    config = load(config_file)
    asyncio.run(run_once(config))
    sealed = seal_record(config, "import", IMPORT)
    seal_record(config, "correction", correction(config, sealed.seq))
    asyncio.run(run_once(config))
    entries = entries_of(config_file)
    assert kinds(entries) == [
        *("genesis", "shutdown"),
        *("boot", "access", "import", "shutdown"),
        *("boot", "access", "correction", "shutdown"),
        *("boot", "shutdown"),
    ]
    assert (sealed.seq, sealed.leaf) == (4, entries[4].leaf_hash.hex())
    reader = open_reader(config)
    newest = reader.checkpoint_at_most(10)
    reader.close()
    assert newest is not None
    assert newest.size == 10


def test_a_run_of_a_command_after_a_kill_notes_the_gap(config_file: Path) -> None:
    """Whoever begins the next run says so."""
    config = load(config_file)

    async def die() -> None:
        gateway = await Gateway.open(config, [])
        await gateway._record_start()
        await gateway.close()

    asyncio.run(die())
    seal_record(config, "import", IMPORT)
    assert kinds(entries_of(config_file)) == ["genesis", "boot", "gap", "access", "import", "shutdown"]


async def test_who_cannot_read_the_log_corrects_it_by_its_gateway(config_file: Path) -> None:
    """As the role allows; the gateway itself looks up which leaf that is."""
    needs_root()
    folder = open_folder()
    roles = f'[{{user="{QUALITY}",roles=["quality"]}},{{user="root",roles=["administrator"]}}]'
    config = load(
        config_file, f"administration.assigned={roles}", f"administration.socket={folder / 'control.sock'}"
    )
    said = {"reason": "typo", "seq": 1, "value": {"v": "4.71"}, "who": "Eva"}

    async def correct_as(uid: int, data: dict[str, Any]) -> Sealed:
        return await asyncio.to_thread(lambda: as_user(uid, lambda: seal_record(config, "correction", data)))

    await run_once(config)
    async with running(config):
        with pytest.raises(OperatorError, match=r"root may not correct"):
            await asyncio.to_thread(seal_record, config, "correction", correction(config, 1))
        sealed = await correct_as(QUALITY, said)
        for wrong in ({**said, "seq": "1"}, {**said, "seq": True}, {**said, "seq": 99}):
            with pytest.raises(OperatorError, match="no entry"):
                await correct_as(QUALITY, wrong)
        with pytest.raises(OperatorError, match="may not correct"):
            await correct_as(TECHNICIAN, said)
    shutil.rmtree(folder)
    entries = entries_of(config_file)
    assert entries[sealed.seq].data == {**said, "leaf": entries[1].leaf_hash.hex()}
    before = entries[sealed.seq - 1]
    assert (before.kind, before.data["uid"], before.data["outcome"]) == ("access", QUALITY, "allowed")
    with pytest.raises(OperatorError, match="may not correct, and that is on record"):  # without a gateway
        await asyncio.to_thread(seal_record, config, "correction", correction(config, 1))
    access, end = entries_of(config_file)[-2:]
    assert (access.data["outcome"], end.kind) == ("refused", "shutdown")


def test_what_takes_two_persons_is_not_done_alone(config_file: Path) -> None:
    """Where no gateway runs there is nobody to wait for."""
    config = load(config_file, 'administration.two_person=["prune"]')
    asyncio.run(run_once(config))

    async def prune() -> None:
        async with Run.open(config, Asked(Action.PRUNE, "full", {})):
            raise AssertionError

    with pytest.raises(OperatorError, match="takes two persons"):
        asyncio.run(prune())
    assert kinds(entries_of(config_file))[-3:] == ["boot", "access", "shutdown"]


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    ("genesis", {}, "cannot be put on record"),
    ("prune", {}, "cannot be put on record"),
    (7, {}, "cannot be put on record"),
    ("import", {"who": ""}, "not well formed"),
    ("import", {"who": "a\nb"}, "not well formed"),
    ("import", {"who": "x" * 301}, "not well formed"),
    ("import", {"bytes": -1}, "not well formed"),
    ("import", {"bytes": "3"}, "not well formed"),
    ("import", {"sha256": "00"}, "not well formed"),
    ("import", {"more": 1}, "not well formed"),
    ("export", {"selection": {"a": [1]}}, "not well formed"),
    ("correction", {"value": []}, "not well formed"),
    ("correction", {"value": {"v": "x" * MAX_DATA}}, "Say it in"),
    ("correction", {"value": {"v": 4.71}}, "4.71"),
    ("correction", {"leaf": "00" * 32}, "another leaf hash"),
    ("correction", {"seq": 0}, "kind genesis"),
    ("correction", {"seq": 99}, "no entry 99"),
]


async def test_what_is_not_as_it_should_be_is_refused_by_both_and_not_sealed(
    config_file: Path,
) -> None:
    """The gateway does not rely on the command's checks."""
    config = load(config_file)
    await run_once(config)
    asked = []
    for kind, changes, said in REFUSED:
        whole = {"import": IMPORT, "export": EXPORT}.get(kind) or correction(config, 1)
        asked.append((kind, {**whole, **changes}, said))
        with pytest.raises(ColdsealError, match=said):
            await asyncio.to_thread(seal_record, config, *asked[-1][:2])
    async with running(config):
        for kind, data, said in asked:
            request = {"do": "record", "kind": kind, "data": data}
            with pytest.raises(OperatorError, match=said):
                await asyncio.to_thread(ask, config.gateway.data, request)
    found = [kind for kind in kinds(entries_of(config_file)) if kind != "access"]  # that somebody asked, is
    assert found == ["genesis", "shutdown", "boot", "shutdown"]


def test_an_integer_written_as_a_fraction_is_no_integer() -> None:
    """It could not be sealed without loss."""
    with pytest.raises((OperatorError, InputError)):
        parse_record("import", {**IMPORT, "bytes": 3.0})


def test_where_no_log_has_begun_nothing_is_put_on_record(config_file: Path) -> None:
    """A log begins with the gateway's first run."""
    with pytest.raises(OperatorError, match="no log yet"):
        seal_record(load(config_file), "import", IMPORT)

    async def run_alone() -> None:
        async with Run.open(load(config_file)):
            pass

    with pytest.raises(OperatorError, match="no log yet"):
        asyncio.run(run_alone())


async def test_a_log_in_use_by_a_gateway_that_cannot_be_asked_is_left_alone(config_file: Path) -> None:
    """It is starting, or its socket was removed."""
    config = load(config_file)
    async with running(config):
        (config.gateway.data / "control.sock").unlink()
        with pytest.raises(OperatorError, match="in use by another process"):
            await asyncio.to_thread(seal_record, config, "import", IMPORT)
