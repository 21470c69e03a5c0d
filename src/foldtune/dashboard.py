"""optuna-dashboard on a study's database, on a small threaded server, behind a token where others can reach it."""

import hmac
from collections.abc import Iterable
from contextlib import closing
from socketserver import ThreadingMixIn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.simple_server import make_server as make_wsgi_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import optuna_dashboard

from foldtune.search.optuna_copy import optuna_storage
from foldtune.store.store import Store

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "foldtune_dashboard"
READING = ("GET", "HEAD", "OPTIONS")


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per request: one slow page does not hold the others up."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Requests are not news."""

    def log_message(self, format: str, *args: object) -> None:
        return


def make_server(storage: str, host: str, port: int, *, token: str | None = None, read_only: bool = False) -> WSGIServer:
    """A server of optuna-dashboard, listening but not serving yet.

    Args:
        storage: SQLAlchemy URL of the database.
        host: address to listen on.
        port: port to listen on; 0 takes any free one, found in `server_port`.
        token: what a request must know; see `guard`.
        read_only: refuse every request that would write.

    Raises:
        StoreError: there is no such database, or no study of foldtune's in it.
    """
    with closing(Store(storage, create=False)) as store:
        database = optuna_storage(store)
    app = guard(optuna_dashboard.wsgi(database), token=token, read_only=read_only)
    return make_wsgi_server(host, port, app, server_class=_Server, handler_class=_Handler)


def guard(app: WSGIApplication, *, token: str | None, read_only: bool) -> WSGIApplication:
    """An application that only those reach who may; optuna-dashboard itself asks nobody.

    A browser shows the token once, as `?token=`, and has a cookie from then on; a program sends
    `Authorization: Bearer TOKEN`. Without a token the page must be asked for under a name of this machine, so that no
    foreign page reaches it by pointing a name of its own here.

    Args:
        app: the application behind.
        token: what a request must know; None: nothing.
        read_only: refuse every method but GET, HEAD and OPTIONS.
    """

    def guarded(environ: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if token is None and not _is_local(environ.get("HTTP_HOST", "")):
            return _refuse(respond, "403 Forbidden", "Without a token the dashboard answers under localhost alone.")
        if token is not None and method == "GET" and _same(_shown(environ), token):
            return _admit(environ, respond, token)
        if token is not None and not _knows(environ, token):
            return _refuse(respond, "401 Unauthorized", "The dashboard wants its token: open /?token=TOKEN once.")
        if read_only and method not in READING:
            return _refuse(respond, "403 Forbidden", "The dashboard is read-only.")
        return app(environ, respond)

    return guarded


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine."""
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False


def _knows(environ: WSGIEnvironment, token: str) -> bool:
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    pairs = (pair.strip().partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
    cookies = [value for name, _, value in pairs if name == COOKIE]
    if scheme.lower() == "bearer" and _same(bearer.strip().encode("latin-1"), token):  # as WSGI decodes headers
        return True
    return any(_same(cookie.encode("latin-1"), _cookie(token)) for cookie in cookies)


def _cookie(token: str) -> str:
    """What a browser keeps: it proves the token and does not tell it."""
    return hmac.new(token.encode(), COOKIE.encode(), "sha256").hexdigest()


def _shown(environ: WSGIEnvironment) -> bytes:
    query: str = environ.get("QUERY_STRING", "")
    return dict(parse_qsl(query)).get("token", "").encode()


def _same(given: bytes, wanted: str) -> bool:
    """Equality in a time that tells nothing."""
    return hmac.compare_digest(given, wanted.encode())


def _admit(environ: WSGIEnvironment, respond: StartResponse, token: str) -> Iterable[bytes]:
    """Set the cookie and lead to the same page, without the token in its address."""
    rest = urlencode([pair for pair in parse_qsl(environ.get("QUERY_STRING", "")) if pair[0] != "token"])
    page = "/" + quote(environ.get("PATH_INFO", "").lstrip("/"), encoding="latin-1")
    headers = [
        ("Location", f"{page}?{rest}" if rest else page),
        ("Set-Cookie", f"{COOKIE}={_cookie(token)}; Path=/; HttpOnly; SameSite=Lax"),
        ("Cache-Control", "no-store"),
        ("Content-Length", "0"),
    ]
    respond("303 See Other", headers)
    return []


def _refuse(respond: StartResponse, status: str, reason: str) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
    respond(status, [*headers, ("WWW-Authenticate", "Bearer")] if status.startswith("401") else headers)
    return [f"{reason}\n".encode()]
