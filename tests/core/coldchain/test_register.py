"""What is in force for a sensor follows from the entries in their order; no change reaches back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.coldchain import standing
from coldseal.core.coldchain.certificate import canonical_form
from coldseal.core.coldchain.changes import moment, parse_change
from coldseal.core.coldchain.profile import canonical_form as profile_form
from coldseal.core.coldchain.profile import digest, parse_profile
from coldseal.core.coldchain.register import FOREVER, Register
from coldseal.core.coldchain.standing import BACK_MS, REACH_MS
from coldseal.errors import InputError
from tests.core.coldchain.bad_calibrations import GOOD

NOW = 1_780_000_000_000
DAY = 86_400_000
SIGNED = {"who": "a technician", "why": "a reason"}

Data = Mapping[str, object]


def profile(version: int = 1, title: str = "") -> dict[str, object]:
    """Say that there is a version of a profile."""
    document = {
        "name": "fridge-2-8",
        "version": version,
        "title": title or f"version {version}",
        "quantities": {"temperature": {"unit": "Cel", "low": "2", "high": "8"}},
    }
    found = parse_profile(document, where="test")
    return {"profile": profile_form(found), "sha256": digest(found), **SIGNED}


def assign(asset: str = "fridge-1", **more: object) -> dict[str, object]:
    """Let the door's sensor watch an asset."""
    table = {"asset": asset, "asset_kind": "fridge", "device": "dev-1", "sensor": "door", **more}
    return {"assign": table, **SIGNED}


def hold(version: int = 1, asset: str = "fridge-1", **more: object) -> dict[str, object]:
    """Let a profile hold for an asset."""
    table = {"asset": asset, "asset_kind": "fridge", "profile": "fridge-2-8", "version": version, **more}
    return {"assign": table, **SIGNED}


def release(asset: str = "fridge-1", **more: object) -> dict[str, object]:
    """Let something leave an asset."""
    return {"release": {"asset": asset, **more}, **SIGNED}


def maintain(action: str, **more: object) -> dict[str, object]:
    """Begin or end the maintenance of the door's sensor."""
    table = {"action": action, "device": "dev-1", "sensor": "door", **more}
    return {"maintenance": table, **SIGNED}


def calibrate(from_: str = "", **change: object) -> dict[str, object]:
    """Say that the door's sensor was calibrated."""
    form: dict[str, object] = {**canonical_form({**GOOD, **change}, where="test")}
    return {"calibration": {**form, "from": from_} if from_ else form, **SIGNED}


def after(*entries: tuple[str, Data, int]) -> Register:
    """Give the register behind entries."""
    register = Register()
    for entry in entries:
        register = register.with_entry(*entry)
    return register


FULL = (
    ("profile", profile(), NOW),
    ("config", hold(), NOW + 1),
    ("config", assign(), NOW + 2),
    ("calibration", calibrate(), NOW + 3),
)


def test_a_sensor_of_which_nothing_is_said_has_an_empty_plan() -> None:
    """For ever, and nothing is kept for it: anybody may name sensors."""
    register = Register()
    plan = register.plan("dev-1", "door", NOW)
    assert (plan.asset, plan.profile, plan.calibrations, plan.maintenance) == ("", None, (), "")
    assert (plan.from_ms, plan.until_ms) == (0, FOREVER)
    assert register.is_empty
    assert register.with_entry("heartbeat", {}, NOW) is register
    assert register.with_entry("config", {"hold": {}}, NOW) is register


def test_a_plan_joins_asset_profile_and_calibrations() -> None:
    """From the newest of the changes on; a look within that time gives the very same plan."""
    register = after(*FULL)
    plan = register.plan("dev-1", "door", NOW + 10)
    assert (plan.asset, plan.maintenance, plan.from_ms, plan.until_ms) == ("fridge-1", "", NOW + 3, FOREVER)
    assert plan.profile is not None
    assert (plan.profile.name, plan.profile.version) == ("fridge-2-8", 1)
    assert [(each.quantity, each.from_ms) for each in plan.calibrations] == [("temperature", NOW + 3)]
    assert register.plan("dev-1", "door", NOW + DAY) is plan
    assert not register.is_empty
    assert register.assets["fridge-1"].kind == "fridge"
    assert register.watching("fridge-1", NOW + 10) == [("dev-1", "door")]


