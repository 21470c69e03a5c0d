"""A whole net as one kernel: `vmap` over the stacked parameters of models, where its parts have no kernels."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from foldtune.errors import NotPackable
from foldtune.train.packed.kernel import Bind
from foldtune.train.packed.kernels.island import Island
from foldtune.train.packed.unchanged import unchanged

MODELS = 2
"""Of the trial run; more would show nothing else."""


def vmapped(net: nn.Module, rows: Sequence[Tensor], *, training: bool) -> tuple[Bind, tuple[int, ...]]:
    """The kernel of a net, and the shape of one row of its answers.

    Args:
        net: any module; it is copied as it is, for a copy on the meta device would lose tied weights.
        rows: a batch of its inputs.
        training: the mode of the net.

    Raises:
        NotPackable: `vmap` cannot run it, or only model by model; or it draws random numbers, which must be a model's
            own whoever trains beside it.
    """
    base = copy.deepcopy(net).train(training)

    def one(state: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        return functional_call(base, dict(state), inputs)  # type: ignore[no-any-return]

    call: Callable[..., Tensor] = vmap(one, randomness="error")

    def run(
        inputs: Sequence[Tensor], params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], training: bool
    ) -> Tensor:
        with _batchable_attention():
            return call({**params, **buffers}, tuple(inputs))

    with unchanged(base):
        answer = _tried(
            lambda: run(_repeated(rows), _stacked(net.named_parameters()), _stacked(net.named_buffers()), False)
        )
    if answer.dim() < 2 or answer.shape[:2] != (MODELS, len(rows[0])):
        raise NotPackable("it does not answer row by row")
    return lambda place: Island(place, run), tuple(answer.shape[2:])


def _tried(run: Callable[[], Tensor]) -> Tensor:
    with warnings.catch_warnings(record=True) as caught, torch.enable_grad():
        warnings.simplefilter("always")
        try:
            answer = run()
        except Exception as error:  # a user's forward may raise anything at all; lockstep shows what it is worth
            raise NotPackable(_said(error)) from error
    said = [str(warning.message).partition("batching rule for ")[2].split() for warning in caught]
    if slow := [words[0].rstrip(".") for words in said if words]:
        raise NotPackable(f"`{slow[0]}` would run model by model")
    if not isinstance(answer, Tensor):
        raise NotPackable("it answers with more than one tensor")
    return answer


def _said(error: Exception) -> str:
    if "called random operation" in str(error):
        return "it draws random numbers, which must be each model's own"
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _stacked(named: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Copies, for buffers change; parameters want gradients, for layers look at that."""
    return {
        name: torch.stack([tensor.detach()] * MODELS).requires_grad_(tensor.requires_grad) for name, tensor in named
    }


def _repeated(rows: Sequence[Tensor]) -> list[Tensor]:
    return [torch.stack([part] * MODELS) for part in rows]


@contextmanager
def _batchable_attention() -> Iterator[None]:
    """Attention by products and softmax: the fused forms have no batched one."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
