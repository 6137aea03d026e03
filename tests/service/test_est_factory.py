"""Factory certificates, the approval queue, and a roll-over of the CA under a running enrolment server."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.errors import InputError, OperatorError
from coldseal.identity.authority import Authority, open_authority
from coldseal.identity.overlap import Begin, begin_authority, retire, roll_over
from coldseal.identity.roots import create_root, open_root
from coldseal.service.app import Service
from coldseal.service.factory import Factory
from coldseal.service.own_certificate import RETRY_S, OwnCertificate
from tests.service.est_client import Answer, EstClient, run
from tests.trial import Site, now
from tests.waiting import until

GATEWAY = ("URI:urn:coldseal:gateway:gw-7", "DNS:localhost", "IP:127.0.0.1", "IP:::1")
NEWKEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Maker:
    """A maker of devices with a CA of its own, by openssl alone."""

    def __init__(self, folder: Path) -> None:
        """Take the folder."""
        self.folder = folder
        folder.mkdir()

    async def prepare(self) -> None:
        """Make its CA."""
        await run(
            *("openssl", "req", "-x509", *NEWKEY, "-subj", "/CN=maker CA/O=maker", "-days", "9"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", self.folder / "ca.key", "-out", self.folder / "ca.pem"),
        )

    async def make(self, client: EstClient, name: str, serial: str) -> None:
        """Put a factory certificate into a client's folder."""
        request = self.folder / f"{name}.csr"
        key = client.folder / f"{name}.key"
        await run(
            *("openssl", "req", "-new", *NEWKEY, "-keyout", key, "-subj", f"/CN={name}/O=maker"),
            *("-out", request),
        )
        extensions = self.folder / "ext.cnf"
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        await run(
            *("openssl", "x509", "-req", "-in", request, "-CA", self.folder / "ca.pem"),
            *("-CAkey", self.folder / "ca.key", "-set_serial", serial, "-days", "9"),
            *("-extfile", extensions, "-out", client.folder / f"{name}.pem"),
        )


@asynccontextmanager
async def enrolling(site: Site, authority: Path, *overrides: str) -> AsyncIterator[Service]:
    """Run the service with a CA."""
    est = ("est.listen=127.0.0.1:0", f"est.authority={authority}", "est.retry_after_s=1")
    async with site.running(*est, *overrides) as service:
        yield service


@pytest.fixture
async def maker(tmp_path: Path) -> Maker:
    """Give a maker of devices."""
    made = Maker(tmp_path / "maker")
    await made.prepare()
    return made


async def test_a_mapped_factory_certificate_enrols_as_the_map_says(
    site: Site, maker: Maker, tmp_path: Path
) -> None:
    """By serial number or subject; a later line counts at once; another name, or twice mapped, is refused."""
    lines = tmp_path / "factory.toml"
    lines.write_text('[[holder]]\nserial = "0A:01"\nrole = "gateway"\nname = "gw-7"\n')
    options = (f"est.factory_ca={maker.folder / 'ca.pem'}", f"est.factory_map={lines}")
    async with enrolling(site, site.folder / "pki", *options) as service:
        client = EstClient(service, tmp_path / "holder", site.trust)
        await maker.make(client, "first", "0x0a01")
        await maker.make(client, "second", "0x0a02")
        body = await client.request("gw-7", *GATEWAY)
        answer = await client.post("simpleenroll", body, *client.certified("first"))
        assert "urn:coldseal:gateway:gw-7" in await client.save(answer, "gw-7")
        wrong = await client.request("gw-8", "URI:urn:coldseal:gateway:gw-8")
        assert (await client.post("simpleenroll", wrong, *client.certified("first"))).status == 403
        unmapped = await client.post("simpleenroll", body, *client.certified("second"))
        assert (unmapped.status, unmapped.body) == (403, b"refused: unmapped\n")
        second = '[[holder]]\nsubject = "O=maker,CN=second"\nrole = "gateway"\nname = "gw-7"\n'
        lines.write_text(lines.read_text() + second)
        await until(lambda: service.enrolling is not None and is_mapped(service))
        again = await client.request("gw-7", *GATEWAY)
        assert (await client.post("simpleenroll", again, *client.certified("second"))).status == 200
        foreign = await client.post("simplereenroll", again, *client.certified("second"))
        assert (foreign.status, foreign.body) == (403, b"refused: foreign\n")
        open_authority(site.folder / "pki").deny(["0a02"], now=now())
        denied = await client.post("simpleenroll", again, *client.certified("second"))
        assert (denied.status, denied.body) == (403, b"refused: revoked\n")


