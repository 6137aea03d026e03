"""Claims about telling people, by real servers: nothing is lost, nothing waits, no secret comes back."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from coldseal.identity.authority import create_authority
from tests.gateway.alarming.ears import mailbox, webhook
from tests.gateway.alarming.site import open_room
from tests.gateway.parts import Hands
from tests.trial import now
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "t0ps3cr3t"


def person(folder: Path, name: str, url: str, endpoint: str, more: str = "") -> str:
    """Write a recipient down, with the secret in a file of its own."""
    secret = folder / f"{name}.url"
    secret.write_text(url)
    secret.chmod(0o600)
    return (
        f'[[alarms.recipients]]\nname = "{name}"\nurl = "file:{name}.url"\nendpoints = ["{endpoint}"]\n{more}'
    )


def hook(folder: Path, port: int, name: str = "duty", more: str = "") -> str:
    """Write a webhook on loopback down."""
    url = f"json://127.0.0.1:{port}/{TOKEN}"
    return person(folder, name, url, f"http://127.0.0.1:{port}", more)


async def test_people_are_told_by_webhook_and_mail(tmp_path: Path) -> None:
    """Begin and end; the log says who was told, and nothing says by which address."""
    async with webhook() as web, mailbox() as mail:
        address = f"mailto://127.0.0.1:{mail.port}?from=gw@site.example&to=duty@site.example&mode=insecure"
        text = hook(tmp_path, web.port) + person(tmp_path, "mail", address, f"smtp://127.0.0.1:{mail.port}")
        async with open_room(tmp_path, text) as room:
            await room.excursion("opened", tier="excursion")
            await until(lambda: bool(web.heard) and bool(mail.heard))
            await until(lambda: sorted(room.told()) == [("duty", 1), ("mail", 1)])
            said = web.heard[0]
            assert said["title"] == "site-7: EXCURSION: temperature excursion, fridge-3"
            assert "9.2 Cel at worst" in said["message"]
            assert "alarms acknowledge CONFIG ID --why" in said["message"]
            assert said["type"] == "failure"
            assert "To: duty@site.example" in mail.heard[0]
            assert web.paths == [f"/{TOKEN}"]
            await room.excursion("recovered", tier="excursion")
            await until(lambda: len(web.heard) == 2)
            assert web.titles[1] == "site-7: OVER: temperature excursion, fridge-3"
            await until(lambda: len(room.told()) >= 3)
            assert TOKEN.encode() not in b"".join(room.parts.log.reader.read_from(0))
            room.later(0)
            metrics = room.parts.metrics.render().decode()
            assert 'alarm_notices_total{result="handed"}' in metrics
            assert TOKEN not in metrics


async def test_what_could_not_be_handed_over_is_tried_again_and_goes_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once when lost and once when back; what came meanwhile goes with it; others do not wait."""
    async with webhook() as web, webhook() as other:
        text = hook(tmp_path, web.port) + hook(tmp_path, other.port, "other")
        async with open_room(tmp_path, text) as room:
            web.is_deaf, line = True, room.desk._notifier._lines["duty"]
            await room.excursion("opened")
            await until(lambda: line.failures == 1)
            await until(lambda: len(other.heard) == 1)
            assert not web.heard
            await room.excursion("opened", name="two", tier="critical")
            await until(lambda: len(other.heard) == 2)
            asked = len(web.paths)
            room.later(0)
            assert len(web.paths) == asked
            room.later(1)
            await until(lambda: line.failures == 2)
            assert "error=500" in line.fault
            assert TOKEN not in line.fault
            web.is_deaf = False
            room.later(1)
            await until(lambda: len(web.heard) == 1)
            assert web.titles == ["site-7: CRITICAL: temperature excursion, fridge-3 (and 1 more)"]
            await until(lambda: [each for each in room.told() if each[0] == "duty"] == [("duty", 1)] * 2)
    lines = capsys.readouterr().err
    assert lines.count("alarms.recipient-lost") == 1
    assert lines.count("alarms.recipient-back") == 1
    assert TOKEN not in lines


async def test_what_was_over_before_anybody_could_be_told_is_told_as_that(tmp_path: Path) -> None:
    """The state that stands is told, never one that is past."""
    async with webhook() as web, open_room(tmp_path, hook(tmp_path, web.port)) as room:
        web.is_deaf = True
        await room.excursion("opened")
        await until(lambda: bool(web.paths))
        await room.excursion("recovered")
        await room.reach("raised", "cleared")
        web.is_deaf = False
        await until(lambda: room.desk._notifier._lines["duty"].failures > 0)
        room.later(5)
        await until(lambda: web.titles == ["site-7: OVER: temperature excursion, fridge-3"])


async def test_a_notice_that_may_not_have_arrived_is_repeated_by_the_next_run(tmp_path: Path) -> None:
    """Handed over, killed before that was on record: once more; on record: not again."""
    hands = Hands()
    async with webhook() as web:
        text = hook(tmp_path, web.port)
        async with open_room(tmp_path, text, hands=hands) as room:
            room.desk._notifier._handed = lambda _alarm, _name: None  # as if killed directly behind it
            await room.excursion("opened")
            await until(lambda: len(web.heard) == 1)
            assert room.told() == []
        async with open_room(tmp_path, text, hands=hands) as room:
            await until(lambda: _look(room.desk.tick, len(web.heard) == 2))
            await until(lambda: room.told() == [("duty", 1)])
        async with open_room(tmp_path, text, hands=hands) as room:
            await until(lambda: room.desk._notifier._is_there)
            room.later(0)
            assert room.desk._alarms.notices(room.desk._people) == []
        assert len(web.heard) == 2


