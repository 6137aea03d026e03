"""Keeps certificates alive: asks for each in time, puts what comes into force, keeps trusted CAs up to date.

Promises that a pair of files is replaced only by a certificate that fits it, that a CA is trusted only after
a session which the trusted CAs verified, and that whatever fails is tried again. When to ask is
`core.renewal`'s matter; delivery does not wait for any of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from coldseal.core import renewal
from coldseal.core.renewal import Life, Phase, Renewal, Terms
from coldseal.errors import ColdsealError, InputError, OperatorError, UnavailableError
from coldseal.gateway.egress import Guard
from coldseal.gateway.uplink.est import EstWay, Holder, Issued, Lists, Nothing, PutOff
from coldseal.gateway.uplink.renewals import Standing, read_standings, write_standings
from coldseal.identity.contexts import client_context
from coldseal.identity.files import replace_alike
from coldseal.identity.pair import Pair, read_life
from coldseal.identity.peer import identity_of
from coldseal.identity.profiles import hosts_of
from coldseal.identity.trust import encode_bundle, parse_bundle, renewed, roots_of
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.secrets import read_secret

LOOK_S: Final = 60.0
"""Longest pause between two looks at the files: another hand may renew them too."""

_SHORTEST_S: Final = 0.05
_DAY_S: Final = 86_400
_log = Log("uplink.keeping")


def read_leaf(certificate: Path) -> x509.Certificate:
    """Read the first certificate of a file.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        hint = "Restore it, or enrol again: coldseal identity enrol"
        raise OperatorError(f"{certificate} cannot be read as a certificate", hint) from error


