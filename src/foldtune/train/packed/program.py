"""A net's forward pass as a list of operations that have stacked kernels."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from foldtune.train.packed.kernel import Bind


@dataclass(frozen=True)
class Op:
    """One operation of a net.

    Args:
        name: of what it gives.
        sources: names of what it reads.
        text: the same for operations that one kernel can compute, whatever their weights and dropout rates.
        shape: of one row of what it gives.
        bind: makes its kernel.
        params: its parameters, by the names that the kernel uses: names in the net.
        buffers: its buffers likewise.
        dropout: its rate, if it is one.
        integer: whether it gives codes.
    """

    name: str
    sources: tuple[str, ...]
    text: str
    shape: tuple[int, ...]
    bind: Bind
    params: Mapping[str, str] = field(default_factory=dict)
    buffers: Mapping[str, str] = field(default_factory=dict)
    dropout: float | None = None
    integer: bool = False

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product, of which one of many models is much cheaper than many."""
        return self.text.startswith("Linear(")

    def may_overwrite(self, producer: "Op") -> bool:
        """Whether it can write over what `producer` gave it: neither needs that in its backward pass.

        What a product gives stays: it lies at one place in all nets that share the product, whatever comes after it.
        A rectifier needs the signs of what it gave, which dropout leaves as they are wherever a gradient passes.
        """
        own = self.text.startswith(("Dropout", "ReLU(", "Tanh(", "Sigmoid("))
        rectified = producer.text.startswith("ReLU(") and self.text.startswith("Dropout")
        plain = producer.text.startswith(("BatchNorm1d(", "LayerNorm(", "RMSNorm(", "GELU(", "SiLU("))
        return own and len(self.shape) == 1 and (plain or rectified)


@dataclass(frozen=True, eq=False)
class Program:
    """A forward pass.

    Args:
        ops: in order.
        output: name of the answer.
        shapes: of one row of each input.
        whole: why `vmap` runs the net as a whole; None where its parts have kernels.
    """

    ops: tuple[Op, ...]
    output: str
    shapes: Mapping[str, tuple[int, ...]]
    whole: str | None = None

    @cached_property
    def slots(self) -> dict[str, str]:
        """Where each value lies. What a product reads lies at a place named by the product, whoever writes it: nets
        that differ between their products then still share these. What nobody needs again is overwritten."""
        slots = {name: name for name in (*self.shapes, *(op.name for op in self.ops))} | {self.output: "answer"}
        readers = Counter(source for op in self.ops for source in op.sources)
        for op in reversed(self.ops):
            (source, *more) = op.sources
            if source in self.shapes or more:
                continue
            if op.is_product:
                slots[source] = f"{op.name}.input"
            elif readers[source] == 1 and source != self.output and op.may_overwrite(self.by_name[source]):
                slots[source] = slots[op.name]
        return slots

    @cached_property
    def by_name(self) -> dict[str, Op]:
        """Operations by what they give."""
        return {op.name: op for op in self.ops}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the operations give, in order."""
        return tuple(op.name for op in self.ops)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of one row of a value."""
        return self.shapes[name] if name in self.shapes else self.by_name[name].shape

    def needs_grad(self, name: str) -> bool:
        """Whether a value depends on a parameter."""
        return name in self._trained

    @cached_property
    def _trained(self) -> frozenset[str]:
        found: set[str] = set()
        for op in self.ops:
            if op.params or found & set(op.sources):
                found.add(op.name)
        return frozenset(found)

    @cached_property
    def text(self) -> str:
        """The same for nets of the same structure, whatever their weights and dropout rates."""
        lines = [f"{op.name} = {op.text} of {op.sources} {op.shape} {op.params}" for op in self.ops]
        return "\n".join([str(self.shapes), *lines, self.output])
