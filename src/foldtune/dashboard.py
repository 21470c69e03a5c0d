"""optuna-dashboard on a study's database, on a small threaded server."""

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.simple_server import make_server as make_wsgi_server

import optuna_dashboard
from optuna.storages import RDBStorage

from foldtune.store.engine import configure_sqlite


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per request: one slow page does not hold the others up."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Requests are not news."""

    def log_message(self, format: str, *args: object) -> None:
        return


def make_server(storage: str, host: str, port: int) -> WSGIServer:
    """A server of optuna-dashboard, listening but not serving yet.

    Args:
        storage: SQLAlchemy URL of the database.
        host: address to listen on.
        port: port to listen on; 0 takes any free one, found in `server_port`.
    """
    database = RDBStorage(storage, skip_compatibility_check=False)
    configure_sqlite(database.engine)
    app = optuna_dashboard.wsgi(database)
    return make_wsgi_server(host, port, app, server_class=_Server, handler_class=_Handler)