def test_what_was_in_force_when_a_reading_was_taken_decides() -> None:
    """Each change begins a time of its own; a plan says how long it holds."""
    register = after(*FULL)
    plans = [register.plan("dev-1", "door", NOW + each) for each in (3, 2, 1, 0)]
    assert [bool(each.calibrations) for each in plans] == [True, False, False, False]
    assert [each.asset for each in plans] == ["fridge-1", "fridge-1", "", ""]
    assert [(each.from_ms, each.until_ms) for each in plans[1:3]] == [(NOW + 2, NOW + 3), (0, NOW + 2)]


def test_a_register_is_not_changed_by_what_follows_from_it() -> None:
    """Whoever goes back to one finds it as it was, also after a change that was refused."""
    before = after(*FULL)
    plan = before.plan("dev-1", "door", NOW + 10)
    with pytest.raises(InputError):
        before.with_entry("config", release("fridge-2"), NOW + 20)
    behind = before.with_entry("config", release(), NOW + 20)
    assert before.plan("dev-1", "door", NOW + 30) is plan
    assert behind.plan("dev-1", "door", NOW + 30).asset == ""


def test_a_new_version_holds_only_where_it_is_assigned() -> None:
    """And from then on."""
    register = after(*FULL, ("profile", profile(2), NOW + 4))
    held = register.plan("dev-1", "door", NOW + DAY).profile
    assert held is not None
    assert held.version == 1
    newest = register.latest("fridge-2-8")
    assert newest is not None
    assert newest.version == 2
    assert register.latest("other") is None
    later = register.with_entry("config", hold(2, **{"from": moment(NOW + DAY)}), NOW + 5)
    found = [later.plan("dev-1", "door", NOW + DAY + each).profile for each in (-1, 0)]
    assert [None if each is None else each.version for each in found] == [1, 2]
    assert later.plan("dev-1", "door", NOW + 10).until_ms == NOW + DAY


def test_an_old_calibration_stays_for_readings_that_were_taken_before() -> None:
    """The new one has its own id and its own time."""
    register = after(*FULL, ("calibration", calibrate(calibrated="2026-05-01"), NOW + DAY))
    old, new = (register.plan("dev-1", "door", NOW + DAY + each).calibrations for each in (-1, 0))
    assert old[0].id != new[0].id
    assert len(register.sensors["dev-1", "door"].ids) == 2


def test_calibrations_of_two_quantities_stand_beside_each_other() -> None:
    """One for each."""
    humidity = calibrate(quantity="humidity", unit="%RH", points=[["20", "21"], ["80", "79"]])
    register = after(*FULL, ("calibration", humidity, NOW + 4))
    found = register.plan("dev-1", "door", NOW + 5).calibrations
    assert [each.quantity for each in found] == ["humidity", "temperature"]


def test_a_sensor_in_maintenance_says_why() -> None:
    """From begin to end, and again."""
    register = after(
        *FULL,
        ("config", maintain("begin"), NOW + 10),
        ("config", maintain("end"), NOW + 20),
        ("config", maintain("begin"), NOW + 30),
    )
    found = [register.plan("dev-1", "door", NOW + each).maintenance for each in (9, 10, 19, 20, 30)]
    assert found == ["", "a reason", "a reason", "", "a reason"]


def test_a_sensor_moves_from_one_asset_to_another() -> None:
    """What was planned for later falls with the newer word."""
    register = after(
        *FULL,
        ("config", assign("lot-7", asset_kind="lot", **{"from": moment(NOW + 2 * DAY)}), NOW + 10),
        ("config", assign("van-3", asset_kind="vehicle"), NOW + 20),
    )
    found = [register.plan("dev-1", "door", NOW + each).asset for each in (19, 20, 3 * DAY)]
    assert found == ["fridge-1", "van-3", "van-3"]


def test_a_release_lets_a_sensor_a_profile_or_all_go() -> None:
    """The others stay."""
    two = ("config", assign(device="dev-2"), NOW + 5)
    one = after(*FULL, two, ("config", release(device="dev-2", sensor="door"), NOW + 10))
    assert one.watching("fridge-1", NOW + 10) == [("dev-1", "door")]
    bare = after(*FULL, two, ("config", release(profile="fridge-2-8"), NOW + 10))
    assert bare.plan("dev-2", "door", NOW + 10).profile is None
    assert len(bare.watching("fridge-1", NOW + 10)) == 2
    everything = after(*FULL, two, ("config", release(at=moment(NOW + 15)), NOW + 10))
    assert len(everything.watching("fridge-1", NOW + 14)) == 2
    assert everything.watching("fridge-1", NOW + 15) == []
    again = everything.with_entry("config", release(), NOW + 20)
    assert again.watching("fridge-1", NOW + 20) == []


