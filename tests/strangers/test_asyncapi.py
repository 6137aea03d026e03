"""The AsyncAPI document of a registry, judged by the parser of those who made AsyncAPI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from coldseal.cli.asyncapi import encode, site_of
from coldseal.core.asyncapi import describe
from coldseal.gateway.config import load_gateway
from tests import access
from tests.gateway.test_governance import GATEWAY
from tests.strangers.conftest import require
from tools.strangers import FOLDER, NODE_SOURCE

PACKAGES = FOLDER / "node" / "node_modules"


def judged(document: Path) -> tuple[int, dict[str, Any]]:
    """Have it judged; gives the exit code and what was found."""
    require(PACKAGES / "@asyncapi" / "parser" / "package.json")
    require(shutil.which("node") or "node")
    done = subprocess.run(
        ["node", NODE_SOURCE / "validate.js", document],
        env={**os.environ, "NODE_PATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("registry", ["access", "none", "site"])
def test_the_document_is_a_valid_one(tmp_path: Path, registry: str) -> None:
    """No error and no warning, but that 3.0 is not the newest; what it read is what was written."""
    text = GATEWAY
    if registry != "none":
        access.write_registry(tmp_path / "registry.toml")
        text += '\n[topics]\nregistry = "registry.toml"\n'
    if registry == "site":
        (tmp_path / "schemas").mkdir()
        example = Path(__file__).parents[2] / "docs" / "specs" / "schemas.md"
        written = example.read_text().partition("```toml\n")[2].partition("```")[0]
        (tmp_path / "schemas" / "logger.toml").write_text(written)
        path = tmp_path / "registry.toml"
        path.write_text(path.read_text().replace("coldseal-reading/1", "vendor.logger/2"))
        text += '\n[schemas]\ndirectory = "schemas"\n'
    (tmp_path / "gateway.toml").write_text(text)
    document = describe(site_of(load_gateway(tmp_path / "gateway.toml")))
    (tmp_path / "asyncapi.json").write_bytes(encode(document))
    code, found = judged(tmp_path / "asyncapi.json")
    assert code == 0
    assert [each["code"] for each in found["faults"]] == ["asyncapi-latest-version"]
    assert found["channels"] == sorted(each["address"] for each in document["channels"].values())
    assert found["operations"] == len(document["channels"])
    assert ("vendor_logger-2" in found["messages"]) is (registry == "site")


def test_a_document_with_a_fault_is_refused(tmp_path: Path) -> None:
    """The judge is awake: a channel that does not exist is found."""
    (tmp_path / "gateway.toml").write_text(GATEWAY)
    document = describe(site_of(load_gateway(tmp_path / "gateway.toml")))
    next(iter(document["operations"].values()))["channel"] = {"$ref": "#/channels/nowhere"}
    (tmp_path / "asyncapi.json").write_bytes(encode(document))
    code, found = judged(tmp_path / "asyncapi.json")
    assert (code, "nowhere" in str(found["faults"])) == (1, True)
