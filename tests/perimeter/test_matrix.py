"""The TLS matrix: every listener refuses every wrong caller for its own reason, and reads nothing of it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from coldseal.identity.contexts import client_context
from coldseal.identity.handshakes import Reason
from coldseal.identity.peer import Role
from tests.perimeter.grounds import Grounds, wait
from tests.perimeter.matrix import CASES, NAME, Case
from tests.perimeter.papers import call

ROLES: dict[str, Role] = {"mqtt": "device", "api": "gateway", "est": "gateway"}
"""Who is right at each listener."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("listener", ROLES)
def test_a_wrong_caller_is_refused_for_its_own_reason(quiet: Grounds, listener: str, case: Case) -> None:
    """Said once with that reason, counted once, and nothing behind the handshake is processed."""
    before, in_all = quiet.counted(listener, case.reason), quiet.refused(listener)
    is_behind = case.behind and listener != "mqtt"
    is_let_in = is_behind or (listener == "est" and case.reason is Reason.NO_CERTIFICATE)

    answer = case.comes(quiet.papers, ROLES[listener], quiet.ports[listener], quiet.requests[listener])

    if is_let_in:  # a request is what the application refuses, whole and in order
        assert answer.startswith(b"HTTP/1.1 403 ")
        return
    wait(lambda: bool(quiet.said()), f"nothing was said of {case.name}")
    (line,) = quiet.said()
    assert (line["listener"], line["reason"]) == (listener, case.reason), line
    assert quiet.counted(listener, case.reason) == before + 1
    assert quiet.refused(listener) == in_all + 1
    assert not answer
    assert not quiet.has_read(listener)


@pytest.mark.parametrize("listener", ROLES)
def test_the_right_caller_is_served(quiet: Grounds, listener: str) -> None:
    """So the matrix refuses the wrong ones, not everybody."""
    paper = quiet.papers.leaf(ROLES[listener], NAME)
    context = client_context(paper, paper.with_suffix(".key"), quiet.papers.trust)

    answer = call(quiet.ports[listener], context, quiet.requests[listener])

    assert answer.startswith(b"\x20" if listener == "mqtt" else b"HTTP/1.1 200 ")
    assert not quiet.said()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_page_has_a_row_for_each_case(case: Case) -> None:
    """What is written is what is tested."""
    page = (Path(__file__).parents[2] / "docs" / "specs" / "tls.md").read_text()

    assert f"| {case.name} | `{case.reason}` |" in page
