"""The simulated site of the service: the real ingestion and ledger, without HTTP, over all its lives.

What a killed service leaves are its files as they are at that moment; the next one opens a copy of them.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import CheckpointSignatureError
from coldseal.core.log.delivery.receiver import GapError, StaleError
from coldseal.core.log.delivery.wire import encode_receipt, encode_refusal
from coldseal.demo.world.network import Reply
from coldseal.demo.world.stage import EPOCH_S, ORIGIN, STORE_KEY
from coldseal.errors import ColdsealError, InputError, TrustError, UnavailableError
from coldseal.service.admission import Admission, encode_log_file
from coldseal.service.ingest import Ingest, NotAdmittedError
from coldseal.service.ledger import Ledger
from coldseal.service.verification import Audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coldseal.demo.world.observer import Observer
    from coldseal.demo.world.stage import Stage
    from coldseal.demo.world.trace import Trace

ROOMY: Final = 1 << 40
_ALL: Final = 1 << 40
_NO_ROOM: Final = 1

MakeIngest = type[Ingest]


class Life:
    """One run of the service's program.

    Args:
        stage: keys and what is shared.
        folder: its data.
        limit: bytes that its ledger may have.
        now: Unix seconds.
        is_verified_first: signatures are checked before the receipt.
        make: the ingestion: the real one, or one with a seeded fault.
    """

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        *,
        limit: int,
        now: Callable[[], int],
        is_verified_first: bool,
        make: MakeIngest,
    ) -> None:
        """Open everything."""
        self.ledger = Ledger.open(folder, STORE_KEY, limit_bytes=limit)
        admission = Admission(folder / "logs")
        self.ingest = make(
            admission,
            self.ledger,
            stage.verifier,
            stage.witness,
            now=now,
            metrics=stage.service_metrics,
            is_verified_first=is_verified_first,
        )
        audit = Audit(self.ledger, admission, stage.verifier, stage.service_metrics)
        self.auditing = asyncio.ensure_future(audit.run())
        self.gone = asyncio.Event()
        self.is_slow = False

    async def end(self) -> None:
        """Close what is open; whoever waits for an answer gets none."""
        self.gone.set()
        self.auditing.cancel()
        with suppress(asyncio.CancelledError):
            await self.auditing
        await self.ledger.close()


class ServiceSite:
    """The service, whether it runs or not.

    Args:
        stage: keys and what is shared.
        folder: where its files go.
        observer: holds what it stores against what was sealed.
        trace: where it is noted.
        is_verified_first: signatures are checked before the receipt.
        make: makes the ingestion.
    """

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        *,
        observer: Observer,
        trace: Trace,
        is_verified_first: bool,
        make: MakeIngest = Ingest,
    ) -> None:
        """Prepare its folder; nothing runs yet."""
        self._stage, self._folder = stage, folder
        self._observer, self._trace = observer, trace
        self._is_verified_first, self._make = is_verified_first, make
        self._lives = 0
        self._life: Life | None = None
        self.is_slow = False
        logs = self._data / "logs"
        logs.mkdir(parents=True)
        (logs / "gw-1.json").write_bytes(encode_log_file(stage.admitted))

    @property
    def _data(self) -> Path:
        """The data folder of this life."""
        return self._folder / str(self._lives)

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._life is not None

    async def start(self, *, limit: int = ROOMY) -> None:
        """Start it; what it held must still be there."""
        self._life = Life(
            self._stage,
            self._data,
            limit=limit,
            now=self._now,
            is_verified_first=self._is_verified_first,
            make=self._make,
        )
        self._trace.note("service-up", "with little room" if limit < ROOMY else "")
        self._observer.stored(await self._life.ledger.entries(ORIGIN, 0, _ALL))

    async def kill(self) -> None:
        """Lose the process: its files stay as they are."""
        life, self._life = self._life, None
        if life is None:
            return
        old = self._data
        self._lives += 1
        shutil.copytree(old, self._data, ignore=shutil.ignore_patterns("*-shm"))
        self._trace.note("service-down")
        await life.end()
        shutil.rmtree(old)

    async def restart(self, down_s: float, *, is_full: bool) -> None:
        """Lose it for a while; or let it come back with no room left, for as long."""
        await self.kill()
        if is_full:
            await self.start(limit=_NO_ROOM)
        await asyncio.sleep(down_s)
        await self.kill()
        await self.start()

    def _now(self) -> int:
        """Give Unix seconds."""
        return EPOCH_S + int(asyncio.get_running_loop().time())

    async def answer(self, body: bytes) -> Reply:
        """Answer a batch as the interface does; ConnectionError if nobody is there, or is there no longer."""
        life = self._life
        if life is None:
            raise ConnectionRefusedError("nobody listens")
        if self.is_slow:
            await asyncio.sleep(2.5)
        work = asyncio.ensure_future(self._take(life, body))
        gone = asyncio.ensure_future(life.gone.wait())
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if life.gone.is_set():
            work.cancel()
            await asyncio.wait((work, gone))
            raise ConnectionResetError("the service is gone")
        gone.cancel()
        return work.result()

    async def _take(self, life: Life, body: bytes) -> Reply:
        """Hand a batch to the ingestion, and write down what it says."""
        try:
            receipt = await life.ingest.take(self._stage.certificate, body)
            held = await life.ledger.entries(ORIGIN, 0, _ALL)
        except ColdsealError as fault:
            self._trace.note("refused", type(fault).__name__)
            return _refusal(fault)
        except Exception as fault:
            if life.gone.is_set():
                raise
            self._observer.fail(f"the service has a fault that it does not know: {fault!r}")
            raise
        if not life.gone.is_set():
            self._observer.stored(held)
            self._observer.saw(receipt.note)
        return Reply(200, encode_receipt(receipt))


def _refusal(fault: ColdsealError) -> Reply:
    """Write an answer that is no receipt (docs/specs/delivery.md)."""
    match fault:
        case StaleError() | GapError():
            return Reply(409, encode_refusal(fault.error, size=fault.size))
        case NotAdmittedError() | CheckpointSignatureError():
            return Reply(403, encode_refusal(fault.verdict, detail=str(fault)))
        case TrustError():
            return Reply(422, encode_refusal(fault.verdict, detail=str(fault)))
        case InputError():
            return Reply(400, encode_refusal("malformed", detail=str(fault)))
        case UnavailableError():
            return Reply(503, encode_refusal("unavailable", detail=str(fault)))
        case _:
            return Reply(500, b"")
