"""`coldseal identity enrol`, `renew-now` and `keep`: certificates from an enrolment server (EST, RFC 7030).

A token is named by reference, never written as an argument. What is made stands in the same folders that
`dev-ca` makes: ROLE/NAME.pem, ROLE/NAME.key and root.pem.
"""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.commands import program
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import OperatorError, TrustError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.uplink.est import Holder, Issued, Nothing
    from coldseal.gateway.uplink.keeping import Desk, Renewer
    from coldseal.identity.pair import Pair

TRUST: Final = "root.pem"
ANNOUNCED: Final = "announced.pem"
POLL_S: Final = 0.25
_ANSWER_S: Final = 120.0


class EnrolmentError(TrustError):
    """The enrolment server gives no certificate."""

    verdict = "not-enrolled"


def enrol(
    url: str,
    folder: Path,
    /,
    *,
    ca: Path,
    role: str,
    name: str,
    token: str = "",
    factory: Path | None = None,
    factory_key: Path | None = None,
    hosts: list[str] | None = None,
    tpm: bool = False,
    tcti: str = "",
    wait: float = 3600.0,
    as_json: bool = False,
) -> int:
    """Get the first certificate of a gateway or device, by a one-time token or a factory certificate.

    Where a person must approve, it waits and asks again until that has happened.

    Args:
        url: the enrolment server, as https://host:port.
        folder: where ROLE/NAME.pem, ROLE/NAME.key and root.pem will stand.
        ca: CA certificates that the server must descend from, PEM; from a safe hand.
        role: gateway or device.
        name: name of the holder.
        token: the token, as file:PATH (mode 0600) or env:NAME.
        factory: certificate of the maker, instead of a token, PEM.
        factory_key: the key of that certificate, PEM, mode 0600.
        hosts: a name or address that a gateway is reached by; may be given several times.
        tpm: make the key in the TPM; ROLE/NAME.key is then what the chip has wrapped, for tpm:key=FILE.
        tcti: the way to the TPM, such as device:/dev/tpmrm0.
        wait: longest wait for approval, in seconds.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.uplink.est import Holder
    from coldseal.identity.peer import ROLES, require_name
    from coldseal.signing.private_files import make_private_folder

    if role not in ROLES:
        raise OperatorError(f"--role is {role!r}", f"Give one of: {', '.join(ROLES)}")
    require_name("--name", name)
    holder = Holder(role, name, tuple(hosts or ()))
    pair = _pair(folder / role / f"{name}.pem", tcti, in_chip=tpm)
    if pair.certificate.exists():
        hint = "Renew it with: coldseal identity renew-now; or move it away"
        raise OperatorError(f"{pair.certificate} exists already", hint)
    if not token and factory is None:
        raise OperatorError("neither --token nor --factory is given", "Give one: who vouches for the holder?")
    make_private_folder(pair.key.parent)
    desk = _desk(url, ca, token, factory, factory_key)
    found = asyncio.run(_until_issued(desk, pair, holder, wait, as_json=as_json))
    trust = folder / TRUST
    _take_trust(trust, found)
    pair.install(found.chain)
    end = found.chain[0].not_valid_after_utc.isoformat()
    made = {"certificate": pair.certificate, "key": pair.key, "trust": trust, "not_after": end}
    (print_json if as_json else print_facts)(made)
    return 0


def _take_trust(trust: Path, found: Issued) -> None:
    """Trust what the server shows: the session was verified by CA certificates from a safe hand."""
    from coldseal.gateway.uplink.keeping import Bundles
    from coldseal.identity.files import replace_private_file
    from coldseal.identity.trust import encode_bundle, roots_of

    if trust.exists():
        Bundles((trust,), trust.with_name(ANNOUNCED)).take(found.authorities, now=_now())
    else:
        replace_private_file(trust, encode_bundle(roots_of(found.authorities, now=_now())))


def renew_now(
    target: Path,
    /,
    *,
    url: str = "",
    ca: Path | None = None,
    tcti: str = "",
    why: str = "asked for at the command line",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Renew the certificates of a gateway, or of a folder, now; the exit code is 1 if one could not be.

    A running gateway is asked to do it, and has it on record; where none runs, it is done here.

    Args:
        target: gateway.toml, or a folder that `enrol` made.
        url: for a folder: the enrolment server, as https://host:port.
        ca: for a folder: CA certificates that the server must descend from; else its root.pem.
        tcti: for a folder: the way to the TPM, if keys are in it.
        why: for a running gateway: the reason, which goes on record.
        set_: for a gateway: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    if target.is_dir():
        desk = _desk(url, ca or target / TRUST, "", None, None)
        rows = asyncio.run(_renew_here(_renewer_of(target, desk, tcti)))
    else:
        from coldseal.gateway.config import load_gateway

        rows = _renew_gateway(load_gateway(target, set_ or ()), why)
    if as_json:
        print_json({"certificates": rows})
    else:
        for name, fault in rows.items():
            print_lines(f"{name}: {fault or 'renewed'}")
    return 1 if any(rows.values()) else 0


@program
def keep(
    folder: Path,
    /,
    *,
    url: str,
    ca: Path | None = None,
    token: str = "",
    factory: Path | None = None,
    factory_key: Path | None = None,
    tcti: str = "",
    log_level: str = "info",
) -> int:
    """Keep the certificates of a folder alive until SIGTERM or SIGINT, as on a device that runs Linux.

    Args:
        folder: folder that `enrol` made.
        url: the enrolment server, as https://host:port.
        ca: CA certificates that it must descend from, PEM; else the folder's root.pem.
        token: for the case that a certificate has ended: a token, as file:PATH or env:NAME.
        factory: for the same case: certificate of the maker, PEM.
        factory_key: the key of that certificate, PEM, mode 0600.
        tcti: the way to the TPM, if keys are in it.
        log_level: debug, info, warning, error or critical.
    """
    from coldseal.cli.setup import start_logs

    start_logs(log_level)
    desk = _desk(url, ca or folder / TRUST, token, factory, factory_key)
    asyncio.run(_until_signal(_renewer_of(folder, desk, tcti)))
    return 0


async def _until_signal(renewer: Renewer) -> None:
    """Keep certificates alive until somebody wants it to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(renewer.run(asyncio.Event()))
        await stop.wait()
        running.cancel()


