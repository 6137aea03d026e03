"""An address of GS1 names one thing, with the right check digit, or is refused with what was expected."""

from __future__ import annotations

import pytest

from coldseal.core.coldchain.reading import UNITS
from coldseal.core.routing.links import MEASURES, require_thing
from coldseal.errors import InputError


@pytest.mark.parametrize(
    "address",
    [
        "https://id.gs1.org/8004/9521234FRIDGE3",
        "https://id.gs1.org/00/095211410000000014",
        "https://id.gs1.org/01/09506000134352/21/12345",
        "https://example.com/some/path/01/09506000134352/21/12345",
        "https://id.gs1.org/414/9506000134307",
        "https://example.com/assets/7",
        "urn:epc:id:giai:9521234.FRIDGE3",
    ],
)
def test_an_address_of_one_thing_passes(address: str) -> None:
    """One of GS1, under whatever host, or any other."""
    require_thing(address, where="gateway.toml: routes.erp", key="ids.fridge-3")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("fridge 3", "an address such as"),
        ("fridge-3", "an address such as"),
        ("https://id.gs1.org/00/095211410000000013", "18 digits behind /00/"),
        ("https://id.gs1.org/00/09521141000000001", "18 digits behind /00/"),
        ("https://id.gs1.org/00/0952114100000000AB", "18 digits behind /00/"),
        ("https://id.gs1.org/01/09506000134353/21/1", "14 digits behind /01/"),
        ("https://id.gs1.org/01/09506000134352", "a serial number behind /01/"),
        ("https://id.gs1.org/01/09506000134352/10/LOT7", "a serial number behind /01/"),
        ("https://id.gs1.org/8004/95/21", "one value behind /8004/"),
        ("https://id.gs1.org/414/9506000134308", "13 digits behind /414/"),
    ],
)
def test_what_names_no_single_thing_is_refused(address: str, expected: str) -> None:
    """With file, key, value and what was expected."""
    with pytest.raises(InputError) as error:
        require_thing(address, where="gateway.toml: routes.erp", key="ids.fridge-3")
    assert expected in str(error.value)
    assert "ids.fridge-3" in str(error.value)


def test_every_unit_of_ours_has_a_code() -> None:
    """A new unit needs one, too."""
    assert set(MEASURES) == set(UNITS)
