"""The one door to tlslite-ng, which imports a module that the standard library gives up with Python 3.12."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # asyncore; nothing of it is used
    from tlslite.api import (
        HandshakeSettings,
        TLSConnection,
        X509CertChain,
        parsePEMKey,
    )
    from tlslite.x509 import X509

__all__ = ["X509", "HandshakeSettings", "TLSConnection", "X509CertChain", "parsePEMKey"]
