"""Attacks on a running gateway and service: each is played, and whoever should notice must name it.

The programs are real, and speak over TLS as always. Each attack has its own copy of a work folder in which
both have run before. Promises that whatever it started has ended when it ends. Tampers with no other folder.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import msgspec
from rich.table import Table
from rich.text import Text

from coldseal.core.log.delivery.wire import Refused, Unavailable
from coldseal.demo import adversary, gauges
from coldseal.demo.chance import seeded
from coldseal.demo.forging import SENT, SHOWN, Forger
from coldseal.demo.gauges import read_gauges, whole
from coldseal.demo.programs import Program, prepare, run_command
from coldseal.demo.site import Site, make_fleet, prepare_site, read_service
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.config import load_gateway

GATEWAY, SERVICE, VERIFIER = "gateway's start", "service", "evidence verify"
"""Who notices."""

UPLINK: Final = "gateway's uplink"

_READINGS = 40
_SENSORS = 2
_INTERVAL_S = 0.05
_TICK_S = 0.1
_READY_S = 20.0
_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A copy of the work folder, for one attack.

    Attributes:
        site: the copy; neither program runs.
        before: the folder that it is a copy of: the same disk, some time ago.
        http: a client.
    """

    site: Site
    before: Path
    http: aiohttp.ClientSession


Play = Callable[[Scene], Awaitable[str]]
"""Makes an attack, and gives the verdict that somebody came to; empty if nobody did."""


class Attack(NamedTuple):
    """One attack.

    Attributes:
        title: what is done, in a few words.
        caught_by: who should notice.
        verdict: what it should be called.
        play: makes it.
    """

    title: str
    caught_by: str
    verdict: str
    play: Play


class Outcome(NamedTuple):
    """What became of an attack.

    Attributes:
        name: of the attack.
        attack: what was to be noticed, and by whom.
        verdict: that somebody came to; empty if nobody did.
    """

    name: str
    attack: Attack
    verdict: str

    @property
    def is_caught(self) -> bool:
        """Whether it was noticed as it should be."""
        return self.verdict == self.attack.verdict


async def play(folder: Path, names: Sequence[str], tell: Callable[[str], None]) -> list[Outcome]:
    """Play attacks one after the other.

    Args:
        folder: the work folder; must be new or empty.
        names: of :data:`ATTACKS`.
        tell: told what happens.

    Raises:
        OperatorError: a set-up command refuses.
        UnavailableError: a program does not become ready.
    """
    tell("setting up: development CA, service, gateway, two sensors")
    site = await prepare_site(_made(folder / "before"), _SENSORS)
    timeout, found = aiohttp.ClientTimeout(total=2.0), list[Outcome]()
    async with aiohttp.ClientSession(timeout=timeout) as http:
        await _live(site, http)
        for name in names:
            attack = ATTACKS[name]
            tell(f"{name}: {attack.title}")
            copied = shutil.copytree(site.folder, folder / name, ignore=shutil.ignore_patterns("*.log"))
            scene = Scene(replace(site, folder=copied), site.folder, http)
            found.append(Outcome(name, attack, await attack.play(scene)))
    await asyncio.sleep(0)  # a closed session's sockets close in the next round
    return found


def choose(text: str) -> list[str]:
    """Read which attacks are wanted: one by its name, or all.

    Raises:
        OperatorError: there is no such attack.
    """
    if text != "all" and text not in ATTACKS:
        raise OperatorError(f"there is no attack {text!r}", f"Give all, or one of {', '.join(ATTACKS)}")
    return list(ATTACKS) if text == "all" else [text]


def render(outcomes: Sequence[Outcome]) -> Table:
    """Render what became of attacks as a table, those that nobody noticed marked."""
    missed = sum(not found.is_caught for found in outcomes)
    title = f"{missed} of {len(outcomes)} ATTACKS NOT CAUGHT" if missed else "every attack was caught"
    table = Table(title=f"Verdict: {title}", title_justify="left")
    for column in ("attack", "what is done", "caught by", "verdict", ""):
        table.add_column(column)
    for name, attack, verdict in outcomes:
        is_caught = verdict == attack.verdict
        mark = Text("ok", "green") if is_caught else Text(f"WRONG: {attack.verdict} expected", "bold red")
        table.add_row(name, attack.title, attack.caught_by, verdict or "none", mark)
    return table


async def flip(scene: Scene) -> str:
    """Change a delivered reading in the store; the gateway starts and exports it."""
    adversary.flip(adversary.take(scene.site.gateway_config))
    return await _exported(scene)


def cut(groups: int) -> Play:
    """Give the attack that cuts the end off the store; the gateway must say so before it goes on."""

    async def play_cut(scene: Scene) -> str:
        adversary.cut_tail(adversary.take(scene.site.gateway_config), groups)
        async with scene.site.gateway(scene.site.service_port) as gateway:
            return "store-damaged" if await _said(gateway, "store.damaged") else ""

    return play_cut