def _look(look: object, answer: bool) -> bool:
    """Let the desk look, and give the answer."""
    assert callable(look)
    look()
    return answer


async def test_a_notifier_that_ends_is_started_again(tmp_path: Path) -> None:
    """What was on its way is handed over by the next one."""
    async with webhook() as web, open_room(tmp_path, hook(tmp_path, web.port)) as room:
        notifier = room.desk._notifier
        await until(lambda: notifier._process is not None)
        first = notifier._process
        assert first is not None
        first.kill()
        await room.excursion("opened")
        await until(lambda: notifier._is_there and notifier._process is not first)
        room.later(1)
        await until(lambda: _look(room.desk.tick, len(web.heard) == 1))


async def test_a_notice_that_is_stuck_takes_its_process_with_it(tmp_path: Path) -> None:
    """After twice its time; it is tried again."""
    text = "[alarms]\ntimeout_s = 30\n"
    asked = asyncio.Event()
    free = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await free.wait()
        writer.close()
        await reader.read(0)

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_room(tmp_path, text + hook(tmp_path, port)) as room:
        await room.excursion("opened")
        await asked.wait()
        first = room.desk._notifier._process
        assert first is not None
        room.later(2)
        await until(lambda: first.returncode is not None)
        await until(lambda: room.desk._notifier._lines["duty"].failures == 1)
    free.set()
    server.close()
    await server.wait_closed()


UNUSABLE = (
    ("open", f"json://hook.example/{TOKEN}", "https://hook.example", "does not speak verified TLS"),
    ("lax", f"jsons://hook.example/{TOKEN}?verify=no", "https://hook.example", "does not speak verified TLS"),
    ("unknown", f"nosuch://{TOKEN}", "https://hook.example", "names no service that apprise"),
    ("elsewhere", f"json://127.0.0.2:1/{TOKEN}", "http://127.0.0.1:1", "error occurred"),
    ("missing", "", "http://127.0.0.1:1", "missing.url"),
)


async def test_an_address_that_cannot_be_used_is_a_fault_of_its_recipient_alone(tmp_path: Path) -> None:
    """It is shown in the status, without any of its secrets, and tried again; the others are told."""
    async with webhook() as web:
        text = hook(tmp_path, web.port) + "".join(person(tmp_path, *each[:3]) for each in UNUSABLE)
        (tmp_path / "missing.url").unlink()
        async with open_room(tmp_path, text) as room:
            await room.excursion("opened")
            await until(lambda: len(web.heard) == 1)
            known = room.desk._notifier._lines
            await until(lambda: all(known[name].failures > 0 for name, *_ in UNUSABLE))
            for name, _, _, expected in UNUSABLE:
                line = known[name]
                assert expected in line.fault
                assert TOKEN not in line.fault


async def test_an_address_that_cannot_be_used_is_told_before_anybody_needs_it(tmp_path: Path) -> None:
    """At the start, not with the first alarm."""
    text = person(tmp_path, "duty", f"nosuch://{TOKEN}", "https://hook.example")
    async with open_room(tmp_path, text) as room:
        line = room.desk._notifier._lines["duty"]
        await until(lambda: line.failures == 1)
        assert "names no service that apprise" in line.fault


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a server's TLS context, and give the CA that it descends from."""
    authority = create_authority(folder / "pki", now=now())
    certificate = authority.issue("service", "service-1", now=now())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context, folder / "pki" / "root.pem"


async def test_tls_is_verified_by_the_ca_that_is_named(tmp_path: Path) -> None:
    """A private CA is trusted where it is named, and only there."""
    context, root = server_context(tmp_path)
    async with webhook(context) as web:
        url, endpoint = f"jsons://localhost:{web.port}/{TOKEN}", f"https://localhost:{web.port}"
        text = f'[alarms]\nca = "{root}"\n' + person(tmp_path, "duty", url, endpoint)
        async with open_room(tmp_path, text) as room:
            await room.excursion("opened")
            await until(lambda: len(web.heard) == 1)


@pytest.mark.parametrize("kind", ["strange", "pinned"])
async def test_tls_with_somebody_else_tells_nothing(tmp_path: Path, kind: str) -> None:
    """Neither to a CA that is not named, nor to a key that is not pinned; the refusal is written down."""
    context, root = server_context(tmp_path)
    async with webhook(context) as web:
        url, endpoint = f"jsons://localhost:{web.port}/{TOKEN}", f"https://localhost:{web.port}"
        text = "" if kind == "strange" else f'[alarms]\nca = "{root}"\n'
        text += person(tmp_path, "duty", url, endpoint)
        if kind == "pinned":
            text += f'[[egress.allow]]\nhost = "localhost"\nport = {web.port}\npins = ["{"A" * 43}="]\n'
        async with open_room(tmp_path, text) as room:
            await room.excursion("opened")
            await until(lambda: room.desk._notifier._lines["duty"].failures > 0)
            room.later(0)
            refused = room.desk.status()["refused"]
        assert web.paths == []
    assert ("pin:" if kind == "pinned" else "authority:") in str(refused)


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """What the address names is told, nobody else."""
    async with webhook() as web, webhook() as elsewhere:
        web.location = f"http://127.0.0.1:{elsewhere.port}/"
        async with open_room(tmp_path, hook(tmp_path, web.port)) as room:
            await room.excursion("opened")
            await until(lambda: room.desk._notifier._lines["duty"].failures > 0)
        assert elsewhere.paths == []
