"""The uplink's own process: it lives as long as its input, and says what is wrong with its configuration."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from coldseal.core.log.checkpoint import parse_note
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.refusal import read_refusal
from coldseal.gateway.tables.outward import FurtherWitness, Uplink
from coldseal.gateway.uplink import witnesses
from coldseal.gateway.uplink.receipts import Receipts
from tests.gateway.beside import running
from tests.gateway.uplink.deliveries import grown
from tests.gateway.uplink.test_faults import port_of, verify_delivered
from tests.gateway.uplink.test_timestamps import kept, store_segments
from tests.sealed import ORIGIN, SealedLog, new_keys
from tests.trial import DEADLINE_S, STORE_KEY, Site
from tests.tsa import Authority, Desk
from tests.waiting import until


def configure(site: Site, port: int, **changes: str) -> Path:
    """Write the gateway's configuration."""
    certificate = site.certificates["gateway"]
    uplink = {
        "url": f"https://localhost:{port}",
        "certificate": str(certificate),
        "key": str(certificate.with_suffix(".key")),
        "ca": str(site.trust),
        "witness": site.witness.encode(),
    } | changes
    lines = "".join(f'{name} = "{value}"\n' for name, value in uplink.items())
    key = site.folder / "store.key"
    if not key.exists():
        key.write_text(STORE_KEY.hex())
        key.chmod(0o600)
    path = site.folder / "gateway.toml"
    path.write_text(
        f'[gateway]\norigin = "{ORIGIN}"\nsite = "site-7"\ndata = "{site.gateway}"\n'
        f'[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:0"\npasswords = "passwords"\n'
        f'[store]\nkey = "file:store.key"\n[uplink]\nretry_initial_s = 0.05\nretry_max_s = 0.1\n{lines}'
    )
    return path


program = partial(running, "uplink")
"""Runs the process."""


def published(site: Site) -> int:
    """Read how far the process is, as the gateway does."""
    try:
        with closing(Receipts(site.gateway, STORE_KEY, readonly=True)) as receipts:
            return receipts.status().published
    except UnavailableError:
        return -1


async def test_it_delivers_until_its_input_ends(site: Site, log: SealedLog) -> None:
    """Told of growth by a line; its end is in order."""
    await site.store(grown(log, 20))
    async with site.running() as service:
        path = configure(site, port_of(service.address))
        async with program(str(path), "uplink.batch_entries=10") as process:
            assert process.stdin is not None
            await until(lambda: published(site) == 21)
            await site.store(grown(log, 20))
            process.stdin.write(b"41\n")
            await until(lambda: published(site) == 41)
            process.stdin.close()
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0

    await verify_delivered(site, log)


async def test_further_witnesses_of_the_configuration_make_the_quorum(site: Site, log: SealedLog) -> None:
    """With a CA and a certificate of their own; the process counts on one note."""
    folder = site.folder / "second"
    folder.mkdir()
    second = Site(folder)
    second.witness = replace(second.witness, name="second.example")
    path = second.admit(log)
    path.parent.rename(path.parent.with_name("witnessed"))
    certificate = second.certificates["gateway"]
    await site.store(grown(log, 20))
    async with site.running() as service, second.running("service.name=second.example") as other:
        configured = configure(site, port_of(service.address))
        with configured.open("a") as file:
            file.write(
                f'[[uplink.witnesses]]\nurl = "https://localhost:{port_of(other.address)}/v1/witness"\n'
                f'key = "{second.witness.encode()}"\nca = "{second.trust}"\n'
                f'certificate = "{certificate}"\ncertificate_key = "{certificate.with_suffix(".key")}"\n'
                "[witness]\nquorum = 2\ninterval_s = 0.01\n"
            )
        async with program(str(configured)) as process:
            assert process.stdin is not None
            for size in (21, 41):
                await until(partial(is_witnessed, site, size))
                await site.store(grown(log, 20))
                process.stdin.write(b"more\n")
            process.stdin.close()
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0


def is_witnessed(site: Site, size: int) -> bool:
    """Whether a quorum of two has cosigned so much, as the gateway sees it."""
    try:
        with closing(Receipts(site.gateway, STORE_KEY, readonly=True)) as receipts:
            return receipts.cosignatures.witnessed(2) == size
    except UnavailableError:
        return False


@pytest.mark.parametrize(
    ("witness", "named"),
    [
        ('key = "nonsense"', "uplink.witnesses.key"),
        (f'key = "{SealedLog().admitted.checkpoint_keys[1].encode()}"', "no cosigner"),
        ('key = "second+6dbb2b1e+x"\nca = "missing.pem"', "uplink.witnesses.key"),
    ],
    ids=["nonsense", "log key", "no file"],
)
async def test_a_wrong_further_witness_is_told(site: Site, witness: str, named: str) -> None:
    """As any other wrong configuration."""
    path = configure(site, 1)
    with path.open("a") as file:
        file.write(f'[[uplink.witnesses]]\nurl = "https://localhost:1"\n{witness}\n')

    code, said = await outcome(path)

    assert code == 2
    assert named in said


def test_a_further_witness_needs_a_certificate_from_somewhere() -> None:
    """Its own, or that of the uplink."""
    with pytest.raises(OperatorError, match="has no certificate"):
        witnesses._renewal(Uplink(), FurtherWitness(url="https://w1", key="w1"), lambda: 0)


async def test_a_killed_process_goes_on_where_its_receipts_end(site: Site, log: SealedLog) -> None:
    """Nothing is lost and nothing doubled."""
    await site.store(grown(log, *[10] * 10))
    async with site.running() as service:
        path = configure(site, port_of(service.address))
        for _ in range(3):
            async with program(str(path), "uplink.batch_entries=10") as process:
                await until(lambda: published(site) >= 11)
                process.kill()
                await process.wait()
        async with program(str(path)):
            await until(lambda: published(site) == 101)

    await verify_delivered(site, log)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), "No such file"), (("missing.toml",), "missing.toml")],
)
async def test_a_missing_configuration_is_told(arguments: tuple[str, ...], named: str) -> None:
    """With the exit code for a wrong use."""
    async with program(*arguments) as process:
        _, said = await process.communicate()

    assert process.returncode == 2
    assert b"uplink.failed" in said
    assert named.encode() in said or b"directory" in said


async def outcome(path: Path) -> tuple[int | None, str]:
    """Run the process to its end; give exit code and what it said."""
    async with asyncio.timeout(DEADLINE_S), program(str(path)) as process:
        _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"witness": "nonsense"}, "uplink.witness"),
        ({"witness": SealedLog().admitted.checkpoint_keys[1].encode()}, "no cosigner"),
        ({"ca": "missing.pem"}, "missing.pem"),
        ({"url": ""}, "not configured"),
    ],
)
async def test_a_wrong_configuration_is_told(site: Site, changes: dict[str, str], named: str) -> None:
    """The gateway starts it again: it may be mended."""
    if not changes.get("url", "set"):
        changes = changes | {"certificate": ""}

    code, said = await outcome(configure(site, 1, **changes))

    assert code == 2
    assert named in said


async def test_a_damaged_log_ends_it_with_another_code(site: Site, log: SealedLog) -> None:
    """Nothing is sent of which nobody knows what it was."""
    await site.store(grown(log, 20))
    (site.gateway / "log" / "head").write_bytes(bytes(1000))

    async with asyncio.timeout(DEADLINE_S), program(str(configure(site, 1))) as process:
        assert process.stderr is not None
        said = await process.stderr.read()
        assert await process.wait() == 3

    assert b"uplink.failed" in said


async def test_a_held_delivery_is_resumed_by_a_word(site: Site, log: SealedLog) -> None:
    """A person has looked, and writes it to the process."""
    site.admit(SealedLog(keys=new_keys()))
    await site.store(grown(log, 5))
    async with (
        site.running() as service,
        program(str(configure(site, port_of(service.address)))) as process,
    ):
        assert process.stdin is not None
        await until(lambda: service._ingest.finished == 1)
        process.stdin.write(b"15\n")
        process.stdin.write(b"resume\n")
        await until(lambda: service._ingest.finished == 2)


async def test_a_disk_that_was_put_back_sends_nothing(site: Site, log: SealedLog) -> None:
    """The proof is written down for the gateway, which then refuses; the service sees no fork."""
    other = log.copy()
    await site.store(grown(log, 5))
    async with site.running() as service:
        port = port_of(service.address)
        async with program(str(configure(site, port))):
            await until(lambda: published(site) == 6)
        for path in (site.gateway / "log").iterdir():
            path.unlink()
        other.grow(9, text="probe-2").checkpoint()
        await site.store(other)
        async with program(str(configure(site, port))):
            await until(lambda: read_refusal(site.gateway) is not None)
        assert service._ingest.finished == 1

    found = read_refusal(site.gateway)
    assert found is not None
    assert (found.known, found.held, found.source) == (6, 10, "service")


async def test_ends_of_segments_are_stamped_beside_delivery(
    site: Site, log: SealedLog, tmp_path: Path
) -> None:
    """By a real authority; while it is away, delivery goes on."""
    desk = Desk(Authority(tmp_path / "tsa"))
    async with desk.open():
        pass  # so that its port is known, and nobody listens there
    await store_segments(site.gateway, log, 10, 5)
    async with site.running() as service:
        path = configure(site, port_of(service.address))
        settings = (f"timestamp.url={desk.url}", f"timestamp.ca={desk.authority.ca}", "timestamp.timeout_s=5")
        async with program(str(path), *settings):
            await until(lambda: published(site) == log.size)
            assert kept(site.gateway) == []
            async with desk.open():
                await until(lambda: len(kept(site.gateway)) == 2)

    for each in kept(site.gateway):
        assert desk.authority.accepts(each.response, parse_note(log.notes[each.size]).text)


async def test_wrong_certificates_of_the_authority_are_told(site: Site, log: SealedLog) -> None:
    """Before anybody relies on timestamps that will never come."""
    await site.store(grown(log, 5))
    path = configure(site, 1)
    async with asyncio.timeout(DEADLINE_S):
        async with program(
            str(path), "timestamp.url=http://127.0.0.1:1/", "timestamp.ca=missing.pem"
        ) as process:
            _, said = await process.communicate()

    assert process.returncode == 2
    assert b"timestamp.ca" in said
