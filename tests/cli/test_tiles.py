"""A log is published as static files: what was there stays, what is new is added, nothing else is let in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from coldseal.cli.main import run
from coldseal.cli.tiles import Published, publish
from coldseal.core.log.merkle import ConsistencyError
from coldseal.core.log.record import frame
from coldseal.core.log.tiles import tiles_of
from coldseal.demo.gauges import LOG_ENTRIES, PUBLISHED_ENTRIES, read_gauges
from coldseal.demo.site import ORIGIN, Site, prepare_site
from coldseal.errors import OperatorError, UnavailableError
from tests.sealed import SealedLog
from tests.waiting import until

OTHER = "coldseal.example/site-8/gw-0001"


def put(folder: Path, log: SealedLog, note: bytes | None = None) -> Published:
    """Publish a log up to a checkpoint, by default a new one."""
    return publish(folder, note or log.checkpoint(), lambda first, count: log.entries[first : first + count])


def files(folder: Path) -> dict[str, bytes]:
    """Read everything that is published."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_folder_has_the_tiles_of_its_checkpoint_and_the_checkpoint(tmp_path: Path) -> None:
    """And nothing else."""
    log = SealedLog().grow(299)
    note = log.checkpoint()
    assert put(tmp_path, log) == Published(log.origin, 0, 300, 6)
    found = files(tmp_path)
    assert found.keys() == {"checkpoint", *(tile.path for tile in tiles_of(300))}
    assert found["checkpoint"] == note
    assert found["tile/entries/000"] == frame(log.entries[:256])


def test_step_by_step_is_the_same_as_at_once(tmp_path: Path) -> None:
    """But for partial tiles that are not full yet: whoever has an older checkpoint still needs them."""
    log = SealedLog()
    for size in (1, 100, 256, 600, 601, 700):
        log.grow(size - log.size)
        assert put(tmp_path / "steps", log).size == size
    put(tmp_path / "once", log)
    steps, once = files(tmp_path / "steps"), files(tmp_path / "once")
    assert once.items() <= steps.items()
    older = {f"tile/{level}/002.p/{width}" for level in ("entries", "0") for width in (88, 89)}
    assert steps.keys() - once.keys() == older | {"tile/1/000.p/1"}


def test_what_is_current_stays_as_it_is(tmp_path: Path) -> None:
    """Only the checkpoint is written: it may have got another cosignature."""
    log = SealedLog().grow(20)
    note = log.checkpoint()
    put(tmp_path, log, note)
    before = files(tmp_path)
    assert put(tmp_path, log, note) == Published(log.origin, 21, 21, 1)
    assert files(tmp_path) == before


def test_another_log_is_not_mixed_in(tmp_path: Path) -> None:
    """A folder belongs to one log."""
    put(tmp_path, SealedLog())
    with pytest.raises(OperatorError, match="holds the log"):
        put(tmp_path, SealedLog(origin=OTHER))


def test_a_log_that_went_back_is_not_published(tmp_path: Path) -> None:
    """What is out stays out."""
    log = SealedLog()
    note = log.checkpoint()
    put(tmp_path, log.grow(5))
    with pytest.raises(OperatorError, match="set back"):
        put(tmp_path, log, note)


def test_a_folder_goes_on_where_the_log_was_pruned_up_to_it(tmp_path: Path) -> None:
    """What the log has not any more stands in the folder's last bundle, and is checked against the root."""
    log = SealedLog().grow(299)
    put(tmp_path / "pruned", log)
    put(tmp_path / "whole", log)
    note = log.grow(300).checkpoint()
    put(tmp_path / "whole", log, note)
    left = [b"", *log.entries[1:]]
    left[256:300] = [b""] * 44

    def read(first: int, count: int) -> list[bytes]:
        """Give what is left."""
        assert first >= 300
        return left[first : first + count]

    assert publish(tmp_path / "pruned", note, read, begin=300).size == 600
    assert files(tmp_path / "pruned") == files(tmp_path / "whole")
    with pytest.raises(OperatorError, match="entry 0 was pruned; the log begins at 300"):
        publish(tmp_path / "new", note, read, begin=300)


