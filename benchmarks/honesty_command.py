"""The command line as experiments use it: what it prints as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MAIN = "from foldtune.cli.main import script; script()"


def foldtune(folder: str | Path, *arguments: str) -> dict[str, Any]:
    """Run a command in a folder; its database is there, too.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-c", MAIN, *arguments, "--json"]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"foldtune {' '.join(arguments)}: {done.stderr[-3000:]}")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed
