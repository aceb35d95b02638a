"""A headless Chromium, driven over its own protocol: what it asks for, what comes over its WebSockets, how it looks."""

import asyncio
import base64
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from anyio.abc import Process

_FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root, where Chromium has none
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class Page:
    """One page; every request and every frame of a WebSocket is remembered."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._moved = anyio.Event()
        self.requested: list[str] = []
        self.failed: list[str] = []
        self.streamed = b""

    async def listen(self) -> None:
        """Take what the browser says, until it is gone."""
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            else:
                self._take(told["method"], told["params"])
            self._moved.set()
            self._moved = anyio.Event()

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something, and return what came of it."""
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        told = await answer
        assert "result" in told, told
        result: dict[str, Any] = told["result"]
        return result

    async def click(self, x: int, y: int) -> None:
        """Click somewhere on the page."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def press(self, text: str) -> None:
        """Press the key of a letter or sign."""
        await self.do("Input.dispatchKeyEvent", type="keyDown", text=text, key=text)
        await self.do("Input.dispatchKeyEvent", type="keyUp", key=text)

    async def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when something holds that the browser told."""
        with anyio.move_on_after(60):
            while not condition():
                await self._moved.wait()
            return
        raise AssertionError(
            f"waited for {what}; requested {self.requested}, failed {self.failed}: {self.streamed[-500:]!r}"
        )

    async def picture(self) -> bytes:
        """Return what is seen, as PNG."""
        return base64.b64decode((await self.do("Page.captureScreenshot", format="png"))["data"])

    def _take(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(told["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requested.append(told["url"])
        elif method == "Network.loadingFailed":
            self.failed.append(told["errorText"])
        elif method == "Network.webSocketFrameReceived":
            payload = told["response"]["payloadData"]
            self.streamed += base64.b64decode(payload) if told["response"]["opcode"] == 2 else payload.encode()


@contextlib.asynccontextmanager
async def opened(program: str, folder: Path, *, width: int, height: int) -> AsyncIterator[Page]:
    """Start a browser with one empty page; it is gone in the end."""
    command = [program, *_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
    process = await anyio.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = await _port_in(anyio.Path(folder / "DevToolsActivePort"), process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listener = asyncio.create_task(page.listen())
                await page.do("Network.enable")
                await page.do("Page.enable")
                yield page
                await page.do("Browser.close")
                await socket.close()
                await listener
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.wait()


async def _port_in(path: anyio.Path, process: Process) -> int:
    """Return the port that the browser chose, as soon as it has written it."""
    with anyio.fail_after(60):
        while True:
            assert process.returncode is None, "the browser ended at once"
            if await path.is_file() and (lines := (await path.read_text()).splitlines()):
                return int(lines[0])
            await anyio.sleep(0.05)