def test_a_bundle_that_was_changed_in_the_folder_is_noticed(tmp_path: Path) -> None:
    """Where the log has its entries no more, so that they cannot be written anew."""
    log = SealedLog().grow(299)
    put(tmp_path, log)
    path = tmp_path / "tile" / "entries" / "001.p" / "44"
    path.write_bytes(path.read_bytes().replace(b"reading", b"raeding", 1))
    note = log.grow(300).checkpoint()
    with pytest.raises(ConsistencyError):
        publish(tmp_path, note, lambda first, count: log.entries[first : first + count], begin=300)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    """It is not touched."""
    (tmp_path / "checkpoint").write_bytes(b"mine")
    with pytest.raises(OperatorError, match="is no checkpoint"):
        put(tmp_path, SealedLog())
    assert files(tmp_path) == {"checkpoint": b"mine"}


def test_a_log_that_ends_before_its_checkpoint_is_not_published(tmp_path: Path) -> None:
    """Entries are missing."""
    log = SealedLog().grow(5)
    note = log.checkpoint()
    log.entries.pop()
    with pytest.raises(UnavailableError, match="ends before entry 5"):
        put(tmp_path, log, note)
    assert not (tmp_path / "checkpoint").exists()


def test_another_history_is_not_published(tmp_path: Path) -> None:
    """The checkpoint that was there stays, and says who is right."""
    log = SealedLog().grow(10)
    other = log.copy().grow(5, text="other")
    put(tmp_path, log.grow(3))
    before = (tmp_path / "checkpoint").read_bytes()
    with pytest.raises(ConsistencyError):
        put(tmp_path, other)
    assert (tmp_path / "checkpoint").read_bytes() == before


def test_a_tile_that_was_changed_is_noticed(tmp_path: Path) -> None:
    """Where the next ones build on it."""
    log = SealedLog().grow(300)
    put(tmp_path, log)
    path = tmp_path / "tile" / "0" / "000"
    path.write_bytes(bytes(32) + path.read_bytes()[32:])
    with pytest.raises(ConsistencyError, match="at 301 the tiles lead to root"):
        put(tmp_path, log.grow(300))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A service and a gateway that delivered its first entries; both have stopped."""
    return asyncio.run(_deliver(tmp_path_factory.mktemp("site")))


async def _deliver(folder: Path) -> Site:
    """Run both programs until all is delivered."""
    site = await prepare_site(folder, 1)
    async with (
        aiohttp.ClientSession() as http,
        site.service() as service,
        site.gateway(site.service_port) as gateway,
    ):
        await service.ready(http, within_s=30)
        await gateway.ready(http, within_s=30)

        async def is_delivered() -> bool:
            found = await read_gauges(http, gateway.url)
            return found.get(LOG_ENTRIES, 0) == found.get(PUBLISHED_ENTRIES) != 0

        await until(is_delivered, within_s=60)
    return site


def test_gateway_and_service_publish_the_same_log(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to the newest receipt; what the gateway alone has is not out yet."""
    answers = []
    for name, config in (("gateway", site.gateway_config), ("service", site.service_config)):
        capsys.readouterr()
        assert run(["evidence", "tiles", str(config), str(tmp_path / name), "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert [found["origin"] for found in answers] == [ORIGIN, ORIGIN]
    assert answers[0]["size"] == answers[1]["size"] > 0
    assert files(tmp_path / "gateway") == files(tmp_path / "service")
    assert "\n\N{EM DASH} localhost " in (tmp_path / "gateway" / "checkpoint").read_text()  # the service


def test_a_person_is_told_what_was_written(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line."""
    assert run(["evidence", "tiles", str(site.gateway_config), str(tmp_path)]) == 0
    assert "files written" in capsys.readouterr().out


def test_a_folder_that_lost_a_tile_is_said(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the name of the file."""
    assert run(["evidence", "tiles", str(site.gateway_config), str(tmp_path)]) == 0
    [lost] = (tmp_path / "tile" / "0").rglob("000.p/*")
    lost.unlink()
    assert run(["evidence", "tiles", str(site.gateway_config), str(tmp_path)]) == 2
    assert str(lost) in capsys.readouterr().err


def test_a_gateway_that_has_no_checkpoint_has_nothing_to_publish(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its service knows the log by its admission, and no entry of it."""
    other = tmp_path / "service"
    assert run(["service", "init", str(other), "--pki", str(site.pki)]) == 0
    logs = other / "data" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    [admitted] = (site.folder / "service" / "data" / "logs").iterdir()
    (logs / admitted.name).write_bytes(admitted.read_bytes())
    assert run(["evidence", "tiles", str(other / "service.toml"), str(tmp_path / "x")]) == 2
    assert "no checkpoint to publish" in capsys.readouterr().err
