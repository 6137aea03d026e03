"""A real Chromium without a window, driven over its DevTools protocol.

`Browser` is the process, `Tab` one page in it that keeps what the page asked of the network, every violation
of its policy, and every error. The browser reaches no network: it is given a proxy that is not there.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from threading import Thread
from typing import IO, TypeAlias, cast

import aiohttp

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WATCH = """
globalThis.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
"""


def program() -> str | None:
    """Find the browser; None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """The running process."""

    def __init__(self, executable: str, profile: Path) -> None:
        """Start it."""
        flags = [
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--proxy-server=127.0.0.1:9",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
        ]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        self._process = subprocess.Popen(
            [executable, *flags, "about:blank"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        said = cast("IO[str]", self._process.stderr)
        self.address = self._listening_at(said)
        self._drain = Thread(target=said.read)  # a full pipe would stop the browser
        self._drain.start()

    def _listening_at(self, said: IO[str]) -> str:
        """Read where it listens."""
        for line in said:
            found = re.search(r"DevTools listening on (ws://\S+)", line)
            if found is not None:
                return found[1]
        raise RuntimeError(f"the browser ended with {self._process.wait()}")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
        self._drain.join(20)
        cast("IO[str]", self._process.stderr).close()

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        """Open a tab of its own; it is closed at the end."""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.address, max_msg_size=2**28) as socket,
        ):
            tab = Tab(socket)
            reader = asyncio.create_task(tab.listen())
            try:
                await tab.attach()
                yield tab
                await tab.close()
            finally:
                reader.cancel()


class Tab:
    """One page.

    Attributes:
        requests: addresses that it asked for.
        errors: what was thrown and not caught, and what the browser reported.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Nothing is open yet."""
        self._socket = socket
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Json]]] = {}
        self._session: str | None = None
        self._target = ""
        self._loaded = asyncio.Event()
        self.requests: list[str] = []
        self.errors: list[str] = []

    async def listen(self) -> None:
        """Take in what the browser says."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            else:
                self._note(said["method"], said["params"])

    def _note(self, event: str, params: dict[str, dict[str, str]]) -> None:
        """Keep what matters of an event."""
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.errors.append(params["entry"]["text"])
        elif event == "Page.loadEventFired":
            self._loaded.set()

    async def ask(self, method: str, **params: Json) -> dict[str, Json]:
        """Call a method of the protocol and give its result."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Json]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        said = await asyncio.wait_for(answer, 60)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']}")
        return cast("dict[str, Json]", said["result"])

    async def attach(self) -> None:
        """Open the tab and watch it."""
        self._target = str((await self.ask("Target.createTarget", url="about:blank"))["targetId"])
        attached = await self.ask("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            await self.ask(f"{domain}.enable")
        await self.before_load(WATCH)

    async def close(self) -> None:
        """Close the tab."""
        await self.ask("Target.closeTarget", targetId=self._target)

    async def before_load(self, script: str) -> None:
        """Have a script run before the page's own."""
        await self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    async def open(self, path: Path) -> None:
        """Open a file and wait until it is there."""
        self._loaded.clear()
        await self.ask("Page.navigate", url=path.as_uri())
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def run(self, script: str) -> Json:
        """Evaluate a script, wait for its promise, and give its value."""
        said = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in said:
            raise RuntimeError(str(said["exceptionDetails"]))
        return cast("dict[str, Json]", said["result"]).get("value")

    async def choose(self, selector: str, path: Path) -> None:
        """Choose a file as a person does in the dialogue of an input."""
        root = cast("dict[str, Json]", (await self.ask("DOM.getDocument"))["root"])
        found = await self.ask("DOM.querySelector", nodeId=root["nodeId"], selector=selector)
        await self.ask("DOM.setFileInputFiles", files=[str(path)], nodeId=found["nodeId"])
