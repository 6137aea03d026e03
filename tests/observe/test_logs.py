"""Log lines: one JSON object each, exactly the declared fields, and no secret whatever happens."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from coldseal.identity.passwords import set_password
from coldseal.observe import events
from coldseal.observe.logs import HIDDEN, Log, configure, hide_secrets, parse_level
from coldseal.signing.keys import generate_record_key, write_private_key


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    @override
    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield
    configure(is_readable=False)
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """Parse what was written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_part_event_and_fields() -> None:
    """In UTC; what is no JSON value is written as text."""
    stream = io.StringIO()
    configure(stream=stream)
    Log("gateway.uplink").emit(events.UPLINK_LOST, since=Path("a"), cause='no "route"')
    (line,) = lines(stream)
    moment = datetime.fromisoformat(str(line.pop("time")))
    assert moment.utcoffset() is not None
    assert line == {
        "level": "warning",
        "part": "gateway.uplink",
        "event": "uplink.lost",
        "since": "a",
        "cause": 'no "route"',
    }


@pytest.mark.parametrize("fields", [{}, {"since": 1}, {"since": 1, "cause": 2, "more": 3}])
def test_a_call_that_disagrees_with_the_catalogue_fails(fields: dict[str, object]) -> None:
    """Missing or unknown fields are a mistake in the program."""
    with pytest.raises(TypeError, match=r"uplink\.lost has the fields"):
        Log("x").emit(events.UPLINK_LOST, **fields)


def test_less_than_the_level_is_not_written() -> None:
    """Debug lines cost nothing in production."""
    stream = io.StringIO()
    configure(stream=stream, level="warning")
    Log("x").emit(events.HTTP_LISTENING, address="a")
    assert stream.getvalue() == ""
    configure(stream=stream, level="debug")
    Log("x").emit(events.UPLINK_RECEIPT, size=1, entries=1)
    assert lines(stream)[0]["size"] == 1


def test_a_log_made_before_logging_is_set_up_follows_it() -> None:
    """Modules make theirs when they are imported."""
    log = Log("early")
    stream = io.StringIO()
    configure(stream=stream)
    log.emit(events.HTTP_LISTENING, address="a")
    assert lines(stream)[0]["part"] == "early"


def test_the_time_of_a_line_is_utc_to_the_microsecond() -> None:
    """As RFC 3339 has it, always of the same length."""
    stream = io.StringIO()
    configure(stream=stream, now_ns=lambda: 1_700_000_000_000_000_000)
    Log("x").emit(events.HTTP_LISTENING, address="a")
    assert lines(stream)[0]["time"] == "2023-11-14T22:13:20.000000Z"


def test_a_terminal_gets_readable_lines() -> None:
    """With the same facts, and the level in a colour."""
    stream = Terminal()
    configure(stream=stream, now_ns=lambda: 0)
    Log("gateway").emit(events.UPLINK_LOST, since=3, cause="no route\n\x1b[2J")
    assert stream.getvalue() == (
        "1970-01-01T00:00:00.000000Z \x1b[33mwarning \x1b[0m uplink.lost              "
        "part=gateway since=3 cause='no route\\n\\x1b[2J'\n"
    )


def test_secrets_are_hidden_on_a_terminal_too() -> None:
    """People take pictures of it."""
    stream = Terminal()
    configure(stream=stream)
    Log("x").emit(events.GATEWAY_FAILED, error="Authorization: Bearer abc.def")
    assert "abc.def" not in stream.getvalue()
    assert HIDDEN in stream.getvalue()


def test_json_can_be_asked_for_on_a_terminal() -> None:
    """And readable lines elsewhere, which then have no colours."""
    stream = Terminal()
    configure(stream=stream, is_readable=False)
    Log("x").emit(events.HTTP_LISTENING, address="a")
    assert lines(stream)
    plain = io.StringIO()
    configure(stream=plain, is_readable=True)
    Log("x").emit(events.HTTP_LISTENING, address="a")
    assert "\x1b" not in plain.getvalue()


def test_stderr_is_where_lines_go_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for answers."""
    configure()
    Log("x").emit(events.HTTP_LISTENING, address="a")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "http.listening" in captured.err


def test_what_libraries_say_becomes_an_event() -> None:
    """From warning on, with the library's name."""
    stream = io.StringIO()
    configure(stream=stream)
    logging.getLogger("aiohttp.client").warning("closed %s", "twice")
    logging.getLogger("aiohttp.client").info("not this")
    (line,) = lines(stream)
    assert line["event"] == "library.message"
    assert (line["logger"], line["message"]) == ("aiohttp.client", "closed twice")


def test_real_secrets_are_hidden_wherever_they_appear(tmp_path: Path) -> None:
    """A private key, a password hash, a bearer token, a URL with a password in it."""
    write_private_key(tmp_path / "k.pem", generate_record_key())
    set_password(tmp_path / "p", "a", "a long enough password")
    stream = io.StringIO()
    configure(stream=stream)
    for secret in (
        (tmp_path / "k.pem").read_text(encoding="ascii"),
        (tmp_path / "p").read_text(encoding="ascii"),
        "Authorization: Bearer abc.def",
        "https://example/?password=x",
        ["nested", {"key": (tmp_path / "k.pem").read_text(encoding="ascii")}],
    ):
        Log("x").emit(events.GATEWAY_FAILED, error=secret)
    assert [line["error"] for line in lines(stream)] == [HIDDEN] * 5


@given(
    st.sampled_from(["password", "passphrase", "client_secret", "api_token", "store_key", "PRIVATE"]),
    st.text(),
)
def test_a_field_named_like_a_secret_is_hidden(name: str, value: str) -> None:
    """Whatever its value looks like."""
    assert hide_secrets({name: value}) == {name: HIDDEN}


@given(st.binary())
def test_bytes_are_counted_and_never_written(data: bytes) -> None:
    """They may be a key."""
    assert hide_secrets({"payload": data}) == {"payload": f"({len(data)} bytes)"}


@given(st.one_of(st.integers(), st.none(), st.booleans(), st.text(alphabet="abc :/.-", max_size=40)))
def test_ordinary_values_pass_unchanged(value: object) -> None:
    """The filter must not eat what people need."""
    assert hide_secrets({"cause": value}) == {"cause": value}


def test_a_level_is_taken_by_its_name() -> None:
    """Another name is refused with the known ones."""
    assert parse_level("error") == "error"
    with pytest.raises(ValueError, match="debug, info, warning, error, critical"):
        parse_level("loud")
