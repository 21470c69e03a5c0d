"""`foldtune dashboard`."""

import os
import signal
import sys

import typer

from foldtune.dashboard import LOOPBACK, make_server
from foldtune.errors import RequestError

TOKEN = "FOLDTUNE_DASHBOARD_TOKEN"
SHORTEST_TOKEN = 16
_MAKE_ONE = f'For example: export {TOKEN}="$(openssl rand -hex 32)".'


def dashboard(storage: str, host: str, port: int, *, read_only: bool) -> None:
    """Serve optuna-dashboard until Ctrl-C or SIGTERM."""
    token = _token(host)
    server = make_server(storage, host, port, token=token, read_only=read_only)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container has no default for it
    query = "" if token is None else f"/?token=${TOKEN}"
    typer.echo(f"http://{host}:{server.server_port}{query}  (Ctrl-C ends it)", err=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()


def _token(host: str) -> str | None:
    """The token from the environment, where every process list and shell history does not show it.

    Raises:
        RequestError: there is none though others reach this address, or it can be guessed.
    """
    token = os.environ.get(TOKEN) or None
    if token is None and host not in LOOPBACK:
        rule = "an address that other machines reach needs a token"
        raise RequestError.of((), rule, f"--host {host}", f"Set {TOKEN}. {_MAKE_ONE}")
    if token is not None and len(token) < SHORTEST_TOKEN:
        rule = f"{TOKEN} must have at least {SHORTEST_TOKEN} characters"
        raise RequestError.of((), rule, len(token), _MAKE_ONE)
    return token
