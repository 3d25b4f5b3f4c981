"""Debian's Chromium without a window, driven through its DevTools protocol: https://chromedevtools.github.io/devtools-protocol."""

import asyncio
import base64
import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


class Browser:
    """One page. faults : what it reported as errors so far."""

    def __init__(self, folder: Path) -> None:
        self.faults: list[str] = []
        self._ids = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={folder}", "about:blank"], stdout=log, stderr=log
        )
        log.close()
        self._loop.run_until_complete(self._attach(folder / "DevToolsActivePort"))
        for domain in ("Page", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a DevTools command."""
        return self._loop.run_until_complete(asyncio.wait_for(self._do(method, parameters), 30))

    def open(self, url: str, width_px: int = 1280, height_px: int = 800, scale: float = 1) -> None:
        phone = width_px < 600
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width_px, height=height_px, deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip
        self.do("Page.navigate", url=url)
        self.wait_for("document.readyState !== 'loading'")  # an endless picture may keep it from being complete

    def value(self, expression: str) -> Any:
        """What the JavaScript expression, or its promise, evaluates to."""
        result = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        return str(self.value(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def wait_for(self, expression: str, within_s: float = 15.0) -> Any:
        """The expression's value as soon as it is true."""
        deadline_s = time.monotonic() + within_s
        while not (value := self.value(expression)):
            assert time.monotonic() < deadline_s, f"not within {within_s} s: {expression}; faults {self.faults}"
            time.sleep(0.05)
        return value

    def screenshot(self, path: Path, whole_page: bool = False) -> None:
        image = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole_page)
        path.write_bytes(base64.b64decode(image["data"]))

    def close(self) -> None:
        self._loop.run_until_complete(self._detach())
        self._loop.close()
        self._process.terminate()
        self._process.wait(10)

    async def _attach(self, port_file: Path) -> None:
        deadline_s = time.monotonic() + 30
        while not port_file.exists() or not port_file.read_text():
            assert time.monotonic() < deadline_s, "Chromium did not start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as response:
            page = next(target for target in await response.json() if target["type"] == "page")
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    async def _detach(self) -> None:
        await self._socket.close()
        await self._session.close()

    async def _do(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "Runtime.exceptionThrown":
            self.faults.append(event["params"]["exceptionDetails"]["exception"].get("description", "exception"))
        entry = event["params"].get("entry", {})
        # A connection that is refused while nothing runs is what the page is there to bear.
        if entry.get("level") == "error" and "ERR_CONNECTION" not in entry["text"]:
            self.faults.append(f"{entry['text']} {entry.get('url', '')}")
