"""The page itself: one file, a strict policy, keys that somebody gives, keyboard, print, carried data."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from json import JSONEncoder
from pathlib import Path
from typing import cast

import pytest

from coldseal.core.log import canonical
from coldseal.core.log.canonical import encode_base64
from coldseal.page import page
from tests.core.log.stamps import Stamp, authority, root
from tests.page.builder import ORIGIN, WITNESSES, Story, honest
from tests.page.chromium import Browser, Tab
from tests.page.inspector import inspect, settled

_QUOTED = JSONEncoder().encode
NO_ED25519 = """
const { importKey } = crypto.subtle;
crypto.subtle.importKey = function (format, key, algorithm, ...rest) {
  globalThis.asked = (globalThis.asked ?? 0) + (algorithm === "Ed25519");
  if (algorithm === "Ed25519") return Promise.reject(new DOMException("none", "NotSupportedError"));
  return importKey.call(crypto.subtle, format, key, algorithm, ...rest);
};
"""


def test_the_policy_names_the_script_and_the_style_and_nothing_else() -> None:
    """Their hashes are those of what is in the page; there is no network in it, and no eval."""
    text = page().decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    script = re.search(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert policy is not None
    assert script is not None
    assert style is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == _hash(script[1])
    assert rules["style-src"] == _hash(style[1])
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\son[a-z]+=|\beval\(|innerHTML|new Function|\sstyle=", text)


def _hash(text: str) -> str:
    """Name a text as a policy does."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_page_is_the_same_whatever_it_carries() -> None:
    """Script and style stay byte for byte, so their hashes can be compared."""
    assert page(b"some bundle").replace(b64encode(b"some bundle"), b"") == page()


async def test_a_page_that_carries_its_bundle_checks_it_at_once(tab: Tab, verifier: Path) -> None:
    """Nobody needs to choose a file."""
    carrier = verifier.with_name("carried.html")
    carrier.write_bytes(page(honest().bundle()))
    await tab.open(carrier)
    seen = await settled(tab)
    assert seen.verdict == "good"
    assert seen.violations == []
    assert tab.requests == [carrier.as_uri()]


INTRUDERS = {
    "a script": ("<script>document.title='in'</script>", "script-src-elem inline"),
    "a handler": ("<img src='data:,' onerror=\"document.title='in'\">", "img-src data"),
    "a style": ("<p style='color: red'>x</p>", "style-src-attr inline"),
    "a picture from elsewhere": ("<img src='http://127.0.0.1:9/x.png'>", "img-src http://127.0.0.1:9/x.png"),
}


@pytest.mark.parametrize("name", INTRUDERS)
async def test_what_is_added_to_the_page_does_not_run(name: str, tab: Tab, verifier: Path) -> None:
    """The policy is enforced by the browser, and a violation would be seen by these tests."""
    markup, violation = INTRUDERS[name]
    spoiled = verifier.with_name("spoiled.html")
    spoiled.write_bytes(page().replace(b"<header>", f"{markup}<header>".encode()))
    await tab.open(spoiled)
    assert violation in cast("list[str]", await tab.run("violations"))
    assert await tab.run("document.title") == "Check cold-chain evidence"


async def test_the_page_cannot_reach_the_network(tab: Tab, verifier: Path) -> None:
    """Even code of its own could send nothing away."""
    await tab.open(verifier)
    said = await tab.run("fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.name)")
    assert said == "TypeError"
    assert "connect-src http://127.0.0.1:9/" in cast("list[str]", await tab.run("violations"))


async def test_without_ed25519_in_the_browser_its_own_takes_over(tab: Tab, verifier: Path) -> None:
    """The good bundle stays good, and a changed cosignature is still refused."""
    await tab.before_load(NO_ED25519)
    story = honest()
    assert (await inspect(tab, verifier, story.bundle())).verdict == "good"
    assert await tab.run("asked") == 1
    head, _, line = story.notes[-1][:-1].decode().rpartition(" ")
    spoiled = bytearray(b64decode(line))
    spoiled[-40] ^= 1
    story.notes[-1] = f"{head} {encode_base64(bytes(spoiled))}\n".encode()
    assert (await inspect(tab, verifier, story.bundle())).verdict == "bad-checkpoint"


def _text(policy: dict[str, canonical.Value]) -> str:
    """Write a policy over several lines, as people keep it."""
    return canonical.encode(policy).decode().replace(",", ",\n  ")


def _policy(story: Story) -> dict[str, canonical.Value]:
    """Write the keys of a story as an admission file has them."""
    return {
        "origin": ORIGIN,
        "record_key": encode_base64(story.first_record.spki),
        "checkpoint_keys": [key.encode() for key in story.first_checkpoint.verifiers],
        "quorum": 2,
    }


async def _check_with(tab: Tab, text: str) -> None:
    """Paste keys and check again."""
    await tab.run(f"document.getElementById('policy').value = {_QUOTED(text)}")
    await tab.run("document.body.dataset.state = 'asked'; document.getElementById('again').click()")


