"""The rows of keys: signatures a second by a file, a PKCS#11 token and a TPM, both in software here.

What they measure is our way to the holder: SoftHSM and swtpm sign as fast as this machine, real ones do not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bench import yardsticks
from bench.report import Row
from coldseal.signing.holders import is_held, make_held
from coldseal.signing.keys import generate_record_key, open_ecdsa, write_private_key
from tests.signing.software_hsm import software_hsm
from tests.signing.software_tpm import software_tpm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rows import Bench, Measure

_NOTE = b"coldseal.example/site-7/gw-0001\n1048576\nx0Jg2CJFFSjhlNAe2Y0ReiAyDLGCo3d/JrDBk3dq5kM=\n"
_PARTS = ("swtpm", "swtpm_setup", "softhsm2-util")


def keys(bench: Bench) -> Iterator[Row]:
    """Measure signatures over a checkpoint's text, each holder beside the yardstick of the same moment."""
    missing = [part for part in _PARTS if shutil.which(part) is None]
    if missing:
        note = f"not run: no {', '.join(missing)}"
        yield Row(key="keys", figure="signatures by file, token and TPM", value=None, unit="/s", note=note)
        return
    folder = bench.place("keys")
    folder.mkdir(parents=True)
    write_private_key(folder / "key.pem", generate_record_key())
    with software_tpm(folder / "chip") as chip:
        way = f"?tcti={chip.tcti}"
        uris = {
            "a file": f"file:{folder}/key.pem",
            "a token (SoftHSM)": software_hsm().new_uri(),
            "a TPM (swtpm), persistent": f"tpm:{chip.new_handle():#x}{way}",
            "a TPM (swtpm), wrapped": f"tpm:key={folder}/key.tss{way}",
        }
        for name, uri in uris.items():
            if is_held(uri):
                make_held(uri, Path())
            signer = open_ecdsa(uri, base=Path())
            signing = bench.signing()
            rate = yardsticks.rate(lambda signer=signer: signer.sign(_NOTE), bench.seconds / 4, batch=10)  # type: ignore[misc] # bound now
            note = "" if name == "a file" else "software: our way there; a real one takes longer to sign"
            yield Row(
                key="keys",
                figure=f"signatures over a checkpoint by {name}",
                value=rate,
                unit="/s",
                yardstick="signing",
                against=signing,
                note=note,
            )


ROWS: dict[str, Measure] = {"keys": keys}
