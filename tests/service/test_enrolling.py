"""The enrolment server as a part: what is wrong on disk is told once, and what was opened is closed again."""

from __future__ import annotations

import io
import json
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.observe.logs import configure
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.enrolling import BUNDLE, Enrolling
from coldseal.service.enrolments import Enrolments
from tests.trial import Site, now

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(32))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give the files of a trial."""
    made = Site(tmp_path)
    (made.service / "data").mkdir()
    return made


def opened(site: Site, *overrides: str, metrics: ServiceMetrics | None = None) -> Enrolling:
    """Open the enrolment server of the trial's CA."""
    config = site.config(f"est.authority={site.folder}/pki", *overrides)
    return Enrolling(config, KEY, metrics or ServiceMetrics(), now=lambda: int(now().timestamp()))


async def test_what_fails_on_disk_is_told_once_while_it_lasts(site: Site) -> None:
    """The listener goes on with what it had; another fault later is told again."""
    lines, registry = io.StringIO(), site.folder / "pki" / "denied.jsonl"
    configure(stream=lines, is_readable=False)

    def told() -> int:
        found = [json.loads(line)["event"] for line in lines.getvalue().splitlines()]
        return found.count("enrolment.failed")

    with closing(opened(site)) as made:
        await made.refresh()
        assert told() == 0
        for times in (1, 2):
            registry.write_bytes(b"rubbish\n")
            await made.refresh()
            await made.refresh()
            assert told() == times
            registry.unlink()
            await made.refresh()


async def test_without_an_address_nothing_listens_and_all_else_is_done(site: Site) -> None:
    """Its files are kept up to date for those who read them."""
    metrics = ServiceMetrics()
    with closing(opened(site, metrics=metrics)) as made:
        made.bind()
        assert made.address == ""
        await made.serve_bound()
        bundle = site.service / "data" / BUNDLE
        written = bundle.read_bytes()
        assert written.count(b"BEGIN CERTIFICATE") >= 2
        bundle.unlink()
        await made.refresh()
        assert bundle.read_bytes() == written
        assert b'certificate_expiry_seconds{certificate="issuing"}' in metrics.render()


def test_an_own_certificate_that_is_not_to_be_renewed_is_left_alone(site: Site) -> None:
    """Somebody else's PKI sees to it."""
    path = site.certificates["service"]
    site.authority.renew(path, now=now() - timedelta(days=6), days=7)
    before = path.read_bytes()
    with closing(opened(site, "est.renew_own=false")):
        assert path.read_bytes() == before
    with closing(opened(site)):
        assert path.read_bytes() != before


def test_a_ca_that_cannot_be_opened_leaves_the_store_of_enrolments_closed(site: Site) -> None:
    """The next start can open it."""
    with pytest.raises(OperatorError):
        opened(site, f"est.authority={site.folder}/nowhere")
    with closing(Enrolments.open(site.service / "data", KEY)) as store:
        assert store.waiting() == []


def test_lists_that_are_gone_are_a_fault_for_now(site: Site) -> None:
    """Whoever asks comes again: a list that cannot be read is not an empty one."""
    with closing(opened(site)) as made:
        registrar = made._registrar
        assert b"X509 CRL" in registrar.lists()
        (site.folder / "pki" / "crl.pem").unlink()
        with pytest.raises(UnavailableError, match="the revocation list"):
            registrar.lists()
