"""The structures in which a TPM 2.0 answers: attestations, signatures, public areas.

Promises one strict reading: each length is checked, an unknown algorithm or selector is refused by its name
and number, and nothing is left over. Judges nothing: what a structure must say is `quotes`' matter.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

GENERATED: Final = 0xFF544347
"""TPM_GENERATED_VALUE: what a restricted key signs begins so only where the TPM itself made it."""

PCRS: Final = 24
"""PCRs of a bank on a PC client platform."""


class Algorithm(IntEnum):
    """TPM_ALG_ID, those that may stand here."""

    RSA = 0x0001
    AES = 0x0006
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    RSASSA = 0x0014
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECC = 0x0023
    CFB = 0x0043


class Curve(IntEnum):
    """TPM_ECC_CURVE, those that may stand here."""

    P256 = 0x0003
    P384 = 0x0004


class Tag(IntEnum):
    """TPM_ST: what kind of attestation it is, those that are read here."""

    NV = 0x8014
    QUOTE = 0x8018


class Attribute(IntFlag):
    """TPMA_OBJECT: what a key may do, and whether it can leave its chip."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


_RESERVED: Final = 0xFFFFFFFF & ~sum(Attribute)

HASHES: Final[Mapping[Algorithm, str]] = {
    Algorithm.SHA256: "sha256",
    Algorithm.SHA384: "sha384",
    Algorithm.SHA512: "sha512",
}
CURVES: Final[Mapping[Curve, ec.EllipticCurve]] = {Curve.P256: ec.SECP256R1(), Curve.P384: ec.SECP384R1()}

Number = TypeVar("Number", bound=IntEnum)


class Cursor:
    """Bytes that are taken from the front.

    Args:
        where: what is being read, for errors.
        content: the bytes.
        order: byte order of numbers: the chip's is big, the firmware's log little.
    """

    def __init__(self, where: str, content: bytes, *, is_little: bool = False) -> None:
        """Begin at the first byte."""
        self._where, self._content, self._at = where, content, 0
        self._is_little = is_little

    def take(self, field: str, size: int) -> bytes:
        """Take so many bytes.

        Raises:
            InputError: there are fewer.
        """
        end = self._at + size
        if end > len(self._content):
            left = len(self._content) - self._at
            raise InputError(self._where, field, f"{left} bytes", f"{size} bytes")
        found, self._at = self._content[self._at : end], end
        return found

    def number(self, field: str, size: int) -> int:
        """Take an unsigned number of so many bytes."""
        return int.from_bytes(self.take(field, size), "little" if self._is_little else "big")

    def member(self, field: str, kind: type[Number]) -> Number:
        """Take a number of two bytes that must be one of a kind."""
        found = self.number(field, 2)
        try:
            return kind(found)
        except ValueError:
            expected = ", ".join(f"{each.name} ({each:#06x})" for each in kind)
            raise InputError(self._where, field, f"{found:#06x}", f"one of {expected}") from None

    def sized(self, field: str) -> bytes:
        """Take what stands behind its own length of two bytes (TPM2B)."""
        return self.take(field, self.number(f"{field}.size", 2))

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._content)

    def end(self) -> None:
        """Insist that nothing is left.

        Raises:
            InputError: something is.
        """
        left = len(self._content) - self._at
        if left:
            raise InputError(self._where, "length", len(self._content), f"{left} bytes less")


class ClockInfo(NamedTuple):
    """TPMS_CLOCK_INFO: the chip's own time.

    Attributes:
        clock: milliseconds that it was powered, since it was made or cleared.
        reset_count: how often it was reset: once at each start of the machine.
        restart_count: how often it woke up since the last reset.
        is_safe: no greater value of the clock was told before.
    """

    clock: int
    reset_count: int
    restart_count: int
    is_safe: bool


class Selection(NamedTuple):
    """TPMS_PCR_SELECTION: PCRs of one bank, in ascending order."""

    bank: Algorithm
    pcrs: tuple[int, ...]


class QuoteInfo(NamedTuple):
    """TPMS_QUOTE_INFO: which PCRs, and the hash over their values."""

    selections: tuple[Selection, ...]
    digest: bytes


class NvInfo(NamedTuple):
    """TPMS_NV_CERTIFY_INFO: what stands in an NV index."""

    name: bytes
    offset: int
    content: bytes


