"""The URIs of keys and secrets: what is taken, what is refused, and that a PIN is never repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.signing.uris import KERNEL, Pkcs11Uri, TpmUri, complete, parse_pkcs11, parse_tpm

BASE = Path("/etc/coldseal")
REST = "module-path=/lib/hsm.so&pin-source=file:/etc/coldseal/pin"


def test_what_a_tpm_uri_names() -> None:
    """A persistent key, a wrapped one, a sealed secret; by default behind the kernel's manager."""
    assert parse_tpm("tpm:0x81008001", BASE) == TpmUri(KERNEL, 0x81008001, Path())
    assert parse_tpm("tpm:key=a.tss?tcti=tabrmd", BASE) == TpmUri("tabrmd", None, BASE / "a.tss")
    held = parse_tpm("tpm:0x81008001?auth=file:a&tcti=tabrmd", BASE)
    assert (held.auth, held.tcti, held.secret) == ("file:a", "tabrmd", b"")
    sealed = parse_tpm("tpm:seal=s?tcti=swtpm:host=127.0.0.1,port=2321", BASE, what="seal")
    assert sealed == TpmUri("swtpm:host=127.0.0.1,port=2321", None, BASE / "s")
    assert (sealed.place, parse_tpm("tpm:0x81008001", BASE).place) == ("/etc/coldseal/s", "0x81008001")


@pytest.mark.parametrize(
    "uri",
    ["tpm:", "tpm:0x80000001", "tpm:0xhello", "tpm:81008001", "tpm:key=", "tpm:seal=s", "tpm:pin=1"],
)
def test_what_names_no_key_of_a_tpm_is_refused(uri: str) -> None:
    """A transient handle among it: the key would be gone with the next start."""
    with pytest.raises(OperatorError, match="names nothing in a TPM"):
        parse_tpm(uri, BASE)


@pytest.mark.parametrize("uri", ["tpm:0x81008001", "tpm:key=f", "tpm:seal="])
def test_what_names_no_sealed_secret_is_refused(uri: str) -> None:
    """A key is no secret."""
    with pytest.raises(OperatorError, match="tpm:seal=FILE"):
        parse_tpm(uri, BASE, what="seal")


def test_a_sealed_secret_asks_for_no_value() -> None:
    """Its policy is the state of the machine."""
    with pytest.raises(OperatorError, match="Known are tcti"):
        parse_tpm("tpm:seal=s?auth=env:A", BASE, what="seal")


@pytest.mark.parametrize(
    "query", ["?", "?tcti=", "?auth=", "?pin=x", "?x", "?tcti=a&tcti=b", "?auth=env:A&x=1"]
)
def test_an_unknown_option_of_a_tpm_uri_is_refused(query: str) -> None:
    """A typing error does not lead to another chip."""
    with pytest.raises(OperatorError, match="unknown option"):
        parse_tpm(f"tpm:0x81008001{query}", BASE)


def test_what_a_pkcs11_uri_names() -> None:
    """RFC 7512: percent-encoded, an id in bytes, and relative paths below the configuration."""
    found = parse_pkcs11(
        "pkcs11:token=cold%20chain;serial=17;object=cp;id=%01%FF;type=private"
        "?module-path=hsm.so&pin-source=env:PIN",
        BASE,
    )
    assert found == Pkcs11Uri(BASE / "hsm.so", "cold chain", "17", "cp", b"\x01\xff", "env:PIN")
    assert parse_pkcs11(f"pkcs11:id=%01?{REST}", BASE).object == ""


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (f"pkcs11:token=t?{REST}", "names no private key"),
        (f"pkcs11:object=o;type=public?{REST}", "names no private key"),
        ("pkcs11:object=o", "lacks the token's library"),
        ("pkcs11:object=o?module-path=m", "lacks the token's library"),
        (f"pkcs11:object=o?{REST}&pin-value=hunter2", "attribute pin-value that is not taken"),
        (f"pkcs11:object=o;object=p?{REST}", "attribute object that is not taken"),
        (f"pkcs11:object=?{REST}", "attribute object that is not taken"),
        (f"pkcs11:object=o;hunter2?{REST}", "attribute"),
        (f"pkcs11:object=o?{REST}&7hunter2=x", r"attribute \? that"),
    ],
    ids=["no-key", "public", "bare", "no-pin", "pin-value", "twice", "empty", "no-value", "odd"],
)
def test_a_pkcs11_uri_that_is_no_good_is_refused(uri: str, said: str) -> None:
    """The message names the attribute, never its value: it may be a PIN."""
    with pytest.raises(OperatorError, match=said) as caught:
        parse_pkcs11(uri, BASE)
    assert "hunter2" not in str(caught.value).replace("attribute hunter2", "") or "hunter2?" in uri


def test_a_configuration_completes_its_references() -> None:
    """Where a URI says nothing itself; also in the passphrase of a file."""
    module = Path("/lib/hsm.so")
    known = {
        "file:record.pem": "file:record.pem",
        "env:KEY": "env:KEY",
        "tpm:0x81008001": "tpm:0x81008001?tcti=T",
        "tpm:0x81008001?tcti=U": "tpm:0x81008001?tcti=U",
        "tpm:0x81008001?auth=file:a": "tpm:0x81008001?auth=file:a&tcti=T",
        "file:r.pem?passphrase=tpm:seal=s": "file:r.pem?passphrase=tpm:seal=s?tcti=T",
        "pkcs11:object=o": "pkcs11:object=o?module-path=/lib/hsm.so",
        "pkcs11:object=o?pin-source=env:P": "pkcs11:object=o?pin-source=env:P&module-path=/lib/hsm.so",
        f"pkcs11:object=o?{REST}": f"pkcs11:object=o?{REST}",
    }
    assert {uri: complete(uri, tcti="T", module=module) for uri in known} == known
    assert complete("pkcs11:object=o", tcti="T", module=None) == "pkcs11:object=o"
