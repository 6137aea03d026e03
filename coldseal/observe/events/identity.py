"""Events of certificates: enrolment, renewal, revocation."""

from __future__ import annotations
