"""The same terminal in a browser: every page is a terminal of its own.

Whoever reaches the page acts, or looks, as the person who serves it. So the loopback interface is listened on unless
the configuration says more, the address that is printed has a key in it without which nothing is served (others on
the machine reach the port too), a page of another site that a browser has open is refused by its origin, and the page
is forbidden to fetch anything from elsewhere.
"""

import hmac
import secrets
import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

_PAGES = Path(__file__).parent / "styles" / "web"
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing comes from elsewhere. Scripts of the page itself, and the styles that the terminal sets, stand in it."""
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LocalServer(Server):
    """Serves those who have the key. Its page is our own: the library's fetches a font from the internet."""

    def __init__(self, command: Sequence[str], host: str, port: int, key: str) -> None:
        shown = f"[{host}]" if ":" in host else host
        super().__init__(
            shlex.join(command),
            host=host,
            port=port,
            title="Elcano",
            public_url=f"http://{shown}:{port}",
            templates_path=str(_PAGES),
        )
        self._key = key
        self._cookie = f"elcano_{port}"
        """Cookies are kept by host, whatever the port: two servers have two."""

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"{self.public_url}/?key={self._key}"

    def serve(self, debug: bool = False) -> None:
        """Serve until interrupted. Raises OSError where the address cannot be listened on.

        Requests are not logged: the address has the key in it.
        """
        del debug
        web.run_app(self._make_app(), host=self.host, port=self.port, print=self._say, access_log=None)

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing yet: it does not listen before this is over."""

    def _say(self, _: str) -> None:
        """Say where it is, once it listens."""
        self.console.print(f"Open {self.address}\nCtrl+C ends it.", markup=False, highlight=False, soft_wrap=True)

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._let_in)
        return app

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # A browser names the page that asks, and a server before this one keeps the name that the browser used.
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and _host_of(origin) != request.host
        given = request.query.get("key") or request.cookies.get(self._cookie, "")
        # A cookie's bytes need not be text.
        if is_foreign or not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._key.encode()):
            raise web.HTTPForbidden(text="Open the address that `elcano tui --web` has printed.")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
            response.set_cookie(self._cookie, self._key, httponly=True, samesite="Strict")
        return response


def _host_of(origin: str) -> str | None:
    """Return which host and port a page is from; None for what names none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def serve(command: Sequence[str], host: str, port: int) -> None:
    """Serve a command's terminal until interrupted."""
    LocalServer(command, host, port, secrets.token_urlsafe(16)).serve()
