"""The listener answers every cell of the access matrix as the policy says, and hands over each refusal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import argon2
import pytest

from coldseal.core.conduct import Conduct
from coldseal.core.topics import NOT_AUTHORISED, NOT_REGISTERED, NOT_RETAINED, SUBSCRIBE, WILL, Policy
from coldseal.gateway.governance import read_registry
from coldseal.mqtt.packets import ReasonCode, Subscription, Version, Will
from tests import access
from tests.gateway.sources.rig import PASSWORD, SITE, Intake, Peer, Rig, Site, running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.access import Cell

DENIED = frozenset((ReasonCode.NOT_AUTHORIZED, ReasonCode.UNSPECIFIED_ERROR))
"""How a refused subscription is said in MQTT 5 and in 3.1.1."""

REASONS = {
    "publish": NOT_AUTHORISED,
    "retain": NOT_AUTHORISED,
    "will": WILL,
    "subscribe": SUBSCRIBE,
    "shared": SUBSCRIBE,
}


@pytest.fixture(scope="module")
def passwords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a password file in which every identity has the same, cheap password."""
    path = tmp_path_factory.mktemp("access") / "passwords"
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    path.write_text("".join(f"{name}:{hasher.hash(PASSWORD)}\n" for name in access.IDENTITIES))
    path.chmod(0o600)
    return path


def policy(folder: Path, *, is_strict: bool) -> Policy:
    """Compile the registry."""
    return Policy(SITE, (), read_registry(access.write_registry(folder / "r.toml")), is_strict=is_strict)


async def _publish(peer: Peer, intake: Intake, cell: Cell) -> bool:
    """Ask one cell by a message; whether it was taken is what the intake says, and in MQTT 5 the answer."""
    count = len(intake.messages)
    answer = await peer.publish(cell.topic, retain=cell.action == "retain")
    (message,) = intake.messages[count:]
    expected = ReasonCode.NOT_AUTHORIZED if message.refused else ReasonCode.SUCCESS
    assert answer is (expected if peer.version is Version.V5 else ReasonCode.SUCCESS)
    return not message.refused


async def _ask(rig: Rig, version: Version, identity: str, cells: Sequence[Cell]) -> list[Cell]:
    """Ask all cells of one identity; give those that were answered otherwise than the policy says."""
    wrong = []
    peer = await rig.admitted(f"{identity}-asks", version=version, device=identity)
    for number, cell in enumerate(cells):
        if cell.action == "will":
            other, answer = await rig.client(
                f"will-{number}", version=version, device=identity, will=Will(cell.topic, b"gone")
            )
            is_allowed = answer.reason is ReasonCode.SUCCESS
            assert is_allowed or answer.reason is ReasonCode.NOT_AUTHORIZED
            if is_allowed:
                await other.disconnect()
        elif cell.asks_to_publish:
            is_allowed = await _publish(peer, rig.intake, cell)
        else:
            (code,) = (await peer.subscribe(Subscription(cell.topic, 0))).reasons
            is_allowed = code not in DENIED
            if is_allowed:
                await peer.unsubscribe(cell.topic)
        if is_allowed is not cell.is_allowed:
            wrong.append(cell)
    return wrong


@pytest.mark.parametrize("identity", access.IDENTITIES)
@pytest.mark.parametrize("version", [Version.V5, Version.V311])
async def test_every_cell_is_answered_as_the_policy_says(
    site: Site, passwords: Path, tmp_path: Path, version: Version, identity: str
) -> None:
    """And each refusal, of a message, a subscription or a will, is handed over to be sealed, with its why."""
    asked = [cell for cell in access.cells(is_strict=False) if cell.identity == identity]
    if version is Version.V311:
        asked = [cell for cell in asked if cell.action != "shared"]
    rules = policy(tmp_path, is_strict=False)
    async with running(
        site, policy=rules, passwords=passwords, max_sessions_per_device=100_000, max_subscriptions=1_000
    ) as rig:
        assert await _ask(rig, version, identity, asked) == []
        told = Counter(message.refused for message in rig.intake.messages)
    may_publish = {cell.topic for cell in asked if cell.action == "publish" and cell.is_allowed}
    expected = Counter(
        NOT_RETAINED if cell.action == "retain" and cell.topic in may_publish else REASONS[cell.action]
        for cell in asked
        if not cell.is_allowed
    )
    del told[""]
    assert told == expected