def is_mapped(service: Service) -> bool:
    """Whether the running service knows two lines."""
    assert service.enrolling is not None
    factory = service.enrolling._registrar._factory
    return factory is not None and len(factory._files.value.lines) == 2


async def test_an_unmapped_factory_certificate_waits_for_a_person(
    site: Site, maker: Maker, tmp_path: Path
) -> None:
    """202 with Retry-After until then, for the same request; approved, it is given, and given again."""
    options = (f"est.factory_ca={maker.folder / 'ca.pem'}", "est.approval=true")
    async with enrolling(site, site.folder / "pki", *options) as service:
        assert service.enrolling is not None
        client = EstClient(service, tmp_path / "holder", site.trust)
        await maker.make(client, "first", "1")
        body = await client.request("gw-7", *GATEWAY)

        async def ask() -> Answer:
            """Ask as the same holder, with the same request."""
            return await client.post("simpleenroll", body, *client.certified("first"))

        first, second = await ask(), await ask()
        assert (first.status, first.headers["retry-after"], second.status) == (202, "1", 202)
        (waiting,) = service.enrolling.enrolments.waiting()
        assert "maker" in waiting.factory
        service.enrolling.enrolments.decide(
            waiting.id, is_approved=True, who="qa", reason="known", now=int(now().timestamp())
        )
        given, again = await ask(), await ask()
        assert (given.status, given.body) == (200, again.body)
        line = service.enrolling.enrolments.history(name="gw-7")[0]
        assert (line.what, line.way, line.who) == ("issued", "approval", "qa")
        nameless = await client.request("gw-7")
        operator = await client.request("qa", "URI:urn:coldseal:operator:qa")
        for request, status in ((nameless, 400), (operator, 403)):
            refused = await client.post("simpleenroll", request, *client.certified("first"))
            assert refused.status == status


async def test_the_queue_has_an_end_and_a_person_may_decline(
    site: Site, maker: Maker, tmp_path: Path
) -> None:
    """Three requests of one factory certificate; a declined one is told so."""
    options = (f"est.factory_ca={maker.folder / 'ca.pem'}", "est.approval=true")
    async with enrolling(site, site.folder / "pki", *options) as service:
        assert service.enrolling is not None
        client = EstClient(service, tmp_path / "holder", site.trust)
        await maker.make(client, "first", "1")
        found = []
        for number in range(4):
            body = await client.request(f"gw-{number}", f"URI:urn:coldseal:gateway:gw-{number}")
            found.append((await client.post("simpleenroll", body, *client.certified("first"))).status)
        assert found == [202, 202, 202, 403]
        waiting = service.enrolling.enrolments.waiting()[0]
        service.enrolling.enrolments.decide(
            waiting.id, is_approved=False, who="qa", reason="unknown", now=int(now().timestamp())
        )
        body = await client.request(waiting.name, f"URI:urn:coldseal:gateway:{waiting.name}")
        refused = await client.post("simpleenroll", body, *client.certified("first"))
        assert (refused.status, refused.body) == (403, b"refused: declined\n")


class Rooted:
    """A CA with its root apart, whose certificates a trial site then uses."""

    def __init__(self, site: Site) -> None:
        """Make it, and issue the service's certificate from it."""
        self.root, self.ca = site.folder / "root", site.folder / "ca"
        self.secret = site.folder / "ca.pass"
        self.secret.write_text("a passphrase\n")
        self.secret.chmod(0o600)
        self.passphrase = f"file:{self.secret}"
        self.begin = Begin(passphrase=self.passphrase)
        root = create_root(self.root, self.passphrase, name="coldseal", now=now())
        authority = begin_authority(self.ca, root, self.begin, now=now())
        site.certificates["service"] = authority.issue("service", "service-1", now=now())
        site.trust = self.ca / "root.pem"

    @property
    def authority(self) -> Authority:
        """Open the CA as it is now."""
        return open_authority(self.ca)


