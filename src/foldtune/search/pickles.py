"""CMA-ES notes a pickle; from a database, a pickle of CMA-ES itself is let through and nothing else."""

import io
import pickle
from collections.abc import Mapping
from typing import Any

from foldtune.errors import StoreError

_MODULES = ("cmaes.", "numpy.")
_NAMES = frozenset(
    "CMA SepCMA CMAwM dtype ndarray _reconstruct scalar __randomstate_ctor __bit_generator_ctor MT19937".split()
)


def check_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What a sampler noted about a trial, as stored, once it is known to be harmless.

    Args:
        attrs: names to JSON trees.

    Raises:
        StoreError: a pickle would call something else than the makers of CMA-ES and of arrays.
    """
    try:
        for first in (key for key in attrs if key.endswith(":optimizer:0")):
            name = first.removesuffix("0")
            n_parts = sum(key.startswith(name) for key in attrs)
            text = "".join(str(attrs[f"{name}{part}"]) for part in range(n_parts))
            _Checker(io.BytesIO(bytes.fromhex(text))).load()
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, AttributeError, IndexError, KeyError) as error:
        rule = "the state of CMA-ES in the database must be whole, and nothing else"
        raise StoreError.of((), rule, error, "Another program wrote it: restore a copy.") from error
    return dict(attrs)


class _Checker(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.".startswith(_MODULES) and name in _NAMES:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")
