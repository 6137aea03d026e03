"""Roots come and go as their authority says, never another one's, and never all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from coldseal.identity.profiles import subject
from coldseal.identity.trust import ChainError, chain_of, encode_bundle, parse_bundle, renewed, roots_of

NOW = datetime(2027, 1, 1, tzinfo=UTC)


class Ca:
    """A CA of the test: its key, and certificates over it."""

    def __init__(self, name: str, *, days: int = 365) -> None:
        """Make the key and the root."""
        self.name, self.days = name, days
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = self.certify(name, self.key, is_ca=True)

    def certify(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> x509.Certificate:
        """Certify a key; our own name makes a root, if the key is ours."""
        builder = x509.CertificateBuilder(
            issuer_name=subject(self.name),
            subject_name=subject(name),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=NOW - timedelta(days=1),
            not_valid_after=NOW + timedelta(days=self.days),
        )
        constraints = x509.BasicConstraints(ca=is_ca, path_length=None)
        return builder.add_extension(constraints, critical=True).sign(self.key, hashes.SHA256())


OLD, NEW, OTHER = Ca("old"), Ca("new"), Ca("other")
ISSUING = Ca("issuing")
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())


def test_a_new_root_is_added_and_the_old_one_stays_in_the_overlap() -> None:
    """Until the authority leaves it out."""
    overlap = renewed([OLD.root], [OLD.root], [OLD.root, NEW.root], now=NOW)
    assert overlap == [OLD.root, NEW.root]
    assert renewed(overlap, [OLD.root, NEW.root], [NEW.root], now=NOW) == [NEW.root]


def test_a_root_that_ended_is_left_out() -> None:
    """Whoever shows it."""
    ended = Ca("ended", days=0)
    later = NOW + timedelta(hours=1)
    assert renewed([ended.root, NEW.root], [], [ended.root, NEW.root], now=later) == [NEW.root]


def test_what_the_authority_never_announced_is_not_its_to_remove() -> None:
    """A customer's root beside ours stays; a bundle of others alone is not touched, not even filled."""
    assert renewed([OLD.root, OTHER.root], [OLD.root], [OLD.root, NEW.root], now=NOW) == [
        OLD.root,
        OTHER.root,
        NEW.root,
    ]
    assert renewed([OTHER.root], [OLD.root], [NEW.root], now=NOW) == [OTHER.root]
    assert renewed([OLD.root], [OLD.root], [NEW.root], now=NOW) == [OLD.root]


def test_only_roots_become_trusted() -> None:
    """Not an issuing CA, not a link, not a leaf that signed itself."""
    link = OLD.certify("new", NEW.key, is_ca=True)
    lonely = Ca("lonely").certify("lonely", LEAF_KEY, is_ca=False)
    answer = [ISSUING.certify("below", NEW.key, is_ca=True), link, lonely, OLD.root, OLD.root]
    assert roots_of(answer, now=NOW) == [OLD.root]


def test_a_chain_leads_to_the_root_and_carries_the_link_to_the_older_one() -> None:
    """So that peers who know only one of the two roots accept it."""
    issuing = NEW.certify("issuing", ISSUING.key, is_ca=True)
    leaf = ISSUING.certify("leaf", LEAF_KEY, is_ca=False)
    link = OLD.certify("new", NEW.key, is_ca=True)
    known = [OTHER.root, OLD.root, link, NEW.root, issuing, leaf]
    assert chain_of(leaf, known, now=NOW) == [leaf, issuing, link]
    assert chain_of(leaf, [NEW.root, issuing], now=NOW) == [leaf, issuing]


@pytest.mark.parametrize("known", [[], [NEW.root], [OTHER.root]], ids=["none", "no issuer", "other"])
def test_a_leaf_without_a_root_has_no_chain(known: list[x509.Certificate]) -> None:
    """It is not taken into use."""
    leaf = ISSUING.certify("leaf", LEAF_KEY, is_ca=False)
    with pytest.raises(ChainError, match="leaf"):
        chain_of(leaf, known, now=NOW)


def test_a_certificate_that_says_nothing_of_being_a_ca_is_none() -> None:
    """Though it signed itself, or another one."""
    silent = x509.CertificateBuilder(
        issuer_name=subject("silent"),
        subject_name=subject("silent"),
        public_key=LEAF_KEY.public_key(),
        serial_number=1,
        not_valid_before=NOW,
        not_valid_after=NOW + timedelta(days=1),
    ).sign(LEAF_KEY, hashes.SHA256())
    assert roots_of([silent], now=NOW) == []


def test_a_chain_has_a_bound_and_a_ca_that_is_none_ends_it() -> None:
    """Two CAs that sign each other lead nowhere; nor does one that has ended, or is a leaf."""
    first, second = Ca("first"), Ca("second")
    ring = [first.certify("second", second.key, is_ca=True), second.certify("first", first.key, is_ca=True)]
    leaf = first.certify("leaf", LEAF_KEY, is_ca=False)
    with pytest.raises(ChainError):
        chain_of(leaf, ring, now=NOW)
    with pytest.raises(ChainError):
        chain_of(leaf, [first.root], now=NOW + timedelta(days=500))


def test_bundles_are_read_and_written() -> None:
    """What is none, is empty."""
    assert parse_bundle(encode_bundle([OLD.root, NEW.root])) == [OLD.root, NEW.root]
    assert parse_bundle(b"") == parse_bundle(b"rubbish") == []
