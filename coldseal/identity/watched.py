"""What is made of some files, made anew when they change: a TLS context, a list of revoked certificates.

Guarantees that files which cannot be used leave in force what was there, that this is said once, and only
when it has lasted a moment: two files are not replaced in one instant. Whoever holds the value decides what
follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from coldseal.errors import InputError, OperatorError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

GRACE_S: Final = 3.0
"""For so long files may be wrong before that is said."""

Made = TypeVar("Made")
Mark = tuple[tuple[int, int, int, int], ...]

_ABSENT: Final = (0, 0, 0, 0)
_log = Log("identity.watched")


class Watched(Generic[Made]):
    """Files, and what was made of them last.

    Args:
        name: of what they are, for the event: the certificate's file.
        files: all of them; None stands for one that is not configured.
        make: makes the value; raises `OperatorError` or `InputError` where a file is wrong.
        now_s: seconds that only go forward.

    Attributes:
        value: what is in force.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[Path | None],
        make: Callable[[], Made],
        *,
        now_s: Callable[[], float],
    ) -> None:
        """Make it.

        Raises:
            OperatorError, InputError: a file cannot be used.
        """
        self._name, self._make, self._now_s = name, make, now_s
        self._files = [each for each in files if each is not None]
        self._fault, self._since_s, self._is_told = "", 0.0, False
        self._seen = self._look()
        self.value = make()

    def refresh(self) -> bool:
        """Look at the files, and take what has changed; says whether the value is another one now."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self.value = self._make()
            except (OperatorError, InputError) as error:
                self._since_s = self._since_s if self._fault else self._now_s()
                self._fault = str(error)
            else:
                self._fault, self._is_told = "", False
                return True
        if self._fault and not self._is_told and self._now_s() - self._since_s >= GRACE_S:
            self._is_told = True
            _log.emit(events.CERTIFICATE_KEPT, certificate=self._name, error=self._fault)
        return False

    def reload(self) -> None:
        """Make it anew at once, because a person says so.

        Raises:
            OperatorError, InputError: a file cannot be used; what was in force stays.
        """
        self._seen = self._look()
        self.value = self._make()
        self._fault, self._is_told = "", False

    def _look(self) -> Mark:
        """Note what identifies the files' content and who may read them."""
        found = []
        for path in self._files:
            try:
                status = path.stat()
            except OSError:
                found.append(_ABSENT)
                continue
            found.append((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        return tuple(found)
