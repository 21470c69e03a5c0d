"""Steps as CUDA graphs: one call on the host instead of one for each kernel."""

import logging
from collections.abc import Callable

import torch

logger = logging.getLogger("foldtune")

Call = Callable[[], object]
Capture = Callable[[Call], Call]
"""From a call that has been made before to one that does the same; the call itself must have no effect but on tensors
that outlive it."""

WARM_UP = 3
"""Calls before the capture: libraries set themselves up in the first ones."""


class Replayed:
    """A step that is captured after some calls, and from then on replayed; each call is one step.

    Args:
        step: reads and writes tensors that stay where they are, and nothing else.
        capture: makes the replay.
    """

    def __init__(self, step: Call, capture: Capture) -> None:
        self.step, self.capture, self.calls = step, capture, 0

    def __call__(self) -> None:
        if self.calls == WARM_UP:
            self.step = self._captured()
        self.calls += 1
        self.step()

    def _captured(self) -> Call:
        try:
            return self.capture(self.step)
        except RuntimeError as error:  # an operation that waits for the device, say
            logger.warning("Steps run kernel by kernel, for they cannot be captured: %s", error.__context__ or error)
            return self.step


def cuda_graph(device: torch.device) -> Capture:
    """Captures on a device, without running anything."""

    def capture(step: Call) -> Call:
        graph = torch.cuda.CUDAGraph()
        here = torch.cuda.current_stream(device)  # put back, even where the capture itself fails to end
        with torch.cuda.stream(here), torch.cuda.graph(graph):
            step()
        return graph.replay

    return capture
