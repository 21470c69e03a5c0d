"""Keeps a lease while an epoch takes longer than the lease does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from foldtune.errors import LeaseLostError, StoreError
from foldtune.store.records import Lease
from foldtune.store.store import Store

logger = logging.getLogger("foldtune")


@contextmanager
def beating(store: Store, lease: Lease, seconds: float) -> Iterator[None]:
    """Renew a lease again and again while the block runs.

    That it was lost, or that the database fails, shows at the search's own next write.

    Args:
        store: where the lease is.
        lease: the lease.
        seconds: how long it holds after each beat.
    """
    ended = Event()

    def beat() -> None:
        while not ended.wait(seconds / 4):
            try:
                store.renew(lease, seconds)
            except LeaseLostError:
                return
            except StoreError as error:
                logger.debug("the lease was not renewed: %s", error)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
