"""A TPM and a token in software, for whoever signs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.signing.software_hsm import SoftwareToken, software_hsm
from tests.signing.software_tpm import SoftwareTpm, software_tpm


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """Give a TPM; one test after the other uses it."""
    with software_tpm(tmp_path_factory.mktemp("chip")) as made:
        yield made


@pytest.fixture(scope="session")
def token() -> SoftwareToken:
    """Give a token."""
    return software_hsm()
