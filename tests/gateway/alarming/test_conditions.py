"""Claims about what a gateway raises alarms about by itself, and about the settings of alarms."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.core.coldchain.profile import Direction, Tier, canonical_form, parse_profile
from coldseal.core.coldchain.register import Register
from coldseal.core.conduct import Blocked
from coldseal.errors import OperatorError
from coldseal.gateway.alarming.conditions import CLOCK_PATIENCE_MS, Conditions, Worries
from coldseal.gateway.alarming.opening import delay_of
from tests.core.coldchain.bad_calibrations import GOOD
from tests.gateway.alarming.site import config_of
from tests.gateway.alarming.test_handing_over import person

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.core.coldchain.alarms import Condition

NOW_MS = 1_800_000_000_000
FRIDGE = {"asset": "fridge-3", "asset_kind": "fridge", "from": "2027-01-15T08:00:00.000Z"}
PROFILE = """
name = "milk"
version = 1
interval = "1 min"
silence = "15 min"
[quantities.temperature]
unit = "Cel"
low = 2
high = 8
alarm_delay_high = "15 min"
"""
MOMENT = "2027-01-15T08:00:00.000Z"
DAY_MS = 86_400_000


@dataclass
class Around:
    """What the other parts of a gateway say."""

    room: tuple[bool, float | None] = (False, None)
    certificates: dict[str, dict[str, object]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    register: Register = field(default_factory=Register)
    out: tuple[Blocked, ...] = ()
    hardware: dict[str, str] = field(default_factory=dict)
    unsigned: str = ""
    unwitnessed_s: float = 0
    disputes: tuple[tuple[str, str], ...] = ()

    def conditions(self, folder: Path) -> Conditions:
        """Look at them."""
        return Conditions(
            config_of(folder),
            is_full=lambda: self.room[0],
            worries=lambda _now_ms: Worries(
                self.room[1], self.certificates, self.unsigned, self.unwitnessed_s, self.disputes
            ),
            doubts=lambda: self.doubts,
            register=lambda: self.register,
            out=lambda: self.out,
            hardware=lambda: self.hardware,
        )

    def look(self, folder: Path, now_ms: int = NOW_MS) -> list[Condition]:
        """Look once."""
        return self.conditions(folder).look(now_ms)


def test_a_gateway_that_is_well_raises_nothing(tmp_path: Path) -> None:
    """Weeks of room, certificates that live."""
    around = Around((False, 400.0), {"uplink": {"days": 5.0, "alarm": "none"}, "odd": {}})
    assert around.look(tmp_path) == []


@pytest.mark.parametrize(
    ("room", "tier"),
    [((False, 6.5), Tier.WARNING), ((False, 0.5), Tier.EXCURSION), ((True, None), Tier.CRITICAL)],
)
def test_room_that_ends_is_an_alarm(tmp_path: Path, room: tuple[bool, float | None], tier: Tier) -> None:
    """The heavier, the nearer the end."""
    (found,) = Around(room).look(tmp_path)
    assert (found.about, found.tier, found.device, found.sensor) == ("storage", tier, "gw-1", "storage")


def test_a_certificate_that_ends_is_an_alarm(tmp_path: Path) -> None:
    """Each by itself."""
    rows: dict[str, dict[str, object]] = {
        name: {"days": 0.1, "alarm": name} for name in ("warning", "critical", "expired", "none")
    }
    found = Around(certificates=rows).look(tmp_path)
    assert [(each.about, each.tier) for each in found] == [
        ("certificate/warning", Tier.WARNING),
        ("certificate/critical", Tier.EXCURSION),
        ("certificate/expired", Tier.CRITICAL),
    ]


def test_a_log_that_no_quorum_cosigns_is_an_alarm(tmp_path: Path) -> None:
    """It says for how long."""
    (found,) = Around(unwitnessed_s=93_600).look(tmp_path)
    assert (found.about, found.kind, found.tier) == ("witness", "witness", Tier.EXCURSION)
    assert found.text == "gw-1: for 26.0 hours no quorum has cosigned what was sealed"


def test_another_history_of_the_log_is_an_alarm_at_once(tmp_path: Path) -> None:
    """Each who speaks of one by itself, however many others cosign."""
    found = Around(disputes=(("s.example", "fork"), ("w2.example/a", "witness-ahead"))).look(tmp_path)
    assert [(each.about, each.kind, each.tier, each.sensor) for each in found] == [
        ("witness/s.example", "witness", Tier.CRITICAL, "witness"),
        ("witness/w2.example/a", "witness", Tier.CRITICAL, "witness"),
    ]
    assert found[1].text == "gw-1: w2.example/a disputes this log (witness-ahead): what it signed is kept"


def test_a_transport_key_that_does_not_sign_is_an_alarm_beside_the_chip_s_own(tmp_path: Path) -> None:
    """Each of the keys by itself."""
    found = Around(hardware={"checkpoint-key": "away: no answer"}, unsigned="no answer").look(tmp_path)
    assert [each.about for each in found] == ["hardware/checkpoint-key", "hardware/transport-key"]


def test_a_clock_that_stays_doubtful_is_an_alarm(tmp_path: Path) -> None:
    """Not one that is for some minutes behind a start; the patience begins anew when it was good."""
    around = Around(doubts=("clock",))
    conditions = around.conditions(tmp_path)
    assert conditions.look(NOW_MS) == []
    assert [each.about for each in conditions.look(NOW_MS + CLOCK_PATIENCE_MS)] == ["clock"]
    around.doubts = ()
    assert conditions.look(NOW_MS + CLOCK_PATIENCE_MS) == []
    around.doubts = ("clock",)
    assert conditions.look(NOW_MS + 2 * CLOCK_PATIENCE_MS) == []


def test_a_device_that_was_cut_off_is_an_alarm(tmp_path: Path) -> None:
    """Critical, so that somebody must have seen it, where another may have its key; of the gateway's own."""
    out = (Blocked("rogue", "not-authorised", 60, 1), Blocked("eager", "over-rate", 60, 1))
    found = Around(out=out).look(tmp_path)
    assert [(each.about, each.kind, each.tier, each.device, each.sensor) for each in found] == [
        ("device/rogue", "device", Tier.CRITICAL, "gw-1", "rogue"),
        ("device/eager", "device", Tier.WARNING, "gw-1", "eager"),
    ]
    assert "device rogue was cut off (not-authorised)" in found[0].text


