"""Enrolment and renewal over real TLS, with curl and openssl as the client: what is given, and to whom."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coldseal.service.app import Service
from coldseal.service.config import load_service
from coldseal.service.enrolments import Enrolments
from tests.service.est_client import EstClient, run
from tests.trial import Site, now

DEVICE = "URI:urn:coldseal:device:sensor-9"
GATEWAY = ("URI:urn:coldseal:gateway:gw-9", "DNS:localhost", "IP:127.0.0.1", "IP:::1", "DNS:gw-9.example")


@pytest.fixture
async def service(site: Site) -> AsyncIterator[Service]:
    """Give a running service that enrols from the trial's CA."""
    async with site.running("est.listen=127.0.0.1:0", f"est.authority={site.folder / 'pki'}") as service:
        yield service


@pytest.fixture
def client(service: Service, site: Site, tmp_path: Path) -> EstClient:
    """Give a client that trusts the trial's CA."""
    return EstClient(service, tmp_path / "holder", site.trust)


def enrolments(service: Service) -> Enrolments:
    """Give the service's own tokens and history."""
    assert service.enrolling is not None
    return service.enrolling.enrolments


def token(service: Service, role: str = "device", name: str = "sensor-9", **more: int) -> str:
    """Make a token, as an operator does; give it as curl takes it."""
    hosts = ("gw-9.example",) if role == "gateway" else ()
    made = enrolments(service).make_token(
        role,  # type: ignore[arg-type] # one of the roles
        name,
        hosts,
        now=more.get("now", int(now().timestamp())),
        life_s=more.get("life_s", 60),
    )
    return f"{name}:{made}"


async def enrol(client: EstClient, service: Service, name: str = "sensor-9") -> str:
    """Enrol a device by token, and keep its certificate."""
    body = await client.request(name, f"URI:urn:coldseal:device:{name}")
    answer = await client.post("simpleenroll", body, "-u", token(service, name=name))
    assert answer.status == 200, answer
    return await client.save(answer, name)


async def test_cacerts_gives_root_and_issuing_ca_to_anybody(client: EstClient, site: Site) -> None:
    """As certs-only PKCS#7, which openssl reads; the root in it is the one that is trusted."""
    answer = await client.get("cacerts")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/pkcs7-mime")
    assert answer.headers["content-transfer-encoding"] == "base64"
    der = base64.b64decode(answer.body)
    pem = await run("openssl", "pkcs7", "-inform", "DER", "-print_certs", given=der)
    assert pem.count(b"BEGIN CERTIFICATE") == 2
    root = "".join(site.trust.read_text().split())
    assert root in "".join(pem.decode().split())


async def test_csrattrs_asks_for_a_p256_key(client: EstClient) -> None:
    """As DER that openssl parses."""
    answer = await client.get("csrattrs")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/csrattrs")
    der = base64.b64decode(answer.body)
    shown = (await run("openssl", "asn1parse", "-inform", "DER", given=der)).decode()
    for name in ("id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"):
        assert name in shown


