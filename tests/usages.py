"""What a made-up certificate's key may be used for, named shortly."""

from __future__ import annotations

from cryptography import x509

_RIGHTS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def usage_of(*rights: str) -> x509.KeyUsage:
    """Allow these, by their names in `x509.KeyUsage`, and nothing else."""
    return x509.KeyUsage(**{each: each in rights for each in _RIGHTS})
