"""The terminal in a browser: on loopback, with a key, to look only, and nothing from elsewhere."""

import asyncio
import io
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from benchmarks.rig.facility import Facility
from tests.oracles import find_program
from tests.tui.chromium import opened
from tui.web import LocalServer

pytestmark = pytest.mark.anyio

_KEY = "a-key"


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    return Facility.build(tmp_path / "facility")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture
def address(facility: Facility, port: int) -> Iterator[str]:
    """What `elcano tui --web` prints to be opened."""
    command = [sys.executable, "-m", "daemon", "tui", "--web", "--port", str(port), "--config", str(facility.config)]
    process = subprocess.Popen(
        command,
        cwd=facility.root,
        env=facility.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, said + process.stdout.read()
        yield found.group()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.mark.oracle
@pytest.mark.slow
async def test_a_browser_shows_it_and_fetches_nothing_from_elsewhere(
    address: str, tmp_path: Path, facility: Facility
) -> None:
    program = find_program("chromium", "chromium")
    async with opened(program, tmp_path / "profile", width=1000, height=640) as page:
        await page.do("Page.navigate", url=address)
        await page.wait_until(lambda: b"No elcano daemon answers" in page.streamed, "the terminal")
        with facility.running():
            await page.wait_until(lambda: b"look only" in page.streamed, "the daemon to be found, and its viewer")
            await page.click(500, 300)  # a person, too, clicks into the page before typing
            page.streamed = b""
            await page.press("?")
            await page.wait_until(lambda: b"You are a viewer" in page.streamed, "the help")
            picture = Image.open(io.BytesIO(await page.picture())).convert("RGB")
        assert not page.failed
    hosts = {urlsplit(url).hostname for url in page.requested if not url.startswith("data:")}
    assert hosts == {"127.0.0.1"}
    assert any(url.startswith("ws://127.0.0.1") for url in page.requested)
    assert picture.width >= 900
    colours = picture.getcolors(picture.width * picture.height)
    assert colours is not None
    assert len(colours) > 50  # letters with smooth edges; an empty page has one or two
    assert max(count for count, _ in colours) < 0.97 * picture.width * picture.height


async def test_nothing_is_served_without_the_key_or_to_another_site(address: str) -> None:
    parts = urlsplit(address)
    plain = f"http://{parts.netloc}/"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for url in (plain, f"{plain}?key=wrong", f"{plain}ws", f"{plain}static/js/textual.js"):
            async with session.get(url) as answer:
                assert answer.status == 403, url
        async with session.get(address, headers={"Origin": "http://elsewhere.example"}) as answer:
            assert answer.status == 403
        async with session.get(address) as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            cookie = answer.cookies[f"elcano_{parts.port}"]
            assert cookie["httponly"]
            assert cookie["samesite"] == "Strict"
            page = await answer.text()
        assert not re.findall(r"https?://", page)


@pytest.mark.parametrize(
    "header", [b"Cookie: elcano_PORT=\xff", b"Origin: http://[", b"Origin: \xff", b"Cookie: a=b; elcano_PORT=\xc3("]
)
async def test_bytes_that_are_no_text_let_nobody_in(
    port: int, header: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    runner = web.AppRunner(await LocalServer(["elcano"], "127.0.0.1", port, _KEY)._make_app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = header.replace(b"PORT", str(port).encode())
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + asked + b"\r\n\r\n")
        answer = await reader.read()
        writer.close()
    finally:
        await runner.cleanup()
    assert answer.split(b"\r\n")[0] == b"HTTP/1.1 403 Forbidden"
    assert "Traceback" not in capfd.readouterr().err


def test_another_address_than_loopback_must_be_configured(facility: Facility, port: int) -> None:
    refused = facility.elcano("tui", "--web", "--host", "10.1.2.3", "--port", str(port))
    assert refused.code == 2
    assert "[web] addresses" in refused.err
    facility.configure({"web": {"addresses": ["10.1.2.3"]}})
    allowed = facility.elcano("tui", "--web", "--host", "10.1.2.3", "--port", str(port))
    assert "cannot listen on 10.1.2.3" in allowed.err  # no interface of this machine has it


def test_an_address_is_written_as_browsers_read_it() -> None:
    assert LocalServer(["elcano"], "127.0.0.1", 8765, _KEY).address == "http://127.0.0.1:8765/?key=a-key"
    assert LocalServer(["elcano"], "::1", 8765, _KEY).address == "http://[::1]:8765/?key=a-key"