def test_a_chip_that_does_not_do_its_work_is_an_alarm(tmp_path: Path) -> None:
    """Each of its parts by itself, with what is wrong."""
    (found,) = Around(hardware={"checkpoint-key": "away: no answer"}).look(tmp_path)
    assert (found.about, found.kind, found.tier) == ("hardware/checkpoint-key", "hardware", Tier.EXCURSION)
    assert found.text.endswith("checkpoint-key: away: no answer")


def registered(*entries: tuple[str, dict[str, Any]]) -> Register:
    """Make a register of some entries."""
    found = Register()
    for kind, data in entries:
        found = found.with_entry(kind, {**data, "who": "ann", "why": "new"}, NOW_MS)
    return found


def test_maintenance_that_somebody_forgot_is_an_alarm(tmp_path: Path) -> None:
    """After the hours that are configured."""
    begun = {"maintenance": {"action": "begin", "device": "dev-1", "sensor": "door", "at": MOMENT}}
    around = Around(register=registered(("config", begun)))
    assert around.look(tmp_path, NOW_MS + 1) == []
    (found,) = around.look(tmp_path, NOW_MS + 28_800_000)
    assert (found.about, found.kind, found.tier) == ("maintenance/dev-1/door", "maintenance", Tier.WARNING)
    assert "in maintenance since 2027-01-15T08:00:00.000Z: new" in found.text


