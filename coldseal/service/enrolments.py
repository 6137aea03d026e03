"""Who may be enrolled as what: one-time tokens, the approval queue, and the history of all of it.

Promises that a token counts once, for one key, for exactly the role, name and hosts it was made for, and is
kept only as a hash; that a queued request waits for a person. Issues nothing: the registrar does.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.errors import OperatorError, TrustError
from coldseal.identity.peer import Role
from coldseal.identity.profiles import alternative_names
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.storage.enrolments import EnrolmentStore, Happened, Token, Waiting
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coldseal.identity.est import Asked

FILE: Final = "enrolments.db"
"""Name of the file below the data folder."""
MAX_GUESSES: Final = 100
"""Wrong tokens under one name after which its tokens count no more; a right one has 192 random bits."""
MAX_TOKENS: Final = 10_000
MAX_WAITING: Final = 1_000
"""Requests in the queue."""
MAX_WAITING_OF_ONE: Final = 3
"""Requests in the queue with one factory certificate."""
KEPT_S: Final = 7 * 86_400
"""How long a decided request, and the answer to a spent right, are kept."""
_TOKEN_BYTES: Final = 24
_log = Log("service.enrolments")


class EnrolmentError(TrustError):
    """A certificate is not given.

    Args:
        reason: a stable word for it.
        detail: what was found, for the operator; a caller is not told.
    """

    verdict = "enrolment-refused"

    def __init__(self, reason: str, detail: str) -> None:
        """Keep both facts."""
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class WrongTokenError(EnrolmentError):
    """A token is unknown, spent, expired, or guessed at; a caller learns only that it does not count."""


class WaitingError(EnrolmentError):
    """A person has yet to decide; the caller asks again later."""


class Grant(msgspec.Struct, frozen=True):
    """What somebody may be enrolled as.

    Args:
        role: as what.
        name: under which name.
        hosts: reached by these, beside loopback.
        way: by what right: token, factory, approval or renewal.
        who: who gave the right.
        token: hash of the token, where it is one.
    """

    role: Role
    name: str
    hosts: tuple[str, ...]
    way: str
    who: str
    token: bytes = b""

    def require(self, asked: Asked) -> None:
        """Insist that a request asks for nothing else; what it leaves open is filled in from here.

        Raises:
            EnrolmentError: it does.
        """
        if asked.role not in {None, self.role} or asked.name != self.name:
            wanted = f"asked for {asked.role} {asked.name}, granted is {self.role} {self.name}"
            raise EnrolmentError("wrong-identity", wanted)
        if further := sorted(set(asked.hosts).difference(self.hosts)):
            raise EnrolmentError("wrong-hosts", f"asked for {', '.join(further)}, which is not granted")


class Enrolments:
    """Tokens, queue and history of a service."""

    def __init__(self, store: EnrolmentStore) -> None:
        """Take an open store; `open` is the usual way here."""
        self._store = store

    @classmethod
    def open(cls, data: Path, key: bytes) -> Enrolments:
        """Open or make them in a service's data folder.

        Args:
            data: the folder; made if it is missing.
            key: the store key.

        Raises:
            OperatorError, UnavailableError, PlaintextError: as `EnrolmentStore`.
        """
        make_private_folder(data)
        return cls(EnrolmentStore(data / FILE, key))

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    # ---- tokens

    def make_token(
        self,
        role: Role,
        name: str,
        hosts: Sequence[str] = (),
        *,
        now: int,
        life_s: int,
        maker: str = "service",
    ) -> str:
        """Make a one-time token; it is shown this once and kept as a hash.

        Args:
            role: what its bearer may become.
            name: under which name, which is the user name beside the token.
            hosts: names and addresses it is reached by, beside loopback.
            now: this moment, Unix seconds.
            life_s: how long it counts.
            maker: who makes it.

        Raises:
            InputError: name or hosts are not acceptable for the role.
            OperatorError: there are too many tokens already.
            UnavailableError: the disk refuses.
        """
        alternative_names(role, name, hosts)
        text = secrets.token_urlsafe(_TOKEN_BYTES)
        token = Token(_digest(text), role, name, tuple(hosts), maker, now + life_s)
        with self._store.transaction():
            known = self._store.tokens()
            ended = [each.hash for each in known if each.expires_t <= now]
            if len(known) - len(ended) >= MAX_TOKENS:
                raise OperatorError(
                    f"{MAX_TOKENS} tokens are waiting for their use", "Let some of them expire"
                )
            self._store.remove_tokens(ended)
            self._store.add_token(token)
            self._store.add(Happened(now, "token", "token", role, name, who=maker))
        return text

    def by_token(self, name: str, text: str, spki: bytes, *, now: int) -> Grant:
        """Find what a token grants to a key; it is not spent by that.

        Raises:
            WrongTokenError: it does not count, and why.
            UnavailableError: the disk refuses.
        """
        digest, found = _digest(text), None
        with self._store.transaction():
            for each in self._store.tokens(name):
                if hmac.compare_digest(each.hash, digest):
                    found = each
            if found is None:
                self._store.count_wrong(name)
        if found is None:
            raise WrongTokenError("wrong-token", f"no such token for {name}")
        if found.expires_t <= now:
            raise WrongTokenError("expired-token", f"the token for {name} ended at {found.expires_t}")
        if found.wrong >= MAX_GUESSES:
            raise WrongTokenError("guessed-token", f"{found.wrong} wrong tokens were tried for {name}")
        if found.spki not in {None, spki}:
            raise WrongTokenError("spent-token", f"the token for {name} was spent for another key")
        return Grant(found.role, found.name, found.hosts, "token", found.maker, digest)

    def tokens(self, *, now: int) -> list[Token]:
        """Give the tokens that may still be used."""
        with self._store.transaction():
            return [each for each in self._store.tokens() if each.expires_t > now and each.spki is None]

    # ---- the queue

    def by_approval(self, request: Waiting) -> Grant:
        """Find what a person granted to a request, or put it into the queue.

        Args:
            request: as it comes now; its id says what it is of.

        Raises:
            WaitingError: nobody has decided yet.
            EnrolmentError: it was declined, or the queue is full.
            UnavailableError: the disk refuses.
        """
        with self._store.transaction():
            known = self._store.requests()
            old = [each.id for each in known if each.t + KEPT_S <= request.t]
            self._store.remove_requests(old)
            live = {each.id: each for each in known if each.id not in old}
            found = live.get(request.id)
            if found is None:
                _require_room(list(live.values()), request)
                self._store.put_request(request)
                self._store.add(_line(request, "waiting", who=request.factory, t=request.t))
        if found is None:
            _log.emit(events.ENROLMENT_WAITING, id=request.id, role=request.role, name=request.name)
        if found is None or found.state == "waiting":
            raise WaitingError("waiting", f"{request.id} waits for a decision")
        if found.state == "declined":
            raise EnrolmentError("declined", f"{found.decider}: {found.reason}")
        return Grant(found.role, found.name, found.hosts, "approval", found.decider)

    def decide(self, id_: str, *, is_approved: bool, who: str, reason: str, now: int) -> Waiting:
        """Approve or decline a request.

        Raises:
            OperatorError: there is none of this id that waits.
            UnavailableError: the disk refuses.
        """
        state = "approved" if is_approved else "declined"
        with self._store.transaction():
            found = self._store.requests(id_)
            if not found or found[0].state != "waiting":
                what = (
                    f"no request {id_} waits" if not found else f"request {id_} was {found[0].state} already"
                )
                raise OperatorError(what, "See: coldseal service enrolments list CONFIG")
            decided = msgspec.structs.replace(found[0], state=state, decider=who, reason=reason)
            self._store.put_request(decided)
            self._store.add(_line(decided, state, who=who, detail=reason, t=now))
        return decided

    def waiting(self) -> list[Waiting]:
        """Give the requests that wait for a decision, oldest first."""
        with self._store.transaction():
            return [each for each in self._store.requests() if each.state == "waiting"]

    # ---- what was done

    def issued(self, grant: Grant, spki: bytes) -> bytes | None:
        """Give the certificate that a right was used up for, so that a lost answer can be given again."""
        with self._store.transaction():
            return self._store.issued(_right(grant), spki)

    def note_issued(self, grant: Grant, spki: bytes, certificate: bytes, line: Happened) -> None:
        """Use a right up for a key, and keep what was issued, in one step.

        Raises:
            WrongTokenError: another request was faster.
            UnavailableError: the disk refuses; nothing may be given away.
        """
        with self._store.transaction():
            if grant.token:
                held = [each for each in self._store.tokens(grant.name) if each.hash == grant.token]
                if not held or held[0].spki is not None:
                    raise WrongTokenError("spent-token", f"the token for {grant.name} was spent meanwhile")
                self._store.spend_token(grant.token, spki)
            if grant.way in {"token", "approval"}:
                self._store.put_issued(_right(grant), spki, certificate, line.t, forget_t=line.t - KEPT_S)
            self._store.add(line)

    def note(self, line: Happened) -> None:
        """Add a line to the history."""
        with self._store.transaction():
            self._store.add(line)

    def history(self, *, name: str | None = None, limit: int = 100) -> list[Happened]:
        """Give the newest lines of the history, newest first, of one name or of all."""
        with self._store.transaction():
            return self._store.history(name=name, limit=limit)


def _require_room(live: Sequence[Waiting], request: Waiting) -> None:
    """Insist that the queue has room."""
    waiting = [each for each in live if each.state == "waiting"]
    if len(waiting) >= MAX_WAITING:
        raise EnrolmentError("queue-full", f"{MAX_WAITING} requests wait")
    if sum(each.factory == request.factory for each in waiting) >= MAX_WAITING_OF_ONE:
        raise EnrolmentError("queue-full", f"{MAX_WAITING_OF_ONE} requests of {request.factory} wait")


def _line(request: Waiting, what: str, *, who: str, t: int, detail: str = "") -> Happened:
    """Describe a request for the history."""
    return Happened(
        t,
        what,
        "approval",
        request.role,
        request.name,
        who=who,
        address=request.address,
        detail=detail or request.id,
    )


def _right(grant: Grant) -> str:
    """Name a right that is used up."""
    return f"{grant.way}:{grant.role}:{grant.name}:{grant.token.hex()}"


def _digest(text: str) -> bytes:
    """Hash a token; it has so many random bits that nothing slower is needed."""
    return hashlib.sha256(text.encode()).digest()
