"""Entries that change what is known of sensors, read strictly: each as one small value.

Promise: an entry of one of these forms has exactly the keys of its form, and every value is checked; what is
wrong is named with key, value and what was expected. An entry that says nothing of sensors is none. Whether a
change fits what is known, `register` finds out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from coldseal.core.coldchain.certificate import parse_calibration
from coldseal.core.coldchain.document import Bounds, Document
from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.profile import parse_profile
from coldseal.core.log.record import is_time
from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.coldchain.profile import ProductProfile

ASSET_KINDS: Final = ("fridge", "freezer", "room", "container", "vehicle", "pallet", "lot")
"""What a sensor can watch."""

KINDS: Final = frozenset({"profile", "calibration", "config"})
"""Kinds of entries that may change what is known of sensors."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
A_NAME: Final = "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"

_KIND: Final = re.compile("|".join(ASSET_KINDS))
_VERSION: Final = Bounds(1, 2**31 - 1, "a whole number from 1")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,512}")
_ACTION: Final = re.compile("begin|end")
_TIME: Final = "a time such as 2026-03-01T08:00:00.000Z"
_WORD: Final = "1 to 512 characters on one line"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Revise(NamedTuple):
    """A new version of a profile."""

    where: str
    profile: ProductProfile


class _Timed(NamedTuple):
    """From when on a change holds: the key that says it, its text, the moment; None: from its entry on."""

    moment: str = "from"
    said: str = ""
    from_ms: int | None = None


class Calibrate(NamedTuple):
    """A sensor was calibrated."""

    where: str
    calibration: Calibration
    moment: str
    said: str
    from_ms: int | None


class AssignSensor(NamedTuple):
    """A sensor watches an asset from now on."""

    where: str
    key: tuple[str, str]
    asset: str
    kind: str
    moment: str
    said: str
    from_ms: int | None


class AssignProfile(NamedTuple):
    """A version of a profile holds for an asset from now on."""

    where: str
    asset: str
    kind: str
    profile: str
    version: int
    moment: str
    said: str
    from_ms: int | None


class Release(NamedTuple):
    """A sensor (`key`), a profile, or with neither of them everything, leaves an asset."""

    where: str
    asset: str
    key: tuple[str, str] | None
    profile: str
    moment: str
    said: str
    from_ms: int | None


class Maintain(NamedTuple):
    """Maintenance of a sensor begins or ends."""

    where: str
    key: tuple[str, str]
    is_begin: bool
    why: str
    moment: str
    said: str
    from_ms: int | None


Change: TypeAlias = Revise | Calibrate | AssignSensor | AssignProfile | Release | Maintain


def parse_change(kind: str, data: Mapping[str, object]) -> Change | None:
    """Read what an entry changes of sensors; None if it is of another kind, or says nothing of them.

    Raises:
        InputError: it is not of its form.
    """
    if kind not in KINDS:
        return None
    if kind == "config":
        form = next((each for each in _FORMS if each in data), None)
        if form is None:
            return None
        read, allowed = _FORMS[form], {form, "who", "why"}
    else:
        form, read = kind, _profile if kind == "profile" else _calibration
        allowed = {form, "who", "why"} | ({"sha256"} if kind == "profile" else set())
    whole = Document(data, where=f"{kind} entry")
    whole.only(allowed)
    who_why = [whole.text(name, _TEXT, _WORD) for name in ("who", "why")]
    inner = whole.inner(form)
    if inner is None:
        whole.fault(form, data.get(form), "a table")
    require(whole)
    assert inner is not None  # noqa: S101 # a fault was raised otherwise
    return read(whole, inner, who_why[1])


def require(document: Document) -> None:
    """Raise the first of the faults that were found.

    Raises:
        InputError: there is one.
    """
    if document.faults:
        raise document.faults[0]


def day(t_ms: int) -> str:
    """Write the day of a moment."""
    return moment(t_ms)[:10]


def moment(t_ms: int) -> str:
    """Write a moment in the form of ``t``."""
    found = _EPOCH + timedelta(milliseconds=t_ms)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _profile(whole: Document, inner: Document, _why: str) -> Change:
    """Read a version of a profile, and hold its hash against it."""
    found = parse_profile(inner.table, where=whole.where)
    said = whole.text("sha256", _SHA256, "64 hex digits")
    if said != found.sha256:
        raise InputError(whole.where, "sha256", said, f"{found.sha256}, which this profile has")
    return Revise(whole.where, found)


def _calibration(whole: Document, inner: Document, _why: str) -> Change:
    """Read a calibration."""
    timed = _from(inner, "from")
    require(inner)
    table = {name: value for name, value in inner.table.items() if name != "from"}
    return Calibrate(whole.where, parse_calibration(table, where=whole.where), *timed)


def _assign(whole: Document, inner: Document, _why: str) -> Change:
    """Read an assignment: of a sensor to an asset, or of a profile to one."""
    is_profile = inner.has("profile")
    own = {"profile", "version"} if is_profile else {"device", "sensor"}
    inner.only({"asset", "asset_kind", "from"} | own)
    asset = inner.text("asset", NAME, A_NAME)
    kind = (
        inner.text("asset_kind", _KIND, f"one of {', '.join(ASSET_KINDS)}") if inner.has("asset_kind") else ""
    )
    timed = _from(inner, "from")
    if is_profile:
        profile, version = inner.text("profile", NAME, A_NAME), inner.count("version", _VERSION)
        require(inner)
        return AssignProfile(whole.where, asset, kind, profile, version, *timed)
    key = _key(inner)
    require(inner)
    return AssignSensor(whole.where, key, asset, kind, *timed)


def _release(whole: Document, inner: Document, _why: str) -> Change:
    """Read a release."""
    inner.only({"asset", "device", "sensor", "profile", "at"})
    asset = inner.text("asset", NAME, A_NAME)
    key = _key(inner) if inner.has("device") or inner.has("sensor") else None
    profile = inner.text("profile", NAME, A_NAME) if inner.has("profile") else ""
    if key is not None and profile:
        inner.fault("profile", profile, "either a sensor or a profile, or neither for all of it")
    timed = _from(inner, "at")
    require(inner)
    return Release(whole.where, asset, key, profile, *timed)


def _maintenance(whole: Document, inner: Document, why: str) -> Change:
    """Read a begin or an end of maintenance."""
    inner.only({"action", "device", "sensor", "at"})
    action = inner.text("action", _ACTION, "begin or end")
    key, timed = _key(inner), _from(inner, "at")
    require(inner)
    return Maintain(whole.where, key, action == "begin", why, *timed)


def _key(inner: Document) -> tuple[str, str]:
    """Read which sensor it is."""
    return inner.text("device", NAME, A_NAME), inner.text("sensor", NAME, A_NAME)


def _from(inner: Document, name: str) -> _Timed:
    """Read from when on it holds; absent: from its entry on."""
    if not inner.has(name):
        return _Timed(inner.key(name))
    said = inner.table[name]
    if not isinstance(said, str) or not is_time(said):
        inner.fault(name, said, _TIME)
        return _Timed(inner.key(name))
    return _Timed(inner.key(name), said, moment_ms(said))


_Read: TypeAlias = Callable[[Document, Document, str], Change]
_FORMS: Final[Mapping[str, _Read]] = {"assign": _assign, "release": _release, "maintenance": _maintenance}