def holder_of(certificate: Path) -> Holder:
    """Read for whom a certificate is, so that the same is asked for again.

    Raises:
        OperatorError: it cannot be read.
        InputError: it carries no identity.
    """
    leaf = read_leaf(certificate)
    role, name = identity_of(leaf)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Holder(role, name, hosts_of(names))


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom to ask, and who speaks for a holder that has no certificate any more.

    Attributes:
        url: the enrolment server, as ``https://host:port``.
        ca: CA certificates that it must descend from.
        timeout_s: time for one request and its answer.
        new_key: whether each renewal is for a new key.
        factory: certificate and key of the maker, or whoever vouches for the holder.
        token: reference of a one-time token.
        guard: the list of ways out.
    """

    url: str
    ca: Path
    timeout_s: float = 30.0
    new_key: bool = True
    factory: Pair | None = None
    token: str | None = None
    guard: Guard | None = None

    async def renew(self, pair: Pair, *, now: datetime) -> Issued | PutOff | Nothing:
        """Ask for the next certificate, by the one in force.

        Raises:
            OperatorError, InputError: files of ours cannot be used.
        """
        with pair.steady():
            shown = read_leaf(pair.certificate)
            context = client_context(pair.certificate, pair.place, self.ca)
        key = pair.next_key() if self.new_key else pair.key_in_force()
        async with EstWay(self.url, context, timeout_s=self.timeout_s, guard=self.guard) as way:
            return await way.renew(shown, key, now=now)

    async def lists(self) -> Lists | Nothing:
        """Ask for the revocation lists, which anybody may have; never raises."""
        try:
            context = client_context(None, None, self.ca)
        except OperatorError as error:
            return Nothing("own-files", str(error))
        async with EstWay(self.url, context, timeout_s=self.timeout_s, guard=self.guard) as way:
            return await way.lists()

    async def enrol(self, pair: Pair, holder: Holder, *, now: datetime) -> Issued | PutOff | Nothing:
        """Ask for a first certificate, or for one after the last has ended.

        Raises:
            OperatorError, InputError: files of ours cannot be used.
        """
        if self.factory is None and self.token is None:
            why = "it has ended, and neither enrolment.factory_certificate nor enrolment.token is set"
            return Nothing("ended", why)
        token = None
        if self.factory is not None:
            context = client_context(self.factory.certificate, self.factory.place, self.ca)
        else:
            context = client_context(None, None, self.ca)
            token = read_secret(str(self.token), Path())
        async with EstWay(self.url, context, timeout_s=self.timeout_s, guard=self.guard) as way:
            return await way.enrol(holder, pair.next_key(), token=token, now=now)


@dataclass(frozen=True, slots=True)
class Bundles:
    """Files of trusted CAs that follow what the server shows.

    Attributes:
        files: all of them.
        announced: where the server's last answer is kept.
    """

    files: Sequence[Path]
    announced: Path

    def take(self, authorities: Sequence[x509.Certificate], *, now: datetime) -> None:
        """Trust what the server shows now, and no longer what it has left out.

        Raises:
            OperatorError: a file cannot be written.
        """
        before = parse_bundle(_content(self.announced))
        for path in self.files:
            held = parse_bundle(_content(path))
            wanted = renewed(held, before, authorities, now=now)
            if set(wanted) != set(held):
                replace_alike(path, encode_bundle(wanted))
                added, removed = len(set(wanted) - set(held)), len(set(held) - set(wanted))
                _log.emit(events.TRUST_RENEWED, file=str(path), added=added, removed=removed)
        shown = roots_of(authorities, now=now)
        if shown and shown != before:
            replace_alike(self.announced, encode_bundle(shown))


@dataclass(slots=True)
class Keeper:
    """One certificate that is kept alive.

    Attributes:
        name: what it is called in status and metrics.
        pair: its files.
        state: where it stands.
        standing: the same for others to read.
    """

    name: str
    pair: Pair
    desk: Desk
    bundles: Bundles
    terms: Terms
    chance: Callable[[], float]
    now_s: Callable[[], float]
    installed: Callable[[str], None] = lambda _name: None
    standing: Standing = field(default_factory=Standing)
    state: Renewal = field(init=False)

    def __post_init__(self) -> None:
        """Look at what is in force."""
        self.state = renewal.begin(self._life(), self.terms, chance=self.chance())

    async def step(self) -> None:
        """Look, and ask if it is time; never raises for what may be better later."""
        now_s = self.now_s()
        life = self._life()
        if life != self.state.life and life.ends_s:  # another hand has renewed it
            self.state = renewal.installed(life, self.terms, now_s=now_s, chance=self.chance())
        before = self.state
        self.state = renewal.look(before, self.terms, now_s=now_s)
        if self.state.phase is Phase.ASKED:
            self._take(before, await self._ask(before, now_s), now_s)
        self.standing = msgspec.structs.replace(
            self.standing,
            phase=self.state.phase,
            next_s=self.state.wake_s,
            failures=self.state.failures,
        )

    async def _ask(self, before: Renewal, now_s: float) -> Issued | PutOff | Nothing:
        """Ask in the holder's own name, or, once that has ended, in another one."""
        now = datetime.fromtimestamp(now_s, UTC)
        try:
            if not renewal.is_over(self.state, now_s=now_s):
                return await self.desk.renew(self.pair, now=now)
            if before.phase is not Phase.EXPIRED:
                by = "token" if self.desk.factory is None else "factory certificate"
                _log.emit(events.CERTIFICATE_RECOVERING, certificate=self.name, by=by)
            return await self.desk.enrol(self.pair, holder_of(self.pair.certificate), now=now)
        except (OperatorError, InputError, UnavailableError) as error:  # the last: the TPM that holds the key
            return Nothing("own-files", str(error))

    def _take(self, before: Renewal, answer: Issued | PutOff | Nothing, now_s: float) -> None:
        """Do what follows from an answer."""
        if isinstance(answer, Issued):
            try:
                self._install(answer, now_s)
            except ColdsealError as error:
                answer = Nothing("own-files", str(error))
        if isinstance(answer, PutOff):
            self.state = renewal.put_off(
                self.state, self.terms, retry_after_s=answer.retry_after_s, now_s=now_s
            )
            if before.phase is not Phase.PENDING:
                _log.emit(events.RENEWAL_PENDING, certificate=self.name)
        elif isinstance(answer, Nothing):
            self._fail(answer, now_s)

    def _install(self, answer: Issued, now_s: float) -> None:
        """Put a certificate into force, behind the CAs that came with it."""
        self.bundles.take(answer.authorities, now=datetime.fromtimestamp(now_s, UTC))
        self.pair.install(answer.chain)
        failures, life = self.state.failures, self._life()
        self.state = renewal.installed(life, self.terms, now_s=now_s, chance=self.chance())
        self.standing = msgspec.structs.replace(
            self.standing, renewed_s=now_s, renewals=self.standing.renewals + 1, fault=""
        )
        _log.emit(
            events.CERTIFICATE_RENEWED,
            certificate=self.name,
            days=round(life.left_s(now_s) / _DAY_S, 1),
            serial=f"{answer.chain[0].serial_number:x}",
            failures=failures,
        )
        self.installed(self.name)

    def _fail(self, answer: Nothing, now_s: float) -> None:
        """Wait, and say so once."""
        if answer.cause == "refused":  # what is asked for next is a request of its own
            self.pair.drop_next_key()
        self.state = renewal.failed(self.state, self.terms, now_s=now_s, chance=self.chance())
        failed = dict(self.standing.failed)
        failed[answer.cause] = failed.get(answer.cause, 0) + 1
        self.standing = msgspec.structs.replace(self.standing, fault=answer.why, failed=failed)
        if self.state.failures == 1:
            _log.emit(events.RENEWAL_FAILED, certificate=self.name, cause=answer.cause, error=answer.why)

    def _life(self) -> Life:
        """Read the life of what is in force; one that cannot be read counts as ended."""
        try:
            return read_life(self.pair.certificate)
        except OperatorError:
            return Life(0.0, 0.0)


class Renewer:
    """All certificates of one program or device.

    Args:
        keepers: one for each.
        kept: where it is written down how they stand.
        now_s: Unix seconds.
    """

    def __init__(self, keepers: Sequence[Keeper], kept: Path, *, now_s: Callable[[], float]) -> None:
        """Finish what a crash interrupted, and go on counting."""
        self._keepers, self._kept, self._now_s = keepers, kept, now_s
        before = read_standings(kept)
        for each in keepers:
            each.pair.settle()
            each.standing = before.get(each.name, each.standing)

    async def run(self, wanted: asyncio.Event) -> None:
        """Keep them alive until cancelled; all are renewed at once whenever ``wanted`` is set."""
        while True:
            if wanted.is_set():
                wanted.clear()
                self.demand()
            wait_s = await self.round()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await wanted.wait()

    def demand(self) -> None:
        """Have all of them asked for at the next look."""
        for each in self._keepers:
            each.state = renewal.demand(each.state, now_s=self._now_s())

    def standings(self) -> dict[str, Standing]:
        """Give how they stand, by name."""
        return {each.name: each.standing for each in self._keepers}

    async def round(self) -> float:
        """Look at each once; gives how long the next look may wait, in seconds."""
        before = self.standings()
        for each in self._keepers:
            await each.step()
        if self.standings() != before:
            write_standings(self._kept, self.standings())
        due_s = min(each.state.wake_s for each in self._keepers) - self._now_s()
        return min(max(due_s, _SHORTEST_S), LOOK_S)


def _content(path: Path) -> bytes:
    """Read a file; empty where there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