async def test_keys_that_are_given_take_the_place_of_the_bundles_own(tab: Tab, verifier: Path) -> None:
    """With the right ones it is good; with another's, what the bundle names is worth nothing."""
    story = honest()
    seen = await inspect(tab, verifier, story.bundle())
    assert "These keys were named by the bundle itself" in seen.text
    names = zip(WITNESSES, story.witnesses, strict=True)
    witnesses = "\n".join(signer.vkey(name, cosigner=True) for name, signer in names)
    await _check_with(tab, f"{_text(_policy(story))}\n{witnesses}\n")
    seen = await settled(tab)
    assert seen.verdict == "good"
    assert "These are the keys of the policy that you gave" in seen.text
    await _check_with(tab, f"{_text(_policy(Story()))}\n{witnesses}")
    seen = await settled(tab)
    assert (seen.verdict, seen.seq) == ("wrong-key", 0)
    await _check_with(tab, _text(_policy(story)))
    assert (await settled(tab)).verdict == "not-witnessed"


@pytest.mark.parametrize("text", ["nonsense", "[1]", '{"origin": "a b"}', '{"origin": "a", "quorum": 0}'])
async def test_a_policy_that_cannot_be_read_is_said_to_be_so(text: str, tab: Tab, verifier: Path) -> None:
    """No verdict is given then, and least of all one that rests on other keys."""
    await inspect(tab, verifier, honest().bundle())
    await _check_with(tab, text)
    seen = await settled(tab)
    assert seen.state == "failed"
    assert seen.refused.startswith("The policy cannot be used.")
    assert await tab.run("document.getElementById('result').hidden") is True


async def test_a_timestamp_is_shown_and_held_against_its_checkpoint(tab: Tab, verifier: Path) -> None:
    """What the authority stamped is the checkpoint's text; its signature is said to be unchecked."""
    story = honest()
    stamp = Stamp.by(authority(root()))
    text = story.notes[-1].partition(b"\n\n")[0] + b"\n"
    size = len(story.entries)
    story.extra[f"timestamps/{size}.tsr"] = stamp.but(text=text).response()
    seen = await inspect(tab, verifier, story.bundle())
    assert seen.verdict == "good"
    assert f"on the checkpoint of size {size}, says 20261122052348" in seen.text
    assert "its signature was not checked here" in seen.text
    story.extra[f"timestamps/{size}.tsr"] = stamp.response()
    seen = await inspect(tab, verifier, story.bundle())
    assert (seen.verdict, seen.seq) == ("bad-timestamp", size - 1)


async def test_the_page_is_used_with_the_keyboard_alone(tab: Tab, verifier: Path) -> None:
    """From the file to the keys to the button, in order; the verdict then has the focus."""
    await tab.open(verifier)
    reached = []
    for _ in range(2):
        for kind in ("keyDown", "keyUp"):
            await tab.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(await tab.run("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["file", "SUMMARY"]
    await inspect(tab, verifier, honest().bundle())
    assert await tab.run("document.activeElement.id") == "verdict"


async def test_the_verdict_prints_on_a4(tab: Tab, verifier: Path) -> None:
    """Without what is only for the screen."""
    await inspect(tab, verifier, honest().bundle())
    printed = await tab.ask("Page.printToPDF", preferCSSPageSize=True)
    pdf = b64decode(str(printed["data"]))
    assert re.search(rb"/MediaBox \[0 0 59[45]\.?\d* 84[12]\.?\d*\]", pdf)
    await tab.ask("Emulation.setEmulatedMedia", media="print")
    assert await tab.run("getComputedStyle(document.getElementById('intake')).display") == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read_in_light_and_dark(scheme: str, tab: Tab, verifier: Path) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3) between ink and ground."""
    await tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await inspect(tab, verifier, honest().bundle())
    for selector in ("body", "dt", "#verdict", "figcaption", "td"):
        assert cast("float", await tab.run(f"({CONTRAST})('{selector}')")) >= 4.5, selector


CONTRAST = """
(selector) => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const parts = channels(colour).map((part) => part / 255);
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = parts.map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  let ground = document.querySelector(selector);
  const ink = getComputedStyle(ground).color;
  while (channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [one, other] = [light(ink), light(getComputedStyle(ground).backgroundColor)].sort((a, b) => b - a);
  return (one + 0.05) / (other + 0.05);
}
"""


async def test_a_browser_without_cryptography_is_named_as_such(browser: Browser, verifier: Path) -> None:
    """The page then refuses to say anything of a bundle."""
    async with browser.tab() as tab:
        await tab.before_load("Object.defineProperty(crypto, 'subtle', { value: undefined })")
        await tab.open(verifier)
        seen = await settled(tab)
    assert seen.state == "failed"
    assert "WebCrypto" in seen.refused
