"""What is not here any more when a route comes to it is stated, and the route goes on behind it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

from coldseal.cli.main import run
from coldseal.gateway.config import load_gateway
from coldseal.gateway.routing.process import Routes
from coldseal.gateway.writer import LOG_FOLDER, Run
from coldseal.signing.secrets import read_symmetric_key
from tests.cli.test_prune import OPTIONS, WHO, export, make, toml
from tests.gateway.routing.rig import Grounds, Running
from tests.gateway.test_pruning import SET, receive, segments

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig


async def grow_further(config: GatewayConfig) -> None:
    """Seal so much more that the first segment can be let go, and some readings behind that."""
    async with Run.open(config) as run_:
        for kind in 12 * ["heartbeat"] + ["reading"]:
            draft = run_.journal.draft(kind, b"{}", run_.clock.now())
            await run_.append([draft] * 100)
    receive(config)


def prune_first(folder: Path) -> tuple[GatewayConfig, int]:
    """Make a gateway whose first segment is pruned; give it, and the first entry that is left."""
    config = make(folder)
    asyncio.run(grow_further(config))
    bundle = export(config, folder / "old.coldseal", "--first", "0")
    end = segments(config)[0][1]
    prune = ["gateway", "prune", toml(config), "--archive", str(bundle), *WHO, *OPTIONS]
    assert run([*prune, "--before", str(end), "--legal-hold-checked"]) == 0
    return config, end


def test_a_route_goes_on_behind_what_was_pruned(grounds: Grounds, tmp_path: Path) -> None:
    """And says how much that was; a refused entry that is gone stays put aside."""
    config, end = prune_first(tmp_path / "site")
    path = config.gateway.data.parent / "gateway.toml"

    async def route() -> None:
        async with grounds.endpoint() as sink:
            with path.open("a") as out:
                out.write(
                    f'\n[[routes]]\nname = "erp"\nsink = "https-json"\nurl = "{sink.url}"\nbatch = 100\n'
                    f'ca = "{grounds.site.trust}"\nfrom = "begin"\n[[routes.rules]]\nkinds = ["reading"]\n'
                )
            settings = load_gateway(path, SET)
            routes = Routes(settings, read_symmetric_key(settings.store.key, path.parent))
            stop = asyncio.Event()

            async def beside() -> None:
                await stop.wait()

            running = asyncio.ensure_future(routes.run(beside))
            try:
                await Running(routes, running).until(
                    lambda: "erp" in routes.board.routes and routes.board.routes["erp"].delivered > 0
                )
                assert routes.board.routes["erp"].missed == end
            finally:
                stop.set()
                await running
        assert min(sink.seqs) >= end

    asyncio.run(route())


async def test_a_log_that_cannot_be_read_for_a_moment_holds_the_route_up_and_no_more(
    grounds: Grounds,
) -> None:
    """It goes on by itself."""
    folder = grounds.data / LOG_FOLDER
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url)
        await grounds.grow(3)
        folder.rename(folder.with_name("away"))
        async with grounds.routing() as running:
            await running.until(lambda: "erp" in running.routes.board.routes)
            await running.until(lambda: running.status("erp").failed.get("log", 0) > 0)
            folder.with_name("away").rename(folder)
            await running.at("erp", 4)
            assert not running.status("erp").fault
    assert sink.seqs == [0, 1, 2, 3]
    with closing(grounds.kept()) as kept:
        assert not kept.aside("erp")