async def _until_issued(desk: Desk, pair: Pair, holder: Holder, wait_s: float, *, as_json: bool) -> Issued:
    """Ask until there is a certificate, or a reason why there will be none."""
    from coldseal.gateway.uplink.est import Issued, PutOff

    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        answer = await desk.enrol(pair, holder, now=_now())
        if isinstance(answer, Issued):
            return answer
        if not isinstance(answer, PutOff):
            raise _fault(answer, desk.url)
        left_s = deadline - loop.time()
        if left_s <= 0:
            what = f"{desk.url}: nobody has approved within {wait_s:g} s"
            raise UnavailableError(what, "run the same command again later: the request is kept")
        pause_s = min(answer.retry_after_s, left_s)
        if not as_json:
            print_lines(f"waits for approval; asks again in {pause_s:.0f} s")
        await asyncio.sleep(pause_s)


def _fault(answer: Nothing, url: str) -> Exception:
    """Say why there is none."""
    if answer.cause in {"unreachable", "timeout", "busy"}:
        return UnavailableError(url, answer.why)
    return EnrolmentError(f"{url} gives no certificate ({answer.cause}): {answer.why}")


def _desk(url: str, ca: Path, token: str, factory: Path | None, factory_key: Path | None) -> Desk:
    """Name whom to ask, and who vouches."""
    from coldseal.gateway.uplink.keeping import Desk
    from coldseal.identity.pair import Pair

    if (factory is None) != (factory_key is None):
        raise OperatorError("--factory and --factory-key belong together", "Give both, or neither")
    if not url.startswith("https://"):
        raise OperatorError(f"the enrolment server is {url!r}, expected https://…", "Use its https address")
    vouching = Pair(factory, factory_key) if factory is not None and factory_key is not None else None
    return Desk(url, ca, factory=vouching, token=token or None)


