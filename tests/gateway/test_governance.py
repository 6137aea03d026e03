"""From files to the policy in force, and what a person sees of devices that are kept out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.core.conduct import Conduct
from coldseal.core.quotas import Limit
from coldseal.core.registry import Bounds
from coldseal.core.topics import Policy
from coldseal.errors import OperatorError
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.governance import Blocks, make_conduct, open_policy, read_cases, read_registry
from coldseal.gateway.tables.topics import Topics
from tests import access
from tests.gateway.parts import Hands

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = """
[gateway]
origin = "example.com/lab/gw-1"
site = "lab"
[mqtt]
listen = "127.0.0.1:0"
certificate = "gw.pem"
key = "gw.key"
client_ca = "root.pem"
[[grants]]
device = "gauge"
subscribe = ["news"]
"""


def configured(folder: Path, registry: str, *overrides: str) -> GatewayConfig:
    """Write a configuration with a registry, and load it."""
    (folder / "registry.toml").write_text(registry)
    path = folder / "gateway.toml"
    path.write_text(f'{GATEWAY}\n[topics]\nregistry = "registry.toml"\n')
    return load_gateway(path, overrides)


def test_the_registry_file_and_the_grants_make_the_policy(tmp_path: Path) -> None:
    """Read relative to the configuration's folder, and compiled as it is written."""
    policy = open_policy(configured(tmp_path, access.REGISTRY, "topics.strict=true"))
    assert policy.devices == ("gauge", "gauge-1", "probe.2", "display")
    assert policy.rights("gauge").may_subscribe("news")
    assert not policy.is_known(access.STRANGER)
    assert policy.bounds("gauge", f"{access.BRANCH}/gauge/reading/door") == Bounds(
        "coldseal-reading/1", 4_096
    )


def test_without_a_registry_every_device_has_its_own_branch(tmp_path: Path) -> None:
    """As ever, with the grants of the configuration."""
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY)
    policy = open_policy(load_gateway(path))
    assert policy.rights("anybody").may_publish("coldseal/v1/lab/anybody/status")
    assert policy.rights("gauge").may_subscribe("news")
    assert policy.listing() == ()


def test_strict_without_a_registry_is_refused(tmp_path: Path) -> None:
    """Nobody could be let in."""
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY)
    with pytest.raises(OperatorError, match=r"topics\.strict is true, but topics\.registry is not set"):
        open_policy(load_gateway(path, ("topics.strict=true",)))


def test_limits_are_read_for_channel_class_and_device(tmp_path: Path) -> None:
    """An own limit of a device stands in the place of its class's; left out, its class's holds."""
    registry = tmp_path / "registry.toml"
    registry.write_text("""
[[classes]]
name = "logger"
limit = { messages_per_s = 2, messages_burst = 500, bytes_per_day = 1_000_000 }
[[classes.channels]]
channel = "reading"
limit = { messages_per_day = 90_000 }
[[devices]]
name = "a"
class = "logger"
sensors = ["t"]
[[devices]]
name = "b"
class = "logger"
sensors = ["t"]
limit = { bytes_per_s = 100.5, bytes_burst = 9_000 }
""")
    policy = Policy("lab", (), read_registry(registry))
    topic = "coldseal/v1/lab/{}/reading/t".format
    reading = ("reading", Limit(messages_per_day=90_000))
    of_class = Limit(messages_per_s=2, messages_burst=500, bytes_per_day=1_000_000)
    assert policy.bounds("a", topic("a")) == Bounds("", 0, (reading, ("", of_class)))
    own = Limit(bytes_per_s=100.5, bytes_burst=9_000)
    assert policy.bounds("b", topic("b")) == Bounds("", 0, (reading, ("", own)))


@pytest.mark.parametrize(
    ("registry", "said"),
    [
        ('[[classes]]\nname = "a/b"', r"classes\[\.\.\.\]\.name|classes\[0\]\.name"),
        (
            '[[classes]]\nname = "x"\n[[classes.channels]]\nchannel = "readings"',
            "is 'readings', expected one of",
        ),
        ('[[classes]]\nname = "x"\nchanels = []', "classes.chanels is not a known key"),
        ('[[devices]]\nname = "gauge"\nclass = "lamp"', "devices 'gauge': class 'lamp' cannot be"),
        ('[[classes]]\nname = "x"\npublish = ["coldseal/v1/#"]', "no whole topic"),
        ('[[classes]]\nname = "x"\nlimit = { messages_per_s = -1 }', "messages_per_s"),
        ("[[classes", "not TOML"),
    ],
    ids=["name", "channel", "key", "class", "wildcard", "negative", "toml"],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, registry: str, said: str) -> None:
    """File, key, value and cure, whoever found it."""
    with pytest.raises(OperatorError, match=said) as caught:
        open_policy(configured(tmp_path, registry))
    assert "registry.toml" in caught.value.what
    assert caught.value.hint


def test_a_file_of_cases_is_read(tmp_path: Path) -> None:
    """Device, action, topic, and whether it is allowed; another action is refused."""
    path = tmp_path / "cases.toml"
    path.write_text('[[cases]]\ndevice = "a"\naction = "will"\ntopic = "x"\nexpected = "deny"\n')
    (case,) = read_cases(path)
    assert (case.device, case.action, case.topic, case.is_allowed) == ("a", "will", "x", False)
    path.write_text('[[cases]]\ndevice = "a"\naction = "fly"\ntopic = "x"\nexpected = "deny"\n')
    with pytest.raises(OperatorError, match="action"):
        read_cases(path)


class TestBlocks:
    """Devices that are kept out."""

    def test_who_is_kept_out_is_shown_and_can_be_let_in(self) -> None:
        """With the reason and the rest of the time; letting in somebody who is not out is an error."""
        hands = Hands()
        conduct = make_conduct(Topics(block_s=100))
        assert conduct is not None
        conduct.refused("rogue", "over-rate", is_grave=True, now_ms=hands.mono_ms)
        hands.pass_ms(40_000)
        blocks, answers = Blocks(conduct, hands.clock()), list[dict[str, object]]()
        assert blocks.status() == [{"device": "rogue", "reason": "over-rate", "seconds": 60.0, "cuts": 1}]
        blocks.unblock({"device": "rogue", "reason": "exchanged"}, answers.append)
        assert (answers, blocks.status()) == ([{"device": "rogue"}], [])
        with pytest.raises(OperatorError, match="'rogue' is not kept out"):
            blocks.unblock({"device": "rogue"}, answers.append)

    def test_where_nobody_is_cut_off_nobody_is_out(self) -> None:
        """`cut_off = false` switches all of it off."""
        assert make_conduct(Topics(cut_off=False)) is None
        blocks = Blocks(None, Hands().clock())
        assert list(blocks.status()) == []
        with pytest.raises(OperatorError, match="not kept out"):
            blocks.unblock({"device": "rogue"}, print)

    def test_the_configuration_says_how_much_is_tolerated(self) -> None:
        """And for how long a device is out."""
        conduct = make_conduct(Topics(tolerated_refusals=1, block_s=5, block_max_s=7))
        assert isinstance(conduct, Conduct)
        spans = [conduct.refused("a", "size", is_grave=False, now_ms=0) for _ in range(2)]
        assert spans == [0, 5]
        assert conduct.refused("a", "size", is_grave=True, now_ms=5_000) == 7