REFUSED: dict[str, tuple[str, Callable[[], Data], str, str]] = {
    "a change that reaches back": (
        "config",
        lambda: assign(**{"from": moment(NOW + DAY - BACK_MS - 1)}),
        "assign.from",
        "no time before the entry's own",
    ),
    "a time in another form": ("config", lambda: assign(**{"from": "now"}), "assign.from", "a time such as"),
    "a time that is a number": ("config", lambda: release(at=5), "release.at", "a time such as"),
    "an asset of another kind": (
        "config",
        lambda: assign(asset_kind="lot"),
        "asset_kind",
        "fridge, which fridge-1 is",
    ),
    "an asset of no kind": (
        "config",
        lambda: assign(asset_kind="shed"),
        "assign.asset_kind",
        "one of fridge,",
    ),
    "a new asset without its kind": (
        "config",
        lambda: {"assign": {"asset": "new", "device": "d", "sensor": "s"}, **SIGNED},
        "asset_kind",
        "the kind of new, which is new",
    ),
    "an asset with a slash": ("config", lambda: assign("a/b"), "assign.asset", "1 to 64 of"),
    "an unknown key": ("config", lambda: assign(colour="blue"), "assign.colour", "no such key"),
    "a member beside it": ("config", lambda: {**assign(), "by": "me"}, "by", "no such key"),
    "two changes in one entry": ("config", lambda: {**assign(), **release()}, "release", "no such key"),
    "an assignment that is a text": ("config", lambda: {"assign": "x", **SIGNED}, "assign", "a table"),
    "no reason": ("config", lambda: {**assign(), "why": ""}, "why", "1 to 512 characters"),
    "nobody who says so": ("config", lambda: {**assign(), "who": 5}, "who", "1 to 512 characters"),
    "a profile that is not on record": ("config", lambda: hold(2), "profile", "one on record: fridge-2-8/1"),
    "a version that is none": ("config", lambda: hold(0), "assign.version", "a whole number from 1"),
    "release from an unknown asset": (
        "config",
        lambda: release("van-3"),
        "asset",
        "one that something is assigned to: fridge-1",
    ),
    "release of a sensor that is not there": (
        "config",
        lambda: release(device="dev-9", sensor="door"),
        "sensor",
        "a sensor that watches fridge-1 then",
    ),
    "release of another profile": (
        "config",
        lambda: release(profile="other"),
        "profile",
        "the one that holds then: fridge-2-8",
    ),
    "release of a sensor and a profile": (
        "config",
        lambda: release(device="dev-1", sensor="door", profile="fridge-2-8"),
        "release.profile",
        "either a sensor or a profile",
    ),
    "release of half a sensor": (
        "config",
        lambda: release(device="dev-1"),
        "release.sensor",
        "it to be there",
    ),
    "end of no maintenance": ("config", lambda: maintain("end"), "action", "begin: dev-1/door is not in"),
    "another action": ("config", lambda: maintain("pause"), "maintenance.action", "begin or end"),
    "the same version again": ("profile", profile, "version", "2, the next one"),
    "a version that says the same": (
        "profile",
        lambda: profile(2, "version 1"),
        "profile",
        "something that version 1 does not say already",
    ),
    "a version too far": ("profile", lambda: profile(3), "version", "2, the next one"),
    "another hash": (
        "profile",
        lambda: {**profile(2), "sha256": "0" * 64},
        "sha256",
        "which this profile has",
    ),
    "no hash": (
        "profile",
        lambda: {"profile": profile(2)["profile"], **SIGNED},
        "sha256",
        "which this profile",
    ),
    "the same calibration again": ("calibration", calibrate, "id", "not on record yet"),
    "a calibration from the future": (
        "calibration",
        lambda: calibrate(calibrated="2026-11-22"),
        "calibrated",
        "no day in the future",
    ),
    "an older calibration": (
        "calibration",
        lambda: calibrate(calibrated="2025-11-22", due="2026-11-22"),
        "calibrated",
        "no day before 2026-01-15",
    ),
    "a calibration from another time": (
        "calibration",
        lambda: calibrate("yesterday", due="2027-03-01"),
        "calibration.from",
        "a time such as",
    ),
    "a calibration that is none": ("calibration", lambda: {"calibration": {}, **SIGNED}, "device", "1 to 64"),
    "no calibration": ("calibration", lambda: {**SIGNED}, "calibration", "a table"),
}