def test_a_calibration_that_is_overdue_is_an_alarm(tmp_path: Path) -> None:
    """From the day on which it was due."""
    calibration = {**GOOD, "device": "dev-1", "sensor": "door", "from": MOMENT}
    around = Around(register=registered(("calibration", {"calibration": calibration})))
    assert around.look(tmp_path, NOW_MS) == []
    (found,) = around.look(tmp_path, NOW_MS + 4_000 * DAY_MS)
    assert (found.about, found.kind) == ("calibration/dev-1/door", "calibration")
    assert "was due 20" in found.text


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "two of this name"),
        ("[alarms]\nescalate_s = 0\n", "step is 1, but alarms.escalate_s is 0"),
        ("[alarms]\nrepeat_s = -1\n", "alarms.repeat_s"),
        ("[alarms]\nrepeats = 1\n", "alarms.repeats is not a known key"),
    ],
    ids=["twice", "step", "repeat", "unknown"],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, table: str, expected: str) -> None:
    """With file, key and what was expected."""
    duty = person(tmp_path, "duty", "json://x", "https://hook.example", "step = 1\n")
    with pytest.raises(OperatorError, match=expected) as raised:
        config_of(tmp_path, table + duty + (duty if not table else ""))
    assert "gateway.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://hook.example", "not on this machine"),
        ("smtp://mail.example:25", "not on this machine"),
        ("ftp://hook.example", "expected https://host:port"),
        ("https://user:pass@hook.example", "without user or password"),
    ],
)
def test_endpoints_that_would_be_told_openly_are_refused(
    tmp_path: Path, endpoint: str, expected: str
) -> None:
    """So are those that carry a secret; it is not repeated."""
    with pytest.raises(OperatorError, match=expected) as raised:
        config_of(tmp_path, person(tmp_path, "duty", "json://x", endpoint))
    assert "pass@" not in str(raised.value)


def test_an_endpoint_must_be_on_the_list_where_there_is_one(tmp_path: Path) -> None:
    """Openly, too, where the list says so."""
    duty = person(tmp_path, "duty", "json://x", "smtp://mail.example:25")
    allow = '[[egress.allow]]\nhost = "mail.example"\nport = 25\ntls = false\n'
    assert config_of(tmp_path, duty + allow).alarms.recipients[0].name == "duty"
    with pytest.raises(OperatorError, match=r"which is not in egress.allow"):
        config_of(tmp_path, duty + allow.replace("mail.", "other."))


def test_an_address_in_the_file_itself_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """It holds passwords."""
    duty = person(tmp_path, "duty", "json://x", "https://hook.example").replace(
        "file:duty.url", "slack://t0k3n"
    )
    with pytest.raises(OperatorError, match="expected a reference") as raised:
        config_of(tmp_path, duty)
    assert "t0k3n" not in str(raised.value)


def test_the_profile_says_how_long_telling_is_put_off() -> None:
    """Each side for itself; without a profile not at all."""
    profile = parse_profile(tomllib.loads(PROFILE), where="test")
    watched = registered(
        ("profile", {"profile": canonical_form(profile), "sha256": profile.sha256}),
        ("config", {"assign": {**FRIDGE, "device": "dev-1", "sensor": "door"}}),
        ("config", {"assign": {**FRIDGE, "profile": "milk", "version": 1}}),
    )
    data = {"device": "dev-1", "sensor": "door", "quantity": "temperature", "from": MOMENT}
    assert delay_of(watched, {**data, "direction": Direction.HIGH.value}) == NOW_MS + 900_000
    assert delay_of(watched, {**data, "direction": "low"}) == NOW_MS
    assert delay_of(watched, {**data, "direction": "mkt"}) == NOW_MS
    assert delay_of(watched, {**data, "direction": "low", "quantity": "humidity"}) == NOW_MS
    assert delay_of(Register(), {**data, "direction": "high"}) == NOW_MS
