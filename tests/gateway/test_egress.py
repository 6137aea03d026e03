"""The list of ways out: what it lets out, what it refuses, and how it says so."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.egress import Cause, EgressWatch, Guard, Refusals, RefusedError, Rule, pin_of, rules_of
from coldseal.gateway.endpoints import Endpoint, endpoint_of, is_inside
from coldseal.observe.metrics import GatewayMetrics
from tests.trial import Site

SERVICE = Endpoint("service.example", 8443)


def events_in(lines: io.StringIO) -> list[str]:
    """Give the names of the events that were written."""
    return [json.loads(line)["event"] for line in lines.getvalue().splitlines()]


def nobody(host: str) -> Sequence[str]:
    """Resolve nothing."""
    raise UnavailableError(f"the address of {host}", "nobody is asked here")


def load(tmp_path: Path, egress: str = "", **changes: str) -> GatewayConfig:
    """Load a configuration with a service, a witness and an authority."""
    urls = {
        "uplink": "https://service.example:8443",
        "witness": "https://Witness.example./v1/witness",
        "timestamp": "http://tsa.example/rfc3161",
    } | changes
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "example.com/gw"\nsite = "site-7"\n'
        '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:0"\npasswords = "passwords"\n'
        f'[uplink]\nurl = "{urls["uplink"]}"\ncertificate = "a.pem"\nkey = "a.key"\nca = "ca.pem"\n'
        f'witness = "one+1+x"\n[[uplink.witnesses]]\nurl = "{urls["witness"]}"\nkey = "two+2+x"\n'
        f'[timestamp]\nurl = "{urls["timestamp"]}"\nca = "tsa.pem"\n{egress}'
    )
    return load_gateway(path)


def allow(*entries: str) -> str:
    """Write entries of the list."""
    return "".join(f"[[egress.allow]]\n{entry}\n" for entry in entries)


WHOLE = (
    'host = "SERVICE.example"\nport = 8443',
    'host = "witness.example"',
    'host = "tsa.example"\nport = 80\ntls = false',
)


def test_without_a_list_the_configured_endpoints_are_the_list(tmp_path: Path) -> None:
    """The rule is always on."""
    found = rules_of(load(tmp_path))

    assert [str(rule.endpoint) for rule in found] == [
        "https://service.example:8443",
        "http://tsa.example:80",
        "https://witness.example:443",
    ]


def test_a_list_is_taken_as_it_is(tmp_path: Path) -> None:
    """With names in the usual form."""
    entry = 'host = "service.example"\nport = 8443\naddresses = ["2001:DB8::1"]\nnetworks = ["2001:db8::/32"]'
    found = rules_of(load(tmp_path, allow(entry, *WHOLE[1:])))

    assert found[0] == Rule(SERVICE, addresses=("2001:db8::1",), networks=("2001:db8::/32",))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("egress", "named"),
    [
        (allow(*WHOLE[1:]), "uplink.url is 'https://service.example:8443', which is not in egress.allow"),
        (allow(WHOLE[0], WHOLE[2]), "uplink.witnesses.url"),
        (allow(*WHOLE[:2]), "timestamp.url"),
        (allow(*WHOLE[:2], 'host = "tsa.example"\nport = 80'), "tls = true. Set tls = false"),
        (allow(*WHOLE, WHOLE[1]), "one endpoint twice"),
        (allow(*WHOLE, 'host = "x"\naddresses = ["10.0.0"]'), "addresses has '10.0.0'"),
        (allow(*WHOLE, 'host = "x"\nnetworks = ["10.0.0.1/8"]'), "networks has '10.0.0.1/8'"),
        (allow(*WHOLE, 'host = "x"\ntls = false\nca = "x.pem"'), "Without TLS no key is shown"),
        (allow(*WHOLE, 'host = "10.0.0.1"\naddresses = ["10.0.0.1"]'), "an address itself"),
        (allow(*WHOLE, 'host = "x"\naddresses = ["10.0.0.1"]\nnetworks = ["10.1.0.0/16"]'), "lies outside"),
        (allow(*WHOLE, 'host = "10.0.0.1"\nnetworks = ["10.1.0.0/16"]'), "lies outside"),
        (allow(*WHOLE, 'host = "x"\npins = ["abc"]'), "pins"),
        ('[egress]\nresolver = ["dns.example:53"]', "by its IP address and port"),
        ('[egress]\nresolver_name = "dns.example"', "egress.resolver is not"),
        ('[egress]\nresolver = ["10.0.0.53:853"]\nresolver_name = "dns.example"', "not set both"),
        ('[egress]\nallowed = ["x"]', "allow"),
    ],
    ids=[
        *("service", "witness", "authority", "open", "twice", "address", "network", "open pins", "literal"),
        *("outside", "literal outside", "pin", "resolver", "no resolver", "no ca", "unknown"),
    ],
)
def test_a_contradiction_is_told_with_its_cure(tmp_path: Path, egress: str, named: str) -> None:
    """At the start, not in the night when the authority is asked first."""
    with pytest.raises(OperatorError, match=re.escape(named)):
        load(tmp_path, egress)


@pytest.mark.parametrize(
    "url",
    ["https://user:word@service.example", "https://service.example:99999", "https:///path"],
    ids=["password", "port", "no host"],
)
def test_an_address_that_is_none_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    """A password in an address would be sent, and stand in logs."""
    with pytest.raises(OperatorError, match=r"uplink\.url") as caught:
        load(tmp_path, uplink=url)

    assert "word" not in caught.value.what.partition("expected")[0].replace("password", "")


def test_endpoints_are_compared_in_one_form() -> None:
    """Case, a final dot, brackets and the usual port make no difference."""
    assert endpoint_of("https://Service.Example.:8443/x") == SERVICE
    assert endpoint_of("https://[2001:DB8:0::1]/") == Endpoint("2001:db8::1", 443)
    assert str(endpoint_of("http://[::1]:80")) == "http://[::1]:80"
    with pytest.raises(InputError):
        endpoint_of("ftp://service.example")


def test_an_endpoint_that_is_not_listed_is_refused(lines: io.StringIO) -> None:
    """Other ports of a listed host, and the same one without TLS, are not listed either."""
    guard = Guard((Rule(SERVICE),), nobody)
    for other in (
        Endpoint("other.example", 8443),
        Endpoint(SERVICE.host, 443),
        SERVICE._replace(is_tls=False),
    ):
        with pytest.raises(RefusedError) as caught:
            guard.addresses(other)
        assert caught.value.cause is Cause.NOT_LISTED

    assert events_in(lines) == ["egress.refused"] * 3


def test_pinned_addresses_need_no_resolver() -> None:
    """Nor does a host that is an address; any other address is refused at the last look."""
    pinned = Rule(SERVICE, addresses=("10.0.0.1", "2001:db8::1"))
    literal = Endpoint("10.0.0.2", 443)
    guard = Guard((pinned, Rule(literal)), nobody)

    assert guard.addresses(SERVICE) == ("10.0.0.1", "2001:db8::1")
    assert guard.addresses(literal) == ("10.0.0.2",)
    guard.admit(SERVICE, "2001:DB8::1", 8443)
    for endpoint, address, port in (
        (SERVICE, "10.0.0.2", 8443),
        (SERVICE, "10.0.0.1", 443),
        (literal, "10.0.0.1", 443),
    ):
        with pytest.raises(RefusedError) as caught:
            guard.admit(endpoint, address, port)
        assert caught.value.cause is Cause.ADDRESS


def test_a_name_that_leads_into_another_network_is_refused(lines: io.StringIO) -> None:
    """A rebound name reaches nothing inside; said once, and once when it is over."""
    answers = ["127.0.0.1", "169.254.169.254"]
    guard = Guard((Rule(SERVICE, networks=("198.51.100.0/24", "2001:db8::/32")),), lambda _: answers)
    for _ in range(3):
        with pytest.raises(RefusedError, match="outside its networks"):
            guard.addresses(SERVICE)
    answers.append("198.51.100.7")

    assert guard.addresses(SERVICE) == ["198.51.100.7"]
    guard.admit(SERVICE, "198.51.100.7", 8443)
    with pytest.raises(RefusedError):
        guard.admit(SERVICE, "127.0.0.1", 8443)
    guard.passed(SERVICE)
    guard.passed(SERVICE)
    assert events_in(lines) == ["egress.refused", "egress.restored"]


def test_a_network_of_the_other_family_holds_nothing() -> None:
    """And an IPv4 address in the form of an IPv6 one is what it is."""
    assert not is_inside("10.0.0.1", ["::/0"])
    assert is_inside("::ffff:10.0.0.1", ["10.0.0.0/8"])
    assert not is_inside("::ffff:10.0.0.1", ["::/0"])


def test_a_chain_is_held_against_pins_and_ca(tmp_path: Path) -> None:
    """The key of any certificate in it may be pinned; the CA must be the one that is named."""
    site = Site(tmp_path)
    chain = [
        each.public_bytes(Encoding.DER)
        for path in (site.certificates["service"], site.trust)
        for each in x509.load_pem_x509_certificates(path.read_bytes())
    ]
    leaf, *_, root = (pin_of(each) for each in chain)
    for rule in (
        Rule(SERVICE, pins=(leaf,)),
        Rule(SERVICE, pins=("x" * 43 + "=", root)),
        Rule(SERVICE, ca=site.trust),
        Rule(SERVICE, pins=(leaf,), ca=site.trust),
    ):
        Guard((rule,), nobody).admit_chain(SERVICE, chain)
    (tmp_path / "bad.pem").write_text("nonsense")
    other = site.certificates["gateway"]
    for rule, shown, cause in (
        (Rule(SERVICE, pins=("x" * 43 + "=",)), chain, Cause.PIN),
        (Rule(SERVICE, pins=(leaf,)), [], Cause.PIN),
        (Rule(SERVICE, pins=(leaf,), ca=other), chain[:1], Cause.AUTHORITY),
        (Rule(SERVICE, ca=tmp_path / "missing.pem"), chain, Cause.AUTHORITY),
        (Rule(SERVICE, ca=tmp_path / "bad.pem"), chain, Cause.AUTHORITY),
    ):
        with pytest.raises(RefusedError) as caught:
            Guard((rule,), nobody).admit_chain(SERVICE, shown)
        assert caught.value.cause is cause


def test_an_open_endpoint_passes_when_its_address_does(lines: io.StringIO) -> None:
    """There is no handshake that could say so."""
    open_one = Endpoint("tsa.example", 80, is_tls=False)
    answers = ["10.0.0.1"]
    guard = Guard((Rule(open_one, networks=("198.51.100.0/24",)),), lambda _: answers)
    with pytest.raises(RefusedError):
        guard.addresses(open_one)
    guard.admit(open_one, "198.51.100.1", 80)

    assert events_in(lines) == ["egress.refused", "egress.restored"]


def test_refusals_are_counted_and_shown_by_the_gateway(tmp_path: Path) -> None:
    """Over the file that the uplink's process writes; also when that process is started again."""
    kept, metrics = tmp_path / "egress.json", GatewayMetrics()
    watch = EgressWatch(kept, metrics)
    guard = Guard((), nobody)
    for _ in range(2):
        guard = Guard((Rule(SERVICE, pins=("x" * 43 + "=",)),), nobody, kept)
        watch.tick()
        for _ in range(3):
            with pytest.raises(RefusedError):
                guard.admit_chain(SERVICE, [])
        watch.tick()
    watch.tick()

    assert 'coldseal_gateway_egress_refused_total{cause="pin"} 6.0' in metrics.render().decode()
    assert list(watch.status()) == ["https://service.example:8443"]
    assert watch.status()["https://service.example:8443"].startswith("pin: ")
    guard.passed(SERVICE)
    watch.tick()
    assert not watch.status()


def test_a_file_that_cannot_be_read_counts_nothing(tmp_path: Path) -> None:
    """Neither one that is missing nor one that is cut; nor does a full disk stop anybody."""
    kept = tmp_path / "egress.json"
    kept.write_bytes(b"{")
    watch = EgressWatch(kept, GatewayMetrics())
    watch.tick()
    Guard((), nobody, tmp_path / "missing" / "egress.json")

    assert not watch.status()
    assert msgspec.json.decode(b"{}", type=Refusals) == Refusals()