class Attest(NamedTuple):
    """TPMS_ATTEST: a statement of the chip.

    Attributes:
        signer: qualified name of the key that signs it.
        extra: what the caller wanted to be signed with it.
        clock: the chip's time.
        firmware: the chip's firmware version.
        attested: what is stated.
    """

    signer: bytes
    extra: bytes
    clock: ClockInfo
    firmware: int
    attested: QuoteInfo | NvInfo


class Signature(NamedTuple):
    """TPMT_SIGNATURE: of RSA one number, of ECDSA two."""

    scheme: Algorithm
    digest: Algorithm
    numbers: tuple[bytes, ...]


class Scheme(NamedTuple):
    """How a key signs: NULL stands for whatever it is asked for."""

    algorithm: Algorithm
    digest: Algorithm


class Public(NamedTuple):
    """TPMT_PUBLIC of a key.

    Attributes:
        encoded: the TPMT_PUBLIC as it came, without its length.
        name_digest: the hash in the key's name, and in what protects secrets under it.
        attributes: what it may do.
        policy: digest of the policy that it asks for; empty if none.
        symmetric_bits: AES in CFB mode of so many bits under a storage key; 0 for a key that signs.
        scheme: how it signs.
        key: the key itself.
    """

    encoded: bytes
    name_digest: Algorithm
    attributes: Attribute
    policy: bytes
    symmetric_bits: int
    scheme: Scheme
    key: PublicKey

    @property
    def name(self) -> bytes:
        """Name of the key: nobody can make another one that has it."""
        return name_of(self.name_digest, self.encoded)


def name_of(digest: Algorithm, content: bytes) -> bytes:
    """Give a TPM name: the hash's number, and the hash."""
    return digest.to_bytes(2) + hashlib.new(HASHES[digest], content).digest()


def parse_attest(content: bytes) -> Attest:
    """Read a TPMS_ATTEST of a quote or an NV index.

    Raises:
        InputError: it is neither, or malformed.
    """
    cursor = Cursor("TPMS_ATTEST", content)
    magic = cursor.number("magic", 4)
    if magic != GENERATED:
        raise InputError("TPMS_ATTEST", "magic", f"{magic:#010x}", f"{GENERATED:#010x}: the chip's own mark")
    tag = cursor.member("type", Tag)
    signer, extra = cursor.sized("qualifiedSigner"), cursor.sized("extraData")
    clock = ClockInfo(
        cursor.number("clockInfo.clock", 8),
        cursor.number("clockInfo.resetCount", 4),
        cursor.number("clockInfo.restartCount", 4),
        _yes_no(cursor, "clockInfo.safe"),
    )
    firmware = cursor.number("firmwareVersion", 8)
    attested: QuoteInfo | NvInfo
    if tag is Tag.QUOTE:
        attested = QuoteInfo(_selections(cursor), cursor.sized("pcrDigest"))
    else:
        attested = NvInfo(cursor.sized("indexName"), cursor.number("offset", 2), cursor.sized("nvContents"))
    cursor.end()
    return Attest(signer, extra, clock, firmware, attested)


def _yes_no(cursor: Cursor, field: str) -> bool:
    """Take a TPMI_YES_NO."""
    found = cursor.number(field, 1)
    if found > 1:
        raise InputError("TPMS_ATTEST", field, found, "0 or 1")
    return bool(found)


def _selections(cursor: Cursor) -> tuple[Selection, ...]:
    """Take a TPML_PCR_SELECTION."""
    count = cursor.number("pcrSelect.count", 4)
    if not 1 <= count <= len(HASHES):
        raise InputError("TPMS_ATTEST", "pcrSelect.count", count, f"1 to {len(HASHES)}")
    found = []
    for _ in range(count):
        bank = cursor.member("pcrSelect.hash", Algorithm)
        if bank not in HASHES:
            raise InputError("TPMS_ATTEST", "pcrSelect.hash", bank.name, ", ".join(HASHES.values()))
        bits = int.from_bytes(cursor.take("pcrSelect", cursor.number("pcrSelect.sizeofSelect", 1)), "little")
        if bits >> PCRS:
            raise InputError("TPMS_ATTEST", "pcrSelect", f"{bits:#x}", f"PCRs below {PCRS}")
        found.append(Selection(bank, tuple(pcr for pcr in range(PCRS) if bits >> pcr & 1)))
    return tuple(found)


