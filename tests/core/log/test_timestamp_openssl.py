"""Timestamps of a real authority, ``openssl ts``: each side accepts what the other makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.core.log.timestamp import BadTimestampError, encode_request, parse_roots, verify_timestamp
from tests.tsa import Authority

TEXT = b"coldseal.example/site-7/gw-0001\n1048576\nAAAA\n"
NONCE = 2**127 + 5


@pytest.mark.parametrize(
    ("key", "digest", "certificate_hash", "is_chained"),
    [
        ("P-256", "sha256", "sha256", True),
        ("P-384", "sha384", "sha1", False),
        ("rsa:2048", "sha256", "sha1", True),
        ("rsa:3072", "sha512", "sha512", False),
    ],
)
def test_a_real_authority_s_answer_holds(
    tmp_path: Path, key: str, digest: str, certificate_hash: str, *, is_chained: bool
) -> None:
    """To our request and to that of ``openssl ts -query``."""
    authority = Authority(
        tmp_path, key=key, digest=digest, certificate_hash=certificate_hash, is_chained=is_chained
    )
    roots = parse_roots(authority.ca.read_bytes())
    response = authority.reply(encode_request(TEXT, NONCE))

    assert verify_timestamp(response, TEXT, roots, nonce=NONCE).tsa == "CN=tsa,O=Trial"
    assert authority.accepts(response, TEXT)
    assert not authority.accepts(response, TEXT + b"x")
    verify_timestamp(authority.reply(authority.query(TEXT)), TEXT, roots)


def test_both_refuse_the_same(tmp_path: Path) -> None:
    """A certificate that has ended, and another authority's root."""
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    authority.issue("ended", span=("20200101000000Z", "20210101000000Z"))
    ended = authority.reply(encode_request(TEXT, NONCE), signer="ended")
    foreign = other.reply(encode_request(TEXT, NONCE))
    roots = parse_roots(authority.ca.read_bytes())

    for response in (ended, foreign):
        assert not authority.accepts(response, TEXT)
        with pytest.raises(BadTimestampError, match="no chain"):
            verify_timestamp(response, TEXT, roots)
