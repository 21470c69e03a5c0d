"""`foldtune`, but only nets that compute the same share a pack: for the ablation, since foldtune has no such option.

    python -m benchmarks.quality_equal run STUDY.yaml

multiprocessing imports a search's main module again in each of its training processes: there it changes the engine.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from foldtune.cli.main import script

if TYPE_CHECKING:
    from foldtune.train.packed.member import Share

NOTE = "packs of equal nets only"


def only_equal_nets() -> None:
    """Change this process's packed engine."""
    from foldtune.train.packed import engine

    fits = engine._fits

    def equal(share: "Share", others: "Sequence[Share]") -> bool:
        return share.member.text == others[0].member.text and fits(share, others)

    engine._fits = equal


if __name__ == "__mp_main__":
    only_equal_nets()
    print(NOTE, file=sys.stderr, flush=True)
elif __name__ == "__main__":
    script()
