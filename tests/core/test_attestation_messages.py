"""Gateway and service read what the other has written, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.attestation.messages import (
    Challenge,
    Enrolment,
    Standing,
    encode_challenge,
    encode_enrolment,
    encode_quoted,
    encode_standing,
    encode_token,
    parse_challenge,
    parse_enrolment,
    parse_quoted,
    parse_standing,
    parse_token,
)
from coldseal.core.attestation.quotes import Quoted
from coldseal.errors import InputError

_BYTES = st.binary(max_size=60)
_PCRS = st.dictionaries(st.integers(0, 23), st.binary(min_size=32, max_size=32), min_size=1)


@given(st.builds(Enrolment, _BYTES, _BYTES, _BYTES), st.builds(Challenge, _BYTES, _BYTES), _BYTES)
def test_what_is_shown_and_asked_comes_back_as_it_was(
    enrolment: Enrolment, challenge: Challenge, token: bytes
) -> None:
    """Byte by byte."""
    assert parse_enrolment(encode_enrolment(enrolment)) == enrolment
    assert parse_challenge(encode_challenge(challenge)) == challenge
    assert parse_token(encode_token("nonce", token), "nonce") == token


@given(st.builds(Quoted, _BYTES, _BYTES, _PCRS, _BYTES))
def test_a_quote_comes_back_as_it_was(quoted: Quoted) -> None:
    """With all its PCRs."""
    assert parse_quoted(encode_quoted(quoted)) == quoted


@given(
    st.builds(
        Standing,
        st.sampled_from(["trusted", "changed", "unknown"]),
        st.text("abc.-", max_size=9),
        st.lists(st.text("xyz ,:", max_size=9)).map(tuple),
    )
)
def test_an_answer_comes_back_as_it_was(standing: Standing) -> None:
    """With every change."""
    assert parse_standing(encode_standing(standing)) == standing


QUOTED = b'{"attest":"","log":"","pcrs":%b,"signature":""}'
ANSWER = b'{"changes":%b,"reference":%b,"verdict":%b}'


@pytest.mark.parametrize(
    ("parse", "body", "field"),
    [
        pytest.param(parse_challenge, b'{"blob":""}', "fields", id="a field is missing"),
        pytest.param(parse_challenge, b'{"blob":"","secret":1}', "secret", id="no text"),
        pytest.param(parse_challenge, b'{"blob":"","secret":"!"}', "secret", id="no base64"),
        pytest.param(parse_enrolment, b'{"blob":"","secret":""}', "fields", id="another message"),
        pytest.param(parse_quoted, QUOTED % b"[]", "pcrs", id="no object of PCRs"),
        pytest.param(parse_quoted, QUOTED % b"{}", "pcrs", id="no PCR"),
        pytest.param(parse_quoted, QUOTED % b'{"24":""}', "pcrs", id="PCR 24"),
        pytest.param(parse_quoted, QUOTED % b'{"01":""}', "pcrs", id="a leading zero"),
        pytest.param(parse_quoted, QUOTED % b'{"1":"00"}', "pcrs.1", id="too short"),
        pytest.param(parse_quoted, QUOTED % b'{"1":"zz"}', "pcrs.1", id="no hex"),
        pytest.param(parse_quoted, QUOTED % b'{"1":1}', "pcrs.1", id="a number"),
        pytest.param(parse_standing, ANSWER % (b'""', b'""', b'"trusted"'), "changes", id="no list"),
        pytest.param(parse_standing, ANSWER % (b"[1]", b'""', b'"trusted"'), "changes", id="no texts"),
        pytest.param(parse_standing, ANSWER % (b"[]", b"1", b'"trusted"'), "verdict", id="no reference"),
        pytest.param(parse_standing, ANSWER % (b"[]", b'""', b'"good"'), "verdict", id="another verdict"),
    ],
)
def test_anything_else_is_refused_by_its_field(
    parse: Callable[[bytes], object], body: bytes, field: str
) -> None:
    """What is not foreseen is not guessed."""
    with pytest.raises(InputError) as caught:
        parse(body)
    assert caught.value.field == field
