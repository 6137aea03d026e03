"""Claims about sensors that are named in a change: the registry must know them, unless something ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coldseal.core.topics import Policy
from coldseal.errors import OperatorError
from coldseal.gateway.assigning import require_registered
from coldseal.gateway.governance import read_registry
from tests import access

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Give a policy with a registry."""
    path: Path = tmp_path_factory.mktemp("registry") / "registry.toml"
    access.write_registry(path)
    return Policy("lab", (), read_registry(path), is_strict=True)


@pytest.mark.parametrize("member", ["assign", "calibration", "maintenance"])
def test_a_sensor_of_the_registry_is_good_and_another_one_is_not(strict: Policy, member: str) -> None:
    """With the nearest that there is."""
    require_registered(strict, {member: {"device": "gauge", "sensor": "door"}})
    with pytest.raises(OperatorError, match="device 'gauge' has no sensor 'dor' here") as caught:
        require_registered(strict, {member: {"device": "gauge", "sensor": "dor"}})
    assert caught.value.hint == "Did you mean 'door'?"
    with pytest.raises(OperatorError, match="device 'guage' is not registered here") as caught:
        require_registered(strict, {member: {"device": "guage", "sensor": "door"}})
    assert caught.value.hint == "Did you mean 'gauge'?"


@pytest.mark.parametrize(
    "data",
    [
        {"release": {"asset": "a", "device": "gone", "sensor": "door"}},
        {"maintenance": {"action": "end", "device": "gone", "sensor": "door"}},
        {"assign": {"asset": "a", "profile": "p", "version": 1}},
        {"assign": {"device": 3, "sensor": "door"}},
        {"assign": 3},
        {},
    ],
    ids=range(6),
)
def test_what_ends_something_or_names_no_sensor_is_not_held_against_it(
    strict: Policy, data: dict[str, Any]
) -> None:
    """A device that was taken out of the registry can still be released; what is malformed, others refuse."""
    require_registered(strict, data)


def test_without_a_registry_any_name_that_a_device_can_have_is_good() -> None:
    """Each device has its own branch then."""
    policy = Policy("lab")
    require_registered(policy, {"assign": {"device": "anything", "sensor": "door"}})
    with pytest.raises(OperatorError, match="device '#' is not registered here"):
        require_registered(policy, {"assign": {"device": "#", "sensor": "door"}})
