"""Both forms carry the signed bytes, so that whoever gets an entry can verify it."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coldseal.core.log.merkle import leaf_hash
from coldseal.core.routing.forms import encode_article, encode_cloud_event, join
from coldseal.core.routing.rules import Subject
from tests.core.routing.entries import EXCURSION, READING, SOURCE, entry_of
from tests.sealed import ORIGIN, TIME, log_keys


def test_the_article_form_is_verified_with_a_public_key_and_nothing_else() -> None:
    """The text is the signed bytes; entry and leaf hash follow from text and signature."""
    entry = entry_of("reading", READING, SOURCE)
    said = json.loads(encode_article(entry))
    assert list(said) == ["seq", "canonical", "sig", "ts"]
    assert (said["seq"], said["ts"]) == (1, TIME)
    public = load_der_public_key(log_keys().record.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    body = said["canonical"].encode()
    public.verify(base64.b64decode(said["sig"]), body, ec.ECDSA(hashes.SHA256()))
    raw = b'{"body":%b,"sig":"%b"}' % (body, said["sig"].encode())
    assert leaf_hash(raw) == entry.leaf_hash


def test_an_entry_that_a_checkpoint_seals_has_no_signature_of_its_own() -> None:
    """It says so, and does not leave the field out."""
    said = json.loads(encode_article(entry_of("reading", READING, mode="checkpoint")))
    assert said["sig"] is None


def test_a_cloud_event_carries_the_entry_byte_for_byte() -> None:
    """What CloudEvents 1.0 asks for is there, and source and id are the entry's key."""
    entry = entry_of("excursion", EXCURSION)
    made = encode_cloud_event(entry, Subject("excursion", "dev-1", "door", "fridge-3"))
    assert entry.raw in made
    said = json.loads(made)
    del said["data"]
    assert said == {
        "specversion": "1.0",
        "id": f"1:{entry.leaf_hash.hex()}",
        "source": ORIGIN,
        "type": "coldseal.excursion.v1",
        "time": TIME,
        "subject": "fridge-3/door",
        "datacontenttype": "application/json",
    }


@pytest.mark.parametrize(
    ("subject", "expected"),
    [(Subject("reading", "dev-1", "door"), "dev-1/door"), (Subject("heartbeat"), None)],
    ids=["without-an-asset", "of-the-log"],
)
def test_the_subject_is_the_asset_or_the_device_or_is_left_out(
    subject: Subject, expected: str | None
) -> None:
    """An empty one is not allowed there."""
    said = json.loads(encode_cloud_event(entry_of("heartbeat", {}), subject))
    assert said.get("subject") == expected


def test_a_list_is_an_array_of_what_each_would_be_alone() -> None:
    """Of one, and of several."""
    one = encode_article(entry_of("reading", READING))
    assert json.loads(join([one])) == [json.loads(one)]
    assert json.loads(join([one, one])) == 2 * [json.loads(one)]
