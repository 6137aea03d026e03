"""A TLS context whose key is held elsewhere: by real handshakes, with somebody who signs, or does not."""

from __future__ import annotations

import io
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from typing_extensions import override

from coldseal.errors import OperatorError, UnavailableError
from coldseal.identity import held_keys
from coldseal.identity.contexts import client_context, server_context
from coldseal.identity.held_keys import fault_of, use_held_key
from coldseal.identity.peer import require_role
from coldseal.observe.logs import configure
from coldseal.signing.private_files import write_private_file
from coldseal.signing.uris import WRAPPED
from tests.identity.conftest import Pki
from tests.identity.test_contexts import client_of, key_of, server_of, shake

MANY = 50
NOT_RUN = 77


class Holder:
    """Holds a key, signs while it is there, and counts."""

    def __init__(self, file: Path) -> None:
        """Take the key of a file."""
        key = load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self.spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.is_there, self.asked, self.is_false = True, 0, False

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a hash."""
        self.asked += 1
        if not self.is_there:
            raise UnavailableError("the TPM", "it was pulled out")
        if self.is_false:
            return bytes(200)
        return self._key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.fixture
def holder(pki: Pki) -> Holder:
    """Hold the device's key."""
    return Holder(key_of(pki.device))


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Catch log lines."""
    stream = io.StringIO()
    configure(stream=stream, is_readable=False)
    yield stream
    configure()


def showing(pki: Pki, holder: Holder) -> ssl.SSLContext:
    """Make a client whose key is held."""
    context = client_context(None, None, pki.trust)
    use_held_key(context, pki.device, holder)
    return context


def test_the_peer_sees_the_holder_of_the_key(pki: Pki, holder: Holder) -> None:
    """One signature for each handshake; contexts with keys in files go on beside it."""
    context = showing(pki, holder)
    for _ in range(MANY):
        server, _ = shake(server_of(pki), context)
        assert require_role(server.getpeercert(binary_form=True), "device").name == "sensor-1.a"
        shake(server_of(pki), client_of(pki, pki.gateway))
    assert holder.asked == MANY
    assert fault_of(context) == ""
    assert fault_of(client_of(pki, pki.gateway)) == ""


def test_a_holder_that_does_not_sign_ends_the_handshake_and_is_said_once(
    pki: Pki, holder: Holder, lines: io.StringIO
) -> None:
    """Once when it is lost, once when it is back; the next handshake asks again."""
    context, other = showing(pki, holder), showing(pki, holder)
    holder.is_there = False
    for _ in range(3):
        with pytest.raises(ssl.SSLError):
            shake(server_of(pki), context)
    assert "it was pulled out" in fault_of(context)
    assert fault_of(other) == fault_of(context), "it is the same key"
    holder.is_there = True
    shake(server_of(pki), other)
    assert fault_of(context) == ""
    said = lines.getvalue()
    assert (said.count("hardware.transport-key-away"), said.count("hardware.transport-key-back")) == (1, 1)


def test_many_handshakes_at_once_ask_the_right_holder(pki: Pki, holder: Holder, lines: io.StringIO) -> None:
    """In several threads, two holders side by side, and one of them is lost for all at once."""
    other = Holder(key_of(pki.gateway))

    def play(number: int) -> str:
        certificate, held = ((pki.device, holder), (pki.gateway, other))[number % 2]
        context = client_context(None, None, pki.trust)
        use_held_key(context, certificate, held)
        try:
            server, _ = shake(server_of(pki), context)
        except ssl.SSLError:
            return "refused"
        return require_role(
            server.getpeercert(binary_form=True), "device" if held is holder else "gateway"
        ).name

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(play, range(0, MANY, 2))) == {"sensor-1.a"}
        assert set(pool.map(play, range(1, MANY, 2))) == {"gw-0001"}
        other.is_there = False
        found = list(pool.map(play, range(MANY)))
    assert found == ["sensor-1.a", "refused"] * (MANY // 2)
    assert lines.getvalue().count("hardware.transport-key-away") == 1


def test_what_is_no_signature_is_not_taken(pki: Pki, holder: Holder) -> None:
    """Nothing is written behind the room that OpenSSL made; a key that nobody holds signs nothing."""
    context = showing(pki, holder)
    holder.is_false = True
    with pytest.raises(ssl.SSLError):
        shake(server_of(pki), context)
    assert held_keys._signed(None, bytes(32)) == b""


def test_a_chain_of_another_key_or_none_is_refused(pki: Pki, holder: Holder, tmp_path: Path) -> None:
    """And leaves nothing behind that the next call would stumble over."""
    with pytest.raises(OperatorError, match="not of the key that is held"):
        use_held_key(client_context(None, None, pki.trust), pki.gateway, holder)
    with pytest.raises(OperatorError, match="cannot be read"):
        use_held_key(client_context(None, None, pki.trust), tmp_path / "none.pem", holder)
    shake(server_of(pki), showing(pki, holder))


def test_a_wrapped_key_is_no_listener_s(pki: Pki, tmp_path: Path) -> None:
    """It is named where it may stand."""
    wrapped = tmp_path / "gw.key"
    write_private_file(wrapped, WRAPPED + b"\nAAAA\n-----END TSS2 PRIVATE KEY-----\n")
    with pytest.raises(OperatorError, match="that a TPM has wrapped") as caught:
        server_context(pki.service, wrapped, pki.trust)
    assert "tpm:key=FILE" in caught.value.hint


def test_contexts_come_and_go(pki: Pki, holder: Holder) -> None:
    """A connection that is made lives on when its context is gone; a later one for the same key serves."""
    context = showing(pki, holder)
    server, client = shake(server_of(pki), context)
    del context
    for _ in range(MANY):
        showing(pki, holder)
    server.write(b"still here")
    assert client.read(10) == b"still here"
    shake(server_of(pki), showing(pki, holder))


class Otherwise(ssl.SSLContext):
    """A context that is not what it says."""

    @property
    @override
    def options(self) -> int:  # type: ignore[override] # it can be set, which nobody does here
        """Say something else."""
        return 0


def test_a_python_that_cannot_do_it_says_so(
    pki: Pki, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than guess: contexts of another layout, a built-in module, an OpenSSL without such keys."""
    with pytest.raises(OperatorError, match="laid out in another way"):
        use_held_key(Otherwise(ssl.PROTOCOL_TLS_CLIENT), pki.device, holder)
    with monkeypatch.context() as changed:
        changed.setitem(held_keys._FUNCTIONS, "EC_KEY_no_such_thing", (None, ()))
        with pytest.raises(OperatorError, match="it has no EC_KEY_no_such_thing"):
            held_keys._library.__wrapped__()
        changed.setitem(sys.modules, "_ssl", ssl.Options)
        with pytest.raises(OperatorError, match="its ssl module is built in") as caught:
            held_keys._library.__wrapped__()
    assert "transport key in a file" in caught.value.hint


CONFINED = """
import ctypes, sys
from pathlib import Path
from coldseal.identity.contexts import client_context, server_context
from tests.identity.test_held_keys import Holder, key_of, shake, use_held_key
trust, service, device = (Path(each) for each in sys.argv[1:])
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE: no memory is written and run
    sys.exit(77)
client = client_context(None, None, trust)
use_held_key(client, device, Holder(key_of(device)))
shake(server_context(service, key_of(service), trust), client)
"""


def test_it_works_where_no_memory_may_be_written_and_run(pki: Pki) -> None:
    """As under systemd's MemoryDenyWriteExecute, which our units set."""
    files = [str(each) for each in (pki.trust, pki.service, pki.device)]
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, *files], capture_output=True, text=True, check=False
    )
    if done.returncode == NOT_RUN:
        pytest.skip("not run: this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