async def old_image(scene: Scene) -> str:
    """Go on for a while, then put the gateway's whole disk back to what it was; the gateway must refuse."""
    await _live(scene.site, scene.http)
    data = scene.site.gateway_config.parent / "data"
    shutil.rmtree(data)
    shutil.copytree(scene.before / data.relative_to(scene.site.folder), data)
    async with scene.site.service() as service:
        await service.ready(scene.http, within_s=_READY_S)
        async with scene.site.gateway(scene.site.service_port) as gateway:
            return "rolled-back" if await _said(gateway, "store.rolled-back") else ""


async def rewritten(scene: Scene) -> str:
    """Seal the log anew with all software keys, and export it with the receipts that are there."""
    await adversary.rewrite(adversary.take(scene.site.gateway_config))
    return await _exported(scene)


async def forked(scene: Scene) -> str:
    """Seal the log anew and deliver it, by a program that compares nothing."""
    loot = adversary.take(scene.site.gateway_config)
    await adversary.rewrite(loot)
    async with scene.site.service() as service:
        await service.ready(scene.http, within_s=_READY_S)
        await adversary.deliver(loot, scene.site.service_port)
        return await _said(service, "ingest.refused")


def forged(make: Callable[[Forger], None], caught_by: str = SERVICE) -> Play:
    """Give the attack that sends the service one batch with one thing wrong in it.

    Args:
        make: does it.
        caught_by: who notices: the service, or the verifier of what the service took.
    """

    async def play_forgery(scene: Scene) -> str:
        site = scene.site
        forger = Forger.of(adversary.take(site.gateway_config), read_service(site)[1].size)
        make(forger)
        async with site.service() as service:
            await service.ready(scene.http, within_s=_READY_S)
            answer = await adversary.post(forger.loot, site.service_port, forger.body())
            if isinstance(answer, Refused):
                return answer.verdict
            if isinstance(answer, Unavailable):
                return answer.cause.partition(": ")[2].partition(" ")[0]
            if caught_by == SERVICE:
                return await _said(service, "verify.refuted", "reason")  # checked behind the receipt
        return await _exported(scene, source=site.service_config)

    return play_forgery


async def older_key(scene: Scene) -> str:
    """Change the record key, and go on with the old one."""
    site = scene.site
    loot, held = adversary.take(site.gateway_config), read_service(site)[1].size
    old = Forger.of(loot, held).keys.record
    await prepare("identity", "roll-over", str(site.gateway_config), "record")

    def go_on(forger: Forger) -> None:
        forger.keys, forger.chain.kid = msgspec.structs.replace(forger.keys, record=old), old.kid
        forger.send(forger.seal())

    return await forged(go_on)(scene)


async def newer_key(scene: Scene) -> str:
    """Change the record key, and seal a reading from before that anew with it."""
    await prepare("identity", "roll-over", str(scene.site.gateway_config), "record")
    adversary.seal_anew(adversary.take(scene.site.gateway_config))
    return await _exported(scene)


async def old_service(scene: Scene) -> str:
    """Go on for a while, then put the service's whole disk back to what it was; the gateway must notice."""
    await _live(scene.site, scene.http)
    data = scene.site.service_config.parent / "data"
    shutil.rmtree(data)
    shutil.copytree(scene.before / data.relative_to(scene.site.folder), data)
    async with scene.site.service() as service, scene.site.gateway(scene.site.service_port) as gateway:
        await service.ready(scene.http, within_s=_READY_S)
        return "witness-rolled-back" if await _said(gateway, "uplink.rolled-back") else ""


def stepped(hours: int) -> Play:
    """Give the attack in which the clock is an hour off and no entry says so."""

    async def play_step(scene: Scene) -> str:
        await adversary.append_stepped(adversary.take(scene.site.gateway_config), hours)
        async with _running(scene.site, scene.http) as (gateway, _):
            await _delivered(scene.http, gateway)
        return await _exported(scene)

    return play_step


async def false_receipt(scene: Scene) -> str:
    """Stand in for the service with its own key, and acknowledge what it was never sent."""
    port = scene.site.service_port
    async with adversary.false_service(scene.site.service_config, port), scene.site.gateway(port) as gateway:
        await gateway.ready(scene.http, within_s=_READY_S)
        return await _said(gateway, "uplink.refused")


async def changed_cell(scene: Scene) -> str:
    """Change a cell of the table in a good bundle, and the sum with it."""
    return await _exported(scene, adversary.change_cell)


