"""RFC 8428 packs resolve as the standard says, or are refused by label."""

from decimal import Decimal

import pytest

from coldseal.core.coldchain.reading import MAX_QUANTITIES
from coldseal.core.coldchain.senml import Record, resolve
from coldseal.errors import InputError

NOW_MS = 1_800_000_000_000


def d(text: str) -> Decimal:
    """Write a decimal shortly."""
    return Decimal(text)


def test_base_name_unit_time_and_value_apply_to_later_records() -> None:
    """RFC 8428 4.1: base fields hold until given anew; values and times are added."""
    pack: list[Record] = [
        {"bn": "urn:dev:1:", "bt": d("1700000000"), "bu": "Cel", "bv": d("4"), "n": "t", "v": d("0.71")},
        {"n": "u", "u": "%RH", "t": d("1.5"), "v": d("37.2")},
        {"bn": "x", "bv": d("0"), "v": d("1")},
    ]
    first, second, third = resolve(pack, received_ms=NOW_MS)
    assert first[:4] == ("urn:dev:1:t", "Cel", "4.71", "2023-11-14T22:13:20.000Z")
    assert second[:4] == ("urn:dev:1:u", "%RH", "41.2", "2023-11-14T22:13:21.500Z")
    assert third[:4] == ("x", "Cel", "1", "2023-11-14T22:13:20.000Z")


def test_a_base_value_alone_is_a_value_for_each_named_record() -> None:
    """RFC 8428 4.5.1: a record without v takes bv; a record of base fields alone gives nothing."""
    found = resolve([{"bn": "a", "bu": "Cel", "bv": d("5")}, {"n": "1"}], received_ms=NOW_MS)
    assert [quantity[:3] for quantity in found] == [("a1", "Cel", "5")]


def test_a_record_of_base_fields_alone_gives_no_reading() -> None:
    """RFC 8428 4.2."""
    found = resolve([{"bn": "a", "bu": "K"}, {"v": d("280")}], received_ms=NOW_MS)
    assert [quantity[:3] for quantity in found] == [("a", "K", "280")]


def test_a_small_time_is_relative_to_receipt() -> None:
    """RFC 8428 4.5.3: below 2^28 seconds from now, negative for the past."""
    (found,) = resolve([{"n": "t", "u": "Cel", "v": d("1"), "t": d("-5")}], received_ms=NOW_MS)
    assert found.taken_at == "2027-01-15T07:59:55.000Z"


@pytest.mark.parametrize("moment", ["-1e12", "1e13"])
def test_a_time_that_no_calendar_has_is_refused(moment: str) -> None:
    """Times are bound to what RFC 3339 can write."""
    with pytest.raises(InputError, match="t is"):
        resolve([{"n": "t", "u": "Cel", "v": d("1"), "t": d(moment)}], received_ms=NOW_MS)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"n": "x", "vs": "open"}, "vs"),
        ({"n": "x", "vb": "true"}, "vb"),
        ({"n": "x", "vd": "aGk"}, "vd"),
        ({"n": "x", "u": "Cel", "v": d("1"), "s": d("2")}, "s"),
        ({"n": "x", "u": "Cel", "v": "1"}, "v"),
        ({"n": d("1"), "u": "Cel", "v": d("1")}, "n"),
        ({"n": "x", "u": "Cel", "v": d("1"), "alarm_": "1"}, "alarm_"),
        ({"bver": d("11"), "n": "x", "u": "Cel", "v": d("1")}, "bver"),
        ({"bn": "x"}, "records"),
    ],
)
def test_what_has_no_meaning_here_is_refused_by_its_label(record: Record, field: str) -> None:
    """Nothing is skipped in silence."""
    with pytest.raises(InputError) as caught:
        resolve([record], received_ms=NOW_MS)
    assert caught.value.field == field


def test_a_pack_has_a_bounded_number_of_values() -> None:
    """An entry must stay small."""
    pack: list[Record] = [{"n": f"t{number}", "u": "Cel", "v": d("1")} for number in range(MAX_QUANTITIES)]
    assert len(resolve(pack, received_ms=NOW_MS)) == MAX_QUANTITIES
    with pytest.raises(InputError, match="records"):
        resolve([*pack, pack[0]], received_ms=NOW_MS)
