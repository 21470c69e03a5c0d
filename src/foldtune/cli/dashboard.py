"""`foldtune dashboard`."""

import typer

from foldtune.dashboard import make_server
from foldtune.errors import StoreError
from foldtune.store.store import Store

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def dashboard(storage: str, host: str, port: int) -> None:
    """Serve optuna-dashboard until Ctrl-C."""
    if host not in LOOPBACK:
        rule = "the dashboard has no login and binds to this machine only"
        raise StoreError.of((), rule, f"--host {host}", "Use an SSH tunnel to look from elsewhere.")
    Store(storage, create=False).close()
    server = make_server(storage, host, port)
    typer.echo(f"http://{host}:{server.server_port}  (Ctrl-C ends it)", err=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
