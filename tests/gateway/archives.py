"""A gateway with an archive, for the tests of archiving, retention and restoring."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from coldseal.cli.archives import BundleTools
from coldseal.cli.main import run
from coldseal.gateway.archives import Archived, read_index
from coldseal.gateway.archiving import Round, run_round
from coldseal.gateway.config import load_gateway
from tests.cli.test_prune import make
from tests.gateway.test_pruning import grow, segments

if TYPE_CHECKING:
    from coldseal.gateway.config import GatewayConfig

NOW_MS = 1_795_000_000_000
"""A moment before that of the receipts, which say 2027."""

LATER_MS = 1_799_900_000_000
RETENTION = '\n[[retention]]\nname = "rest"\ndays = 30\n'


@dataclass
class Trial:
    """A gateway whose log has three ended segments under a receipt, with an archive."""

    folder: Path

    @property
    def toml(self) -> Path:
        """Its configuration."""
        return self.folder / "gateway.toml"

    @property
    def archive(self) -> Path:
        """The archive's folder."""
        return self.folder / "archive"

    @property
    def config(self) -> GatewayConfig:
        """Its settings."""
        free = ("mqtt.listen=127.0.0.1:0", "http.listen=127.0.0.1:0", "store.segment_entries=300")
        return load_gateway(self.toml, free)

    def round(self, now_ms: int = NOW_MS) -> Round:
        """Do one round."""
        return run_round(self.config, BundleTools(self.config), now_ms=now_ms)

    def grow(self) -> None:
        """Fill more segments, and have them cosigned; nothing is archived meanwhile."""
        config = self.config
        asyncio.run(grow(replace(config, archive=replace(config.archive, directory=None))))

    def index(self) -> list[Archived]:
        """Give what is archived."""
        return list(read_index(self.config.gateway.data).values())

    def files(self) -> list[str]:
        """Name what lies in the archive."""
        return sorted(path.name for path in self.archive.iterdir())

    def pruned(self) -> list[int]:
        """Name the segments that are pruned."""
        return [first for first, _, seq in segments(self.config) if seq is not None]

    def command(self, action: str, *options: str) -> int:
        """Run `coldseal gateway archive`."""
        free = ("--set", "store.segment_entries=300")
        return run(["gateway", "archive", str(self.toml), action, *options, *free])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway that has not archived anything."""
    folder = tmp_path_factory.mktemp("site")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def archived(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has archived all that it could."""
    folder = tmp_path_factory.mktemp("archived") / "gw"
    trial = start(made, folder)
    assert len(trial.round().archived) == 3
    return folder


def start(source: Path, folder: Path, more: str = "") -> Trial:
    """Copy a gateway, and give it an archive."""
    shutil.copytree(source, folder)
    trial = Trial(folder)
    text = trial.toml.read_text().replace(str(source), str(folder))
    if not trial.archive.exists():
        text += '\n[archive]\ndirectory = "archive"\n'
        trial.archive.mkdir()
    trial.toml.write_text(text + more)
    return trial


@pytest.fixture
def trial(made: Path, tmp_path: Path) -> Trial:
    """A gateway of one's own that has archived nothing."""
    return start(made, tmp_path / "gw")


@pytest.fixture
def kept(archived: Path, tmp_path: Path) -> Trial:
    """A gateway of one's own that has archived, and keeps everything for 30 days."""
    return start(archived, tmp_path / "gw", RETENTION)
