"""Password files: argon2id, for their owner only, and silent about what they hold."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from coldseal.errors import InputError, OperatorError
from coldseal.identity.passwords import LONGEST_PASSWORD, Passwords, open_passwords, set_password

GOOD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_the_right_password_of_the_right_name_is_valid_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another name, another password, an empty one, a longer one."""
    monkeypatch.setattr("coldseal.identity.passwords._HASHER", QUICK)
    path = tmp_path / "passwords"
    set_password(path, "sensor-1", GOOD)
    set_password(path, "sensor-2", "another long password")
    passwords = open_passwords(path)
    assert len(passwords) == 2
    assert passwords.is_valid("sensor-1", GOOD.encode())
    for name, given in (
        ("sensor-2", GOOD),
        ("sensor-1", GOOD.upper()),
        ("sensor-1", ""),
        ("sensor-1", f"{GOOD}\0"),
        ("absent", GOOD),
        ("absent", ""),
        ("", ""),
    ):
        assert not passwords.is_valid(name, given.encode())


def test_bytes_that_are_no_text_are_just_wrong() -> None:
    """MQTT passwords are bytes."""
    passwords = Passwords({"a": QUICK.hash(b"\xff\x00")})
    assert passwords.is_valid("a", b"\xff\x00")
    assert not passwords.is_valid("a", b"\xff\x01")


def test_a_very_long_password_is_refused_unseen() -> None:
    """Even the right one: nobody buys processor time with it."""
    long = b"x" * (LONGEST_PASSWORD + 1)
    assert not Passwords({"a": QUICK.hash(long)}).is_valid("a", long)


def test_a_new_hash_is_argon2id_with_64_mib(tmp_path: Path) -> None:
    """RFC 9106 for devices with little memory asks for as much."""
    path = tmp_path / "passwords"
    set_password(path, "a", GOOD)
    _, _, value = path.read_text(encoding="ascii").strip().partition(":")
    parameters = extract_parameters(value)
    assert (parameters.type, parameters.memory_cost, parameters.time_cost) == (Type.ID, 65_536, 3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_setting_again_replaces_and_keeps_the_others(tmp_path: Path) -> None:
    """One line for each name."""
    path = tmp_path / "passwords"
    set_password(path, "b", GOOD)
    other = path.read_text(encoding="ascii")
    set_password(path, "a", GOOD)
    set_password(path, "a", GOOD + "!")
    text = path.read_text(encoding="ascii")
    assert other in text
    assert len(text.splitlines()) == 2
    assert open_passwords(path).is_valid("a", (GOOD + "!").encode())


@pytest.mark.parametrize(
    ("name", "password", "field"),
    [("a/b", GOOD, "name"), ("", GOOD, "name"), ("a", "short", "password"), ("a", "x" * 257, "password")],
)
def test_what_is_not_acceptable_is_refused_without_showing_the_password(
    tmp_path: Path, name: str, password: str, field: str
) -> None:
    """And no file is made."""
    with pytest.raises(InputError, match=f"{field} is") as caught:
        set_password(tmp_path / "passwords", name, password)
    assert "short" not in str(caught.value)
    assert not (tmp_path / "passwords").exists()


@pytest.mark.parametrize(
    "line",
    [
        "no separator",
        "a:plaintext",
        "a:$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
        "a:$argon2id$nonsense",
        "a/b:{hash}",
        "one:{hash}",
        ":{hash}",
    ],
)
def test_a_wrong_line_stops_the_start_and_is_named_by_number_only(tmp_path: Path, line: str) -> None:
    """Its text may hold a password by mistake."""
    value = QUICK.hash("x")
    path = tmp_path / "passwords"
    path.write_text(f"# devices\n\none:{value}\n{line.format(hash=value)}\n", encoding="ascii")
    path.chmod(0o600)
    with pytest.raises(OperatorError, match="line 4 is not") as caught:
        open_passwords(path)
    assert "plaintext" not in str(caught.value)


def test_a_file_open_to_others_is_refused(tmp_path: Path) -> None:
    """Hashes can be guessed at."""
    path = tmp_path / "passwords"
    path.write_text("# none yet\n", encoding="ascii")
    path.chmod(0o640)
    with pytest.raises(OperatorError, match="chmod 600"):
        open_passwords(path)
    path.chmod(0o600)
    assert len(open_passwords(path)) == 0
