"""What happens to gradients and parameters after a backward pass: penalties, clipping, update rules."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foldtune.train.packed.rules import Hyper, Rule, Slices
from foldtune.train.packed.store import Block, Store

NEUTRAL = {"l1": 0.0, "l2": 0.0, "clip_value": np.inf, "clip_norm": np.inf}


class Regularizer:
    """`foldtune.train.regularize` for all models of a stack.

    Args:
        blocks: the parameters; sums over them go by name, so that who shares the stack changes no bit.
        settings: strengths by the names of NEUTRAL, (M, 1) each; those that no model has may be absent.
    """

    def __init__(self, blocks: Sequence[Block], settings: dict[str, Tensor]) -> None:
        self.blocks = sorted(blocks, key=lambda block: block.name)
        self.settings = settings

    def __call__(self, losses: Tensor) -> Tensor:  # (M,) -> (M,)
        """Change gradients in place; the losses with the penalties."""
        if "l1" in self.settings or "l2" in self.settings:
            losses = losses + self._penalise(losses)
        if "clip_value" in self.settings:
            for block in self.blocks:
                largest = self.settings["clip_value"][block.start : block.stop]
                block.grad.flat.clamp_(-largest, largest)
        if "clip_norm" in self.settings:
            self._clip_norm()
        return losses

    def _penalise(self, losses: Tensor) -> Tensor:
        total = torch.zeros_like(losses)
        for block in self.blocks:
            if block.param.view.dim() < 3:  # biases and norms have no penalty
                continue
            rows, weights = slice(block.start, block.stop), block.param.flat
            for name, cost, slope in (("l1", weights.abs(), weights.sign()), ("l2", weights * weights, 2 * weights)):
                if name in self.settings:
                    strength = self.settings[name][rows]
                    total[rows] += (strength * cost).sum(1)
                    block.grad.flat.add_(strength * slope)
        return total

    def _clip_norm(self) -> None:
        largest = self.settings["clip_norm"]
        squares = torch.zeros_like(largest)
        for block in self.blocks:
            norms = torch.linalg.vector_norm(block.grad.flat, dim=1, keepdim=True)
            squares[block.start : block.stop] += norms * norms
        factors = (largest / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for block in self.blocks:
            block.grad.flat.mul_(factors[block.start : block.stop])


class Update:
    """The update of models with one set of hyperparameters.

    Args:
        store: the parameters.
        start: the first model.
        stop: the first model after them.
        rule: their optimizer's.
    """

    def __init__(self, store: Store, start: int, stop: int, rule: Rule) -> None:
        own = [block for block in store.blocks if block.start <= start and stop <= block.stop]
        spans = [slice(start - block.start, stop - block.start) for block in own]
        pairs = list(zip(own, spans, strict=True))
        step = torch.zeros((), device=own[0].param.flat.device if own else "cpu")
        self.rule = rule
        self.slices = Slices(
            [block.param.flat[span] for block, span in pairs],
            [block.grad.flat[span] for block, span in pairs],
            [block.moments[0].flat[span] for block, span in pairs],
            [block.moments[1].flat[span] for block, span in pairs],
            [step] * len(own),
        )

    def __call__(self, hyper: Hyper) -> None:
        """One step."""
        if self.slices.params:
            self.rule.update_(self.slices, hyper)
