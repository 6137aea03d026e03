"""The routes' own process: it lives as long as its input, and a kill at any point loses nothing."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial

import pytest

from coldseal.gateway.routing.process import main
from tests.gateway.routing.killing import live_until, program
from tests.gateway.routing.rig import Endpoint, Grounds
from tests.waiting import until


def bodies(sink: Endpoint) -> dict[str, set[bytes]]:
    """Give what was posted under each key."""
    found: dict[str, set[bytes]] = {}
    for each in sink.posted:
        found.setdefault(each.key, set()).add(each.body)
    return found


@pytest.mark.parametrize("batch", [1, 4])
async def test_a_kill_at_any_point_loses_nothing_and_what_comes_twice_has_its_key(
    grounds: Grounds, batch: int
) -> None:
    """The sink dies now and then as well; one that keeps keys has each entry once."""
    async with grounds.endpoint() as sink:
        sink.answer = lambda _body: 503 if len(sink.posted) % 5 == 3 else 200
        grounds.route("erp", sink.url, batch=batch)
        await grounds.grow(60)
        grounds.config()
        for number in (3, 11):
            reached = number if batch == 1 else number // 2
            code = await live_until(grounds.path, partial(sink.has, reached), is_killed=True)
            assert code == -9
        code = await live_until(grounds.path, lambda: grounds.position("erp") == 61, is_killed=False)
    assert code == 0
    assert set(sink.seqs) == {*range(61)}
    first_seen = list(dict.fromkeys(sink.seqs))
    assert first_seen == sorted(first_seen)
    assert all(len(found) == 1 for found in bodies(sink).values())


async def test_it_hears_that_the_log_has_grown_and_what_a_person_has_decided(grounds: Grounds) -> None:
    """A line each on its standard input; it ends with that."""
    async with grounds.endpoint() as sink:
        sink.answer = lambda body: 422 if json.loads(body)["seq"] == 1 else 200
        grounds.route("erp", sink.url)
        await grounds.grow(1)
        grounds.config()
        async with program(str(grounds.path)) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            await until(lambda: grounds.data.joinpath("routes").exists() and len(sink.posted) == 2)
            await grounds.grow(1)
            process.stdin.write(b"3\n")
            await until(lambda: sink.seqs == [0, 2])
            sink.answer = lambda _body: 200
            with closing(grounds.kept()) as kept:
                kept.want("erp", [1])
            process.stdin.write(b"decided\n")
            await until(lambda: sink.seqs == [0, 2, 1])
            process.stdin.close()
            said = (await process.stderr.read()).decode()
            assert await process.wait() == 0
    assert '"event":"routes.started"' in said
    assert said.count('"event":"route.refused"') == 1


async def test_it_says_what_is_wrong_and_ends(grounds: Grounds) -> None:
    """With 2 for a setting, and 3 for a log that is not there."""
    grounds.route("erp", "https://localhost:1/in", 'token = "env:NO_SUCH_TOKEN_IN_ANY_ENVIRONMENT"')
    await grounds.grow(1)
    grounds.config()
    async with program(str(grounds.path)) as process:
        assert process.stderr is not None
        assert b"routes.failed" in await process.stderr.read()
        assert await process.wait() == 2


async def test_without_a_log_it_ends_and_is_started_again_by_the_gateway(grounds: Grounds) -> None:
    """There is nothing to read yet."""
    grounds.route("erp", "https://localhost:1/in", 'from = "now"')
    grounds.config()
    async with program(str(grounds.path)) as process:
        assert process.stderr is not None
        assert b"routes.failed" in await process.stderr.read()
        assert await process.wait() == 3


def test_a_missing_configuration_is_a_wrong_one(grounds: Grounds) -> None:
    """Said in one line, without a traceback."""
    assert main([str(grounds.path)]) == 2