def parse_signature(content: bytes) -> Signature:
    """Read a TPMT_SIGNATURE by RSA or ECDSA.

    Raises:
        InputError: it is none, or malformed.
    """
    cursor = Cursor("TPMT_SIGNATURE", content)
    scheme, digest = cursor.member("sigAlg", Algorithm), cursor.member("hash", Algorithm)
    if digest not in HASHES:
        raise InputError("TPMT_SIGNATURE", "hash", digest.name, ", ".join(HASHES.values()))
    numbers: tuple[bytes, ...]
    if scheme is Algorithm.ECDSA:
        numbers = cursor.sized("signatureR"), cursor.sized("signatureS")
    elif scheme in {Algorithm.RSASSA, Algorithm.RSAPSS}:
        numbers = (cursor.sized("sig"),)
    else:
        raise InputError("TPMT_SIGNATURE", "sigAlg", scheme.name, "ECDSA, RSASSA or RSAPSS")
    cursor.end()
    return Signature(scheme, digest, numbers)


def parse_public(content: bytes) -> Public:
    """Read a TPM2B_PUBLIC of an RSA or ECC key.

    Raises:
        InputError: it is none, malformed, or no point of its curve.
    """
    whole = Cursor("TPM2B_PUBLIC", content)
    encoded = whole.sized("publicArea")
    whole.end()
    cursor = Cursor("TPMT_PUBLIC", encoded)
    kind, digest = cursor.member("type", Algorithm), cursor.member("nameAlg", Algorithm)
    if digest not in HASHES:
        raise InputError("TPMT_PUBLIC", "nameAlg", digest.name, ", ".join(HASHES.values()))
    bits = cursor.number("objectAttributes", 4)
    if bits & _RESERVED:
        raise InputError("TPMT_PUBLIC", "objectAttributes", f"{bits:#010x}", "no reserved bit")
    policy, symmetric, scheme = cursor.sized("authPolicy"), _symmetric(cursor), _scheme(cursor)
    key: PublicKey
    if kind is Algorithm.RSA:
        key = _rsa_key(cursor)
    elif kind is Algorithm.ECC:
        key = _ecc_key(cursor)
    else:
        raise InputError("TPMT_PUBLIC", "type", kind.name, "RSA or ECC")
    cursor.end()
    return Public(encoded, digest, Attribute(bits), policy, symmetric, scheme, key)


def _symmetric(cursor: Cursor) -> int:
    """Take a TPMT_SYM_DEF_OBJECT: AES in CFB mode, or none."""
    algorithm = cursor.member("symmetric", Algorithm)
    if algorithm is Algorithm.NULL:
        return 0
    bits, mode = cursor.number("symmetric.keyBits", 2), cursor.member("symmetric.mode", Algorithm)
    if algorithm is not Algorithm.AES or mode is not Algorithm.CFB or bits not in {128, 256}:
        found = f"{algorithm.name} {mode.name} {bits}"
        raise InputError("TPMT_PUBLIC", "symmetric", found, "AES CFB 128 or 256")
    return bits


def _scheme(cursor: Cursor) -> Scheme:
    """Take a TPMT_RSA_SCHEME or TPMT_ECC_SCHEME that needs a hash, or none."""
    algorithm = cursor.member("scheme", Algorithm)
    if algorithm is Algorithm.NULL:
        return Scheme(algorithm, algorithm)
    return Scheme(algorithm, cursor.member("scheme.hash", Algorithm))


def _rsa_key(cursor: Cursor) -> rsa.RSAPublicKey:
    """Take the rest of an RSA key."""
    bits, exponent = cursor.number("keyBits", 2), cursor.number("exponent", 4) or 65_537
    modulus = int.from_bytes(cursor.sized("unique"))
    if bits not in {2048, 3072, 4096} or modulus.bit_length() != bits:
        raise InputError(
            "TPMT_PUBLIC", "keyBits", f"{bits}, of the modulus {modulus.bit_length()}", "2048, 3072 or 4096"
        )
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise InputError("TPMT_PUBLIC", "exponent", exponent, f"an RSA key: {error}") from error


def _ecc_key(cursor: Cursor) -> ec.EllipticCurvePublicKey:
    """Take the rest of an ECC key."""
    curve = cursor.member("curveID", Curve)
    if cursor.member("kdf", Algorithm) is not Algorithm.NULL:
        raise InputError("TPMT_PUBLIC", "kdf", "another", Algorithm.NULL.name)
    x, y = cursor.sized("unique.x"), cursor.sized("unique.y")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), CURVES[curve])
    try:
        return numbers.public_key()
    except ValueError as error:
        raise InputError(
            "TPMT_PUBLIC", "unique", (x + y).hex(), f"a point of {curve.name}: {error}"
        ) from error