ATTACKS: Final[Mapping[str, Attack]] = {
    "flip": Attack("a reading is changed in the store", VERIFIER, "bad-signature", flip),
    "cut-tail": Attack("the end of the store is cut off", GATEWAY, "store-damaged", cut(3)),
    "cut-end": Attack("what no witness has seen is cut off the store", GATEWAY, "store-damaged", cut(1)),
    "old-image": Attack(
        "the gateway's disk is put back from an old image", GATEWAY, "rolled-back", old_image
    ),
    "rewrite": Attack("the log is sealed anew with all software keys", VERIFIER, "root-mismatch", rewritten),
    "fork": Attack("a log sealed anew is delivered", SERVICE, "fork", forked),
    "clock-back": Attack("the clock is put back by an hour", VERIFIER, "clock-step", stepped(-1)),
    "clock-ahead": Attack("the clock is put forward by an hour", VERIFIER, "clock-step", stepped(1)),
    "false-receipt": Attack(
        "a service acknowledges more than it was sent", UPLINK, "over-acknowledged", false_receipt
    ),
    "csv-cell": Attack("a cell of an exported table is changed", VERIFIER, "csv-mismatch", changed_cell),
    "older-key": Attack("a new reading is signed with an older key", SERVICE, "wrong-key", older_key),
    "newer-key": Attack("an old reading is sealed anew with a newer key", VERIFIER, "wrong-key", newer_key),
    "old-service": Attack(
        "the service's disk is put back from an old image", UPLINK, "witness-rolled-back", old_service
    ),
    **{name: Attack(each.title, SERVICE, each.verdict, forged(each.make)) for name, each in SENT.items()},
    **{
        name: Attack(each.title, VERIFIER, each.verdict, forged(each.make, VERIFIER))
        for name, each in SHOWN.items()
    },
}
"""By name."""


def _made(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir(parents=True)
    return folder


async def _live(site: Site, http: aiohttp.ClientSession) -> None:
    """Let the sensors publish for a moment, until every entry has a receipt; both programs end in order."""
    fleet = make_fleet(site, seeded(1), interval_s=_INTERVAL_S)
    async with _running(site, http) as (gateway, _):
        sensors = asyncio.ensure_future(fleet.run())
        try:
            await _until(lambda: fleet.total >= _READINGS, gateway)
            fleet.stop()
            await asyncio.wait_for(sensors, _WITHIN_S)
        finally:
            sensors.cancel()
        await _delivered(http, gateway)


@asynccontextmanager
async def _running(site: Site, http: aiohttp.ClientSession) -> AsyncIterator[tuple[Program, Program]]:
    """Run service and gateway."""
    async with site.service() as service, site.gateway(site.service_port) as gateway:
        await service.ready(http, within_s=_READY_S)
        await gateway.ready(http, within_s=_READY_S)
        yield gateway, service
        await gateway.stop()


async def _delivered(http: aiohttp.ClientSession, gateway: Program) -> None:
    """Wait until every entry has a receipt."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            here = await read_gauges(http, gateway.url)
            size = whole(here, gauges.LOG_ENTRIES)
            if size and size == whole(here, gauges.PUBLISHED_ENTRIES):
                return
            await asyncio.sleep(_TICK_S)


async def _said(program: Program, event: str, name: str = "error") -> str:
    """Wait until a program writes an event, or ends; gives its error, or its name; empty if it never came."""

    def found() -> str:
        lines = (json.loads(line) for line in program.log.read_text().splitlines() if line.startswith("{"))
        return next((str(line.get(name, event)) for line in lines if line.get("event") == event), "")

    try:
        await _until(lambda: bool(found()), program)
    except (TimeoutError, UnavailableError):
        return found()
    return found()


async def _until(is_so: Callable[[], bool], program: Program) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it was not in time.
        UnavailableError: the program ended first.
    """
    async with asyncio.timeout(_WITHIN_S):
        while not is_so():
            if program.has_ended():
                raise UnavailableError(program.name, f"it ended by itself: {program.tail()}")
            await asyncio.sleep(_TICK_S)


async def _exported(
    scene: Scene, change: Callable[[Path, Path], object] | None = None, *, source: Path | None = None
) -> str:
    """Export everything, tamper with the bundle if asked to, and have it verified; gives the verdict."""
    site, bundle = scene.site, scene.site.bundle
    await prepare("evidence", "export", str(source or site.gateway_config), str(bundle))
    if change is not None:
        change(bundle, bundle.with_suffix(".changed"))
        bundle = bundle.with_suffix(".changed")
    witness = load_gateway(site.gateway_config).uplink.witness
    policy = site.gateway_config.with_name("admission.json")
    _, said = await run_command(
        *("evidence", "verify", str(bundle), "--json"), *("--policy", str(policy), "--witness", witness)
    )
    faults = json.loads(said.strip().rpartition("\n")[2])["faults"]
    return str(faults[0]["verdict"]) if faults else ""
