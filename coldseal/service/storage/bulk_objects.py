"""Where the bulk tier lies: a folder, or a bucket that speaks S3. The only door to the object store library.

Promise: an object is there whole or not at all, is never written twice, and in a folder it is on disk when
`put` returns. Whether an S3 object is locked is asked of the server. Deletes nothing; verifies nothing.
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from coldseal.errors import OperatorError, UnavailableError
from coldseal.signing.private_files import sync_directory
from coldseal.signing.secrets import read_secret

if TYPE_CHECKING:
    from types import ModuleType

    from coldseal.service.config import Bulk

COMPLIANCE: Final = "COMPLIANCE"
"""The mode of a lock that nobody can lift before its time, not even the bucket's owner."""

TIMEOUT_S: Final = 60.0
_RETRIES: Final = 3
_ASKED: Final = timedelta(minutes=5)
_HERE: Final = Path()


class Lock(NamedTuple):
    """What holds an object: the mode, empty if nothing does, and until when."""

    mode: str
    until: datetime | None


class Objects:
    """The objects of one folder or prefix.

    Attributes:
        url: where they are, for people.
    """

    def __init__(self, config: Bulk) -> None:
        """Open it; nothing is asked of a server yet.

        Raises:
            OperatorError: the library or a key is not there.
        """
        self.url = config.url
        self._library = _obstore()
        self._ca = config.ca
        parts = urlsplit(config.url)
        self._folder = Path(parts.path) if parts.scheme == "file" else None
        self._store: Any = (
            _open_s3(self._library, config, parts.netloc, parts.path)
            if self._folder is None
            else self._library.store.LocalStore(self._folder, mkdir=True)
        )

    def put(self, name: str, data: bytes) -> bool:
        """Write an object; False if there is one of that name, which stays as it is.

        Raises:
            UnavailableError: it is not written, or not known to be.
        """
        try:
            self._library.put(self._store, name, data, mode="create", use_multipart=False)
        except self._library.exceptions.AlreadyExistsError:
            return False
        except (self._library.exceptions.BaseError, OSError) as error:
            raise self._away(error) from error
        if self._folder is not None:
            self._sync(self._folder / name)
        return True

    def get(self, name: str) -> bytes | None:
        """Read an object; None if there is none.

        Raises:
            UnavailableError: it cannot be read now.
        """
        try:
            return bytes(self._library.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except (self._library.exceptions.BaseError, OSError) as error:
            raise self._away(error) from error

    def names(self) -> list[str]:
        """Name all objects.

        Raises:
            UnavailableError: they cannot be listed now.
        """
        try:
            return sorted(each["path"] for part in self._library.list(self._store) for each in part)
        except (self._library.exceptions.BaseError, OSError) as error:
            raise self._away(error) from error

    def lock(self, name: str) -> Lock:
        """Ask the server how the newest version of an object is locked; a folder locks nothing.

        Raises:
            UnavailableError: it does not say.
        """
        if self._folder is not None:
            return Lock("", None)
        try:
            address = self._library.sign(self._store, "HEAD", name, _ASKED)
            context = ssl.create_default_context(cafile=self._ca)
            request = urllib.request.Request(address, method="HEAD")  # noqa: S310 # of the address in the configuration
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310 # the same
                until = answer.headers.get("x-amz-object-lock-retain-until-date")
                return Lock(
                    answer.headers.get("x-amz-object-lock-mode") or "",
                    None if until is None else datetime.fromisoformat(until),
                )
        except (self._library.exceptions.BaseError, OSError, ValueError) as error:
            raise self._away(error) from error

    def _sync(self, path: Path) -> None:
        """Make a new file and its folders survive a power cut."""
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sync_directory(path.parent)
            sync_directory(path.parent.parent)
        except OSError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> UnavailableError:
        """Say in one line why the tier cannot be used."""
        return UnavailableError(self.url, str(error).partition("\n")[0])


def _open_s3(library: ModuleType, config: Bulk, bucket: str, prefix: str) -> object:
    """Open a bucket; uploads bear a SHA-256, which a bucket with a lock demands."""
    if config.access_key is None or config.secret_key is None:
        raise OperatorError("bulk.access_key or bulk.secret_key is missing", "Set both, by reference")
    options: dict[str, object] = {
        "allow_http": config.endpoint.startswith("http://"),
        "timeout": timedelta(seconds=TIMEOUT_S),
    }
    if config.ca is not None:
        options["root_certificate"] = config.ca.read_bytes()
    more = {"endpoint": config.endpoint} if config.endpoint else {}
    return library.store.S3Store(
        bucket,
        prefix=prefix.strip("/") or None,
        region=config.region,
        access_key_id=read_secret(config.access_key, _HERE).decode(),
        secret_access_key=read_secret(config.secret_key, _HERE).decode(),
        checksum_algorithm="SHA256",
        client_options=options,
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=TIMEOUT_S)},
        **more,
    )


def _obstore() -> ModuleType:
    """Give the library, or say how to get it."""
    try:
        import obstore.exceptions  # noqa: PLC0415 # the service starts without it
        import obstore.store  # noqa: PLC0415 # the same
    except ModuleNotFoundError as error:
        hint = "Install it with: pip install 'coldseal[bulk]'"
        raise OperatorError(f"the bulk tier needs the package {error.name}", hint) from error
    return obstore