@pytest.mark.parametrize("name", REFUSED, ids=list(REFUSED))
def test_a_change_that_contradicts_what_is_there_is_refused(name: str) -> None:
    """With key, value and what was expected; nothing has changed."""
    kind, data, key, expected = REFUSED[name]
    register = after(*FULL)
    with pytest.raises(InputError) as caught:
        register.with_entry(kind, data(), NOW + DAY)
    assert caught.value.field == key
    assert expected in caught.value.expected
    assert caught.value.where == f"{kind} entry"
    behind, faults = register.with_entries([(kind, data(), NOW + DAY)])
    assert [str(each) for each in faults] == [str(caught.value)]
    assert behind.plan("dev-1", "door", NOW + DAY) == register.plan("dev-1", "door", NOW + DAY)


def test_maintenance_does_not_begin_twice() -> None:
    """The one that is forgotten is ended first."""
    register = after(("config", maintain("begin"), NOW))
    with pytest.raises(InputError, match="end: dev-1/door is in maintenance"):
        register.with_entry("config", maintain("begin"), NOW + 1)


def test_a_release_needs_an_asset_on_record() -> None:
    """Where there is none at all, that is said."""
    with pytest.raises(InputError, match="assigned to: none"):
        Register().with_entry("config", release(), NOW)
    bare = after(("config", assign(), NOW))
    with pytest.raises(InputError, match="holds then: none"):
        bare.with_entry("config", release(profile="x"), NOW + 1)
    with pytest.raises(InputError, match="one on record: none"):
        bare.with_entry("config", hold(), NOW + 1)


def test_many_entries_at_once_give_what_one_after_the_other_does() -> None:
    """And a bad one among them is passed over, and told."""
    bad = ("config", release("van-3"), NOW + 4)
    found, faults = Register().with_entries([*FULL, bad, ("heartbeat", {}, NOW + 5)])
    assert len(faults) == 1
    assert found.plan("dev-1", "door", NOW + 9) == after(*FULL).plan("dev-1", "door", NOW + 9)


def test_what_no_reading_can_reach_any_more_is_dropped() -> None:
    """A sensor that moves each day for a year keeps two months of it."""
    register = after(*FULL[:2])
    for each in range(365):
        register = register.with_entry("config", assign(f"fridge-{each}"), NOW + each * DAY)
    kept = register.sensors["dev-1", "door"].assets
    assert len(kept) <= REACH_MS // DAY + 2
    for back in (0, 1, 60):
        t_ms = NOW + (364 - back) * DAY
        assert register.plan("dev-1", "door", t_ms).asset == f"fridge-{364 - back}"


@pytest.mark.parametrize(
    ("name", "kind", "data", "key"),
    [
        ("MAX_SENSORS", "config", assign(device="dev-2"), "sensor"),
        ("MAX_ASSETS", "config", assign("fridge-2"), "asset"),
        ("MAX_VERSIONS", "profile", profile(2), "name"),
        ("MAX_STEPS", "config", assign("fridge-1"), "from"),
    ],
)
def test_what_grows_too_large_is_refused(
    name: str, kind: str, data: Data, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway does not run out of memory by what people say."""
    register = after(*FULL)
    monkeypatch.setattr(standing, name, 1)
    with pytest.raises(InputError, match="at most") as caught:
        register.with_entry(kind, data, NOW + DAY)
    assert caught.value.field == key


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.integers(0, 30)), max_size=30))
def test_the_newest_word_holds_from_its_time_on(words: list[tuple[str, int, int]]) -> None:
    """Held against the plainest way to say it: each word writes over all that comes at or behind its time."""
    register, expected, now = Register(), [""] * 1300, 0
    for asset, passed, ahead in words:
        now += passed
        register = register.with_entry("config", assign(asset, **{"from": moment(now + ahead)}), now)
        expected[now + ahead :] = [asset] * (len(expected) - now - ahead)
    for t_ms, asset in enumerate(expected):
        plan = register.plan("dev-1", "door", t_ms)
        assert plan.asset == asset
        assert plan.from_ms <= t_ms < plan.until_ms


def test_a_change_is_read_from_json_as_well() -> None:
    """As it comes through the control channel."""
    data = msgspec.json.decode(msgspec.json.encode(maintain("begin", at=moment(NOW))))
    assert parse_change("config", data) == parse_change("config", maintain("begin", at=moment(NOW)))
    assert parse_change("reading", data) is None