async def test_a_token_enrols_a_device_and_its_certificate_renews_itself(
    client: EstClient, service: Service
) -> None:
    """simpleenroll, then simplereenroll over mutual TLS with what came, with a new key and with the same."""
    first = await enrol(client, service)
    assert "URI:urn:coldseal:device:sensor-9" in first
    assert "TLS Web Client Authentication" in first
    body = await client.request("sensor-9", DEVICE)
    answer = await client.post("simplereenroll", body, *client.certified("sensor-9"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    second = await client.save(answer, "second")
    same = await client.request("sensor-9", DEVICE, key="second.key")
    answer = await client.post("simplereenroll", same, *client.certified("second"))
    third = await client.save(answer, "third")
    assert len({text.split("Serial Number:")[1].split()[0] for text in (first, second, third)}) == 3
    history = enrolments(service).history(name="sensor-9")
    assert [(each.what, each.way) for each in history] == [
        ("issued", "renewal"),
        ("issued", "renewal"),
        ("issued", "token"),
        ("token", "token"),
    ]
    assert all(each.serial for each in history[:3])


async def test_a_gateway_is_enrolled_with_its_hosts(client: EstClient, service: Service) -> None:
    """As a server and a client; only with those that the token names."""
    body = await client.request("gw-9", *GATEWAY)
    answer = await client.post("simpleenroll", body, "-u", token(service, "gateway", "gw-9"))
    shown = await client.save(answer, "gw-9")
    assert "DNS:gw-9.example" in shown
    assert "TLS Web Server Authentication" in shown


async def test_a_request_with_a_common_name_alone_is_filled_in_from_the_token(
    client: EstClient, service: Service
) -> None:
    """Clients that know nothing of our names can be enrolled."""
    body = await client.request("sensor-9")
    answer = await client.post("simpleenroll", body, "-u", token(service))
    assert DEVICE in await client.save(answer, "sensor-9")


async def test_nothing_but_what_was_authorised_is_given(client: EstClient, service: Service) -> None:
    """Whatever the request says: another name or role, further hosts; the token counts afterwards."""
    credentials = token(service)
    for subject, names in (
        ("sensor-8", ("URI:urn:coldseal:device:sensor-8",)),
        ("sensor-9", ("URI:urn:coldseal:gateway:sensor-9",)),
        ("sensor-9", ("URI:urn:coldseal:operator:sensor-9",)),
        ("sensor-9", (DEVICE, "DNS:bank.example")),
        ("sensor-8", ()),
    ):
        body = await client.request(subject, *names)
        refused = await client.post("simpleenroll", body, "-u", credentials)
        assert (refused.status, refused.body[:8]) == (403, b"refused:"), names
    good = await client.request("sensor-9", DEVICE, key="good.key")
    assert (await client.post("simpleenroll", good, "-u", credentials)).status == 200


async def test_a_token_counts_once(client: EstClient, service: Service) -> None:
    """For another key it is spent; for the same key a lost answer is given again, the very same."""
    credentials = token(service)
    body = await client.request("sensor-9", DEVICE)
    first = await client.post("simpleenroll", body, "-u", credentials)
    again = await client.post("simpleenroll", body, "-u", credentials)
    assert first.body == again.body
    other = await client.request("sensor-9", DEVICE, key="other.key")
    answer = await client.post("simpleenroll", other, "-u", credentials)
    assert (answer.status, answer.body) == (401, b"the token does not count\n")
    assert enrolments(service).history()[0].detail.startswith("spent-token")


async def test_an_expired_token_does_not_count(client: EstClient, service: Service) -> None:
    """The caller learns no more than of a wrong one."""
    body = await client.request("sensor-9", DEVICE)
    answer = await client.post("simpleenroll", body, "-u", token(service, life_s=0))
    assert (answer.status, answer.body) == (401, b"the token does not count\n")


async def test_wrong_tokens_are_put_off_ever_longer(client: EstClient, service: Service) -> None:
    """429 with the pause; the right one is not read meanwhile."""
    body = await client.request("sensor-9", DEVICE)
    statuses = [(await client.post("simpleenroll", body, "-u", "sensor-9:wrong")).status for _ in range(3)]
    assert statuses == [401, 401, 401]
    answer = await client.post("simpleenroll", body, "-u", token(service))
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_malformed_authorisation_is_a_wrong_token(client: EstClient) -> None:
    """401, and asked for Basic."""
    body = await client.request("sensor-9", DEVICE)
    for header in ("Basic !", "Bearer abc", "Basic /w=="):
        answer = await client.post("simpleenroll", body, "-H", f"Authorization: {header}")
        assert (answer.status, answer.headers["www-authenticate"][:5]) == (401, "Basic"), header


async def test_nobody_is_enrolled_or_renewed_without_a_right(client: EstClient, service: Service) -> None:
    """No token and no certificate: 401; a renewal without certificate: 403; ours does not enrol anew: 403."""
    body = await client.request("sensor-9", DEVICE)
    assert (await client.post("simpleenroll", body)).status == 401
    assert (await client.post("simplereenroll", body)).status == 403
    client.folder.joinpath("new.key").unlink()
    await enrol(client, service)
    body = await client.request("sensor-9", DEVICE)
    answer = await client.post("simpleenroll", body, *client.certified("sensor-9"))
    assert (answer.status, answer.body) == (403, b"refused: enrolled\n")


async def malformed(client: EstClient, kind: str) -> bytes:
    """Make a body that is wrong in one way."""
    good = base64.b64decode(await client.request("sensor-9", DEVICE))
    if kind in {"secp192k1", "prime192v1", "secp224r1", "secp256k1", "brainpoolP256r1"}:
        return await client.request("sensor-9", DEVICE, key=kind, kind=("ec", kind))
    bodies = {
        "no-base64": b"\x00\xff" * 50,
        "empty": b"\n",
        "not-der": base64.b64encode(b"not a request"),
        "cut": base64.b64encode(good[:-20]),
        "longer": base64.b64encode(good + b"x"),
        "wrong-signature": base64.b64encode(good[:-1] + bytes([good[-1] ^ 1])),
        "another-subject": base64.b64encode(good.replace(b"sensor-9", b"sensor-8", 1)),
        "pem": b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(good),
    }
    return bodies[kind] if kind in bodies else await client.request("x", key=kind, kind=("rsa", kind))


MALFORMED = (
    *("no-base64", "empty", "not-der", "cut", "longer", "wrong-signature", "another-subject", "pem"),
    *("prime192v1", "secp192k1", "secp224r1", "secp256k1", "brainpoolP256r1", "1024", "2048"),
)


async def test_a_malformed_or_weak_request_is_400(client: EstClient, service: Service) -> None:
    """With the reason; the token is not spent by any of them."""
    credentials = token(service)
    for kind in MALFORMED:
        answer = await client.post("simpleenroll", await malformed(client, kind), "-u", credentials)
        assert (answer.status, answer.body[:21]) == (400, b"certificate request: "), kind
    good = await client.request("sensor-9", DEVICE, key="good.key")
    assert (await client.post("simpleenroll", good, "-u", credentials)).status == 200
    assert sum(each.what == "refused" for each in enrolments(service).history()) == len(MALFORMED)


async def test_requests_that_are_not_taken_are_answered_unread(client: EstClient, service: Service) -> None:
    """Too long, of another type, to another place, in another way."""
    credentials = token(service)
    huge = await client.post("simpleenroll", b"A" * 20_000, "-u", credentials)
    typed = await client.post("simpleenroll", b"AAAA", "-u", credentials, media_type="text/plain")
    chunked = await client.post("simpleenroll", b"AA", "-u", credentials, "-H", "Transfer-Encoding: chunked")
    assert (huge.status, typed.status, chunked.status) == (413, 415, 411)
    assert (await client.get("fullcmc")).status == 404
    assert (await client.get("simpleenroll")).status == 405


async def test_a_renewal_changes_neither_subject_nor_names(client: EstClient, service: Service) -> None:
    """RFC 7030 4.2.2; a device cannot become another one by renewing."""
    await enrol(client, service)
    for subject, names in (
        ("sensor-8", ("URI:urn:coldseal:device:sensor-8",)),
        ("sensor-9", ("URI:urn:coldseal:gateway:sensor-9",)),
        ("sensor-9", (DEVICE, "DNS:further.example")),
        ("sensor-9", ()),
    ):
        body = await client.request(subject, *names)
        answer = await client.post("simplereenroll", body, *client.certified("sensor-9"))
        assert (answer.status, answer.body) == (403, b"refused: wrong-identity\n"), names
        assert enrolments(service).history()[0].what == "refused"


async def test_a_denied_certificate_renews_nothing_at_once(
    client: EstClient, service: Service, site: Site
) -> None:
    """The deny-list counts without waiting for any list; the lists name it too."""
    await enrol(client, service)
    site.authority.revoke([client.folder / "sensor-9.pem"], now=now())
    body = await client.request("sensor-9", DEVICE)
    answer = await client.post("simplereenroll", body, *client.certified("sensor-9"))
    assert (answer.status, answer.body) == (403, b"refused: revoked\n")
    lists = await client.get("../../crl.pem")
    text = (await run("openssl", "crl", "-noout", "-text", given=lists.body)).decode()
    assert text.count("Serial Number") == 1


async def test_a_certificate_of_another_ca_is_refused_in_the_handshake(
    client: EstClient,
) -> None:
    """And one without any of our CAs behind it never becomes a caller."""
    await run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", "/CN=sensor-9", "-addext", f"subjectAltName={DEVICE}"),
        *("-keyout", client.folder / "foreign.key", "-out", client.folder / "foreign.pem"),
    )
    body = await client.request("sensor-9", DEVICE)
    with pytest.raises(ChildProcessError, match="curl ended"):
        await client.post("simplereenroll", body, *client.certified("foreign"))


async def test_without_est_nothing_listens_and_no_key_is_opened(site: Site) -> None:
    """Off by default."""
    async with site.running() as service:
        assert service.enrolling is None
    assert not (site.service / "data" / "enrolments.db").exists()
    assert load_service(site.service / "service.toml").est.listen is None