async def test_a_roll_over_with_a_new_root_needs_no_restart(site: Site, tmp_path: Path) -> None:
    """An old certificate renews below the new CA, over a server that an old peer verifies too."""
    rooted = Rooted(site)
    old_trust = tmp_path / "old-root.pem"
    old_trust.write_bytes(site.trust.read_bytes())
    async with enrolling(site, rooted.ca) as service:
        assert service.enrolling is not None
        old = EstClient(service, tmp_path / "holder", old_trust)
        made = service.enrolling.enrolments.make_token(
            "device", "sensor-9", now=int(now().timestamp()), life_s=60
        )
        body = await old.request("sensor-9", "URI:urn:coldseal:device:sensor-9")
        first = await old.save(await old.post("simpleenroll", body, "-u", f"sensor-9:{made}"), "first")
        assert "Issuer: CN = coldseal CA 1" in first
        new_root = create_root(rooted.root, rooted.passphrase, name="coldseal", now=now())
        old_root = open_root(rooted.root, rooted.passphrase, 1)
        roll_over(rooted.ca, old_root, new_root, rooted.begin, now=now())
        registrar = service.enrolling._registrar
        await until(lambda: registrar.authority.config.ca.number == 2)
        await until(lambda: issuer(site.certificates["service"]) == "CN=coldseal CA 2")
        body = await old.request("sensor-9", "URI:urn:coldseal:device:sensor-9")
        second = await old.save(await old.post("simplereenroll", body, *old.certified("first")), "second")
        assert "Issuer: CN = coldseal CA 2" in second
        answer = await old.get("cacerts")
        der = base64.b64decode(answer.body)
        pem = await run("openssl", "pkcs7", "-inform", "DER", "-print_certs", given=der)
        assert pem.count(b"BEGIN") == 6
        body = await old.request("sensor-9", "URI:urn:coldseal:device:sensor-9")
        assert (await old.post("simplereenroll", body, *old.certified("second"))).status == 200
        retire(rooted.ca, now=now(), is_forced=True)
        await until(lambda: not registrar.authority.former)
        gone = await old.post("simplereenroll", body, *old.certified("second"))
        assert gone.status == 200
        assert await is_refused(old, body, "first")


def issuer(path: Path) -> str:
    """Say who signed a certificate."""
    return x509.load_pem_x509_certificate(path.read_bytes()).issuer.rfc4514_string()


async def is_refused(client: EstClient, body: bytes, name: str) -> bool:
    """Whether a certificate renews nothing: the handshake ends, or the server says so."""
    try:
        return (await client.post("simplereenroll", body, *client.certified(name))).status == 403
    except ChildProcessError:
        return True


async def test_the_service_renews_its_own_certificate_at_half_of_its_life(site: Site, tmp_path: Path) -> None:
    """With a new key, under open connections, for both listeners; before it listens, where it had expired."""
    rooted = Rooted(site)
    path = site.certificates["service"]
    rooted.authority.renew(path, now=now() - timedelta(days=9))
    before = path.with_suffix(".key").read_bytes()
    async with enrolling(site, rooted.ca) as service:
        client = EstClient(service, tmp_path / "holder", site.trust)
        assert (await client.get("cacerts")).status == 200
        after = path.with_suffix(".key").read_bytes()
        assert after != before
        rooted.authority.renew(path, now=now() - timedelta(days=5))
        assert path.with_suffix(".key").read_bytes() == after
        await until(lambda: path.with_suffix(".key").read_bytes() != after)
        assert (await client.get("cacerts")).status == 200
        with pytest.raises(OperatorError):
            rooted.authority.issue("service", "service-1", now=now())


async def test_a_certificate_of_another_ca_is_not_renewed_by_this_one(site: Site) -> None:
    """Outside certificates are somebody else's to renew."""
    rooted = Rooted(site)
    rooted.authority.renew(site.certificates["service"], now=now() - timedelta(days=5))
    before = site.certificates["service"].read_bytes()
    async with enrolling(site, site.folder / "pki"):
        assert site.certificates["service"].read_bytes() == before


