"""A PostgreSQL server in a folder of its own, to be restarted and stopped."""

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

OPTIONS = "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=on"


class Cluster:
    """A server that runs while the block does.

    Args:
        binaries: the folder of `initdb` and `pg_ctl`.
        folder: an empty one, that every user of this machine can reach.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder, self.data = binaries, folder, folder / "data"
        self.port = _free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres?connect_timeout=5"

    def __enter__(self) -> "Cluster":
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        options = OPTIONS.format(port=self.port, folder=self.folder)
        self._run("pg_ctl", "start", "-w", "-o", options, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        """As a crash does: connections break, and the next start replays the log."""
        self._run("pg_ctl", "stop", "-m", "immediate")

    def restart(self) -> None:
        self.stop()
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), "-D", str(self.data), *arguments]
        user = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
        subprocess.run(command, check=True, user=user, cwd=self.folder, stdout=subprocess.DEVNULL)


def binaries() -> Path | None:
    """Where the newest server is installed; None where none is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda file: int(file.parts[-3]))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