def test_there_are_enough_cells_and_both_answers_of_each_action() -> None:
    """A matrix that is never allowed, or never refused, would show nothing."""
    found = Counter((cell.action, cell.is_allowed) for cell in access.cells(is_strict=False))
    assert found.total() >= 2_000
    actions = ("publish", "retain", "will", "subscribe", "shared")
    assert all(found[action, is_allowed] >= 10 for action in actions for is_allowed in (True, False))
    dollars = [cell for cell in access.cells(is_strict=False) if cell.topic.startswith("$SYS")]
    assert len(dollars) >= 50
    assert not any(cell.is_allowed for cell in dollars)


@pytest.mark.parametrize("version", [Version.V5, Version.V311])
async def test_a_strict_registry_lets_no_stranger_in(
    site: Site, passwords: Path, tmp_path: Path, version: Version
) -> None:
    """Every cell of a device that nobody registered is refused at its CONNECT, which is sealed too."""
    assert not any(
        cell.is_allowed for cell in access.cells(is_strict=True) if cell.identity == access.STRANGER
    )
    async with running(site, policy=policy(tmp_path, is_strict=True), passwords=passwords) as rig:
        peer, answer = await rig.client(version=version, device=access.STRANGER)
        assert answer.reason is ReasonCode.NOT_AUTHORIZED
        assert await peer.expect_end() == []
        (message,) = rig.intake.messages
        assert (message.device, message.topic, message.refused) == (access.STRANGER, "", NOT_REGISTERED)
        assert rig.shown("connections_refused_total", reason=NOT_REGISTERED) == 1
        known = await rig.admitted(version=version, device="gauge")
        assert await known.publish(f"{access.BRANCH}/gauge/reading/door") is ReasonCode.SUCCESS


async def test_a_payload_larger_than_the_registry_allows_is_refused(
    site: Site, passwords: Path, tmp_path: Path
) -> None:
    """4,096 bytes are taken, 4,097 are not; a class without a bound has none."""
    topic = f"{access.BRANCH}/gauge/reading/door"
    async with running(site, policy=policy(tmp_path, is_strict=True), passwords=passwords) as rig:
        gauge = await rig.admitted(device="gauge")
        assert await gauge.publish(topic, b"x" * 4_096) is ReasonCode.SUCCESS
        assert await gauge.publish(topic, b"x" * 4_097) is ReasonCode.NOT_AUTHORIZED
        assert [message.refused for message in rig.intake.messages] == ["", "size"]
        probe = await rig.admitted(device="probe.2")
        assert (
            await probe.publish(f"{access.BRANCH}/probe.2/reading/core", b"x" * 4_097) is ReasonCode.SUCCESS
        )


async def test_a_subscription_whose_right_is_gone_is_taken_back_and_handed_over(
    site: Site, passwords: Path, tmp_path: Path
) -> None:
    """A session that lasts loses it at its next connection; it did not ask, so nobody is cut off for it."""
    store, topic_filter = tmp_path / "sessions.db", f"{access.BRANCH}/display/cmd/#"
    options: dict[str, object] = {"version": Version.V311, "clean": False, "device": "display"}
    async with running(site, store=store, policy=Policy(SITE), passwords=passwords) as rig:
        display = await rig.admitted("lasting", **options)
        lost = [f"{access.BRANCH}/display/config{tail}" for tail in ("", "/#", "/+")]
        await display.subscribe(*lost)
        assert not any(message.refused for message in rig.intake.messages)
    rules, conduct = policy(tmp_path, is_strict=True), Conduct(1, 60, 60)
    async with running(site, store=store, policy=rules, conduct=conduct, passwords=passwords) as rig:
        display = await rig.admitted("lasting", **options)
        assert [(each.topic, each.refused) for each in rig.intake.messages] == [
            (topic, SUBSCRIBE) for topic in lost
        ]
        assert (await display.subscribe(Subscription(topic_filter, 1))).reasons == (ReasonCode.GRANTED_QOS_1,)