async def test_while_the_ca_cannot_sign_callers_are_put_off_and_told_once(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """503, no token spent, one event; then it goes on."""
    rooted = Rooted(site)
    async with enrolling(site, rooted.ca) as service:
        assert service.enrolling is not None
        client = EstClient(service, tmp_path / "holder", site.trust)
        made = service.enrolling.enrolments.make_token(
            "device", "sensor-9", now=int(now().timestamp()), life_s=60
        )
        body = await client.request("sensor-9", "URI:urn:coldseal:device:sensor-9")
        credentials = ("-u", f"sensor-9:{made}")
        kept, aside = rooted.ca / "issued.jsonl", rooted.ca / "aside"
        kept.rename(aside)
        kept.mkdir()
        answers = [await client.post("simpleenroll", body, *credentials) for _ in range(2)]
        assert [each.status for each in answers] == [503, 503]
        assert answers[0].headers["retry-after"] == "1"
        assert b"issued" not in answers[0].body
        kept.rmdir()
        aside.rename(kept)
        assert (await client.post("simpleenroll", body, *credentials)).status == 200
        (rooted.ca / "crl.pem").unlink()
        await until((rooted.ca / "crl.pem").exists)
    assert capfd.readouterr().err.count('"enrolment.failed"') == 1


async def test_a_failing_renewal_of_its_own_is_told_once_and_tried_again(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    """The old certificate stays in force."""
    rooted = Rooted(site)
    path = site.certificates["service"]
    own = OwnCertificate(site.config().tls, lambda: rooted.authority)
    rooted.authority.renew(path, now=now() - timedelta(days=5))
    before, t = path.read_bytes(), int(now().timestamp())
    (rooted.ca / "issued.jsonl").rename(rooted.ca / "aside")
    (rooted.ca / "issued.jsonl").mkdir()
    assert not any(own.refresh(t + offset) for offset in (0, 1, RETRY_S, 2 * RETRY_S))
    assert path.read_bytes() == before
    (rooted.ca / "issued.jsonl").rmdir()
    (rooted.ca / "aside").rename(rooted.ca / "issued.jsonl")
    assert not own.refresh(t + 2 * RETRY_S + 1)
    assert own.refresh(t + 3 * RETRY_S)
    assert not own.refresh(t + 3 * RETRY_S)
    assert capfd.readouterr().err.count('"authority.own-kept"') == 1


@pytest.mark.parametrize(
    "lines",
    [
        '[[holder]]\nrole = "gateway"\nname = "gw-1"\n',
        '[[holder]]\nrole = "gateway"\nname = "a/b"\nserial = "1"\n',
        '[[holder]]\nrole = "gateway"\nname = "gw-1"\nserial = "x"\n',
        '[[holder]]\nrole = "king"\nname = "gw-1"\nserial = "1"\n',
    ],
    ids=["nobody", "name", "serial", "role"],
)
async def test_a_wrong_map_is_refused_at_the_start(maker: Maker, tmp_path: Path, lines: str) -> None:
    """With the line's fault."""
    path = tmp_path / "factory.toml"
    path.write_text(lines)
    with pytest.raises(OperatorError):
        Factory(maker.folder / "ca.pem", path, now_s=lambda: 0.0)


async def test_a_certificate_that_two_lines_fit_is_refused(maker: Maker, site: Site, tmp_path: Path) -> None:
    """Nobody guesses which."""
    path = tmp_path / "factory.toml"
    path.write_text(
        '[[holder]]\nrole = "gateway"\nname = "gw-1"\nserial = "1"\n'
        '[[holder]]\nrole = "gateway"\nname = "gw-2"\nsubject = "O=maker,CN=first"\n'
    )
    async with enrolling(site, site.folder / "pki") as service:
        client = EstClient(service, tmp_path / "holder", site.trust)
    await maker.make(client, "first", "1")
    factory = Factory(maker.folder / "ca.pem", path, now_s=lambda: 0.0)
    certificate = x509.load_pem_x509_certificate((client.folder / "first.pem").read_bytes())
    assert factory.is_of(certificate)
    with pytest.raises(InputError, match="one line"):
        factory.find(certificate)