def _pair(certificate: Path, tcti: str, *, in_chip: bool) -> Pair:
    """Give a certificate with its key beside it, which may be one that the TPM has wrapped."""
    from coldseal.identity.pair import Pair
    from coldseal.signing.uris import KERNEL, TpmUri

    key = certificate.with_suffix(".key")
    return Pair(certificate, TpmUri(tcti or KERNEL, None, key) if in_chip else key)


def _is_wrapped(key: Path) -> bool:
    """Whether a key file is one that a TPM has wrapped."""
    from coldseal.signing.uris import WRAPPED

    return key.is_file() and WRAPPED in key.read_bytes()


def _renewer_of(folder: Path, desk: Desk, tcti: str) -> Renewer:
    """Put together what renews the certificates of a folder."""
    from coldseal.core.renewal import Terms
    from coldseal.gateway.uplink.keeping import Bundles, Keeper, Renewer
    from coldseal.gateway.uplink.renewals import KEPT
    from coldseal.identity.peer import ROLES

    bundles = Bundles((folder / TRUST,), folder / ANNOUNCED)
    paths = sorted(path for role in ROLES for path in (folder / role).glob("*.pem"))
    pairs = {
        f"{path.parent.name}/{path.stem}": _pair(path, tcti, in_chip=_is_wrapped(path.with_suffix(".key")))
        for path in paths
    }
    if not pairs:
        raise OperatorError(f"{folder} holds no certificate", "Make one with: coldseal identity enrol")
    chance = SystemRandom().random
    keepers = [Keeper(name, pair, desk, bundles, Terms(), chance, _now_s) for name, pair in pairs.items()]
    return Renewer(keepers, folder / KEPT, now_s=_now_s)


async def _renew_here(renewer: Renewer) -> dict[str, str]:
    """Renew all certificates now; gives the fault of each, empty where it was renewed."""
    renewer.demand()
    before = renewer.standings()
    await renewer.round()
    return {
        name: "" if each.renewals > before[name].renewals else each.fault or f"it is {each.phase}"
        for name, each in renewer.standings().items()
    }


def _renew_gateway(config: GatewayConfig, why: str) -> dict[str, str]:
    """Have a running gateway renew its certificates, or renew them here."""
    from coldseal.core.access import Action
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.control import ask
    from coldseal.gateway.persons import Directory
    from coldseal.gateway.uplink.enrolment import renewer_of
    from coldseal.gateway.uplink.names import guard_of
    from coldseal.gateway.uplink.renewals import KEPT, read_standings

    if not config.enrolment.url:
        raise OperatorError("enrolment.url is empty", "Set it: who should be asked for certificates?")
    kept = config.gateway.data / KEPT
    before = read_standings(kept)
    if ask(place_of_control(config), {"do": "renew", "why": why}) is None:
        Directory(config.administration).require(Action.RENEW)
        guard = guard_of(config)
        chance = SystemRandom().random
        return asyncio.run(_renew_here(renewer_of(config, guard=guard, chance=chance, now_s=_now_s)))
    deadline = time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        rows = _changed(before, read_standings(kept))
        if rows and all(fault is not None for fault in rows.values()):
            return {name: str(fault) for name, fault in rows.items()}
        time.sleep(POLL_S)
    raise UnavailableError("the gateway", f"its certificates were not renewed within {_ANSWER_S:.0f} s")


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str | None]:
    """Give what became of each since: empty where it was renewed, a fault, or None for not yet."""
    from coldseal.gateway.uplink.renewals import Standing

    found: dict[str, str | None] = {}
    for name, each in after.items():
        old = before.get(name, Standing())
        has_failed = sum(each.failed.values()) > sum(old.failed.values()) or each.phase == "pending"
        found[name] = (
            "" if each.renewals > old.renewals else (each.fault or each.phase) if has_failed else None
        )
    return found


def _now_s() -> float:
    """This moment, Unix seconds."""
    from coldseal.gateway.clock import Clock

    return Clock().now().t_ms / 1000


def _now() -> datetime:
    """This moment, UTC."""
    return datetime.fromtimestamp(_now_s(), UTC)
