"""Kernels that move numbers and change none."""

from foldtune.train.packed.kernel import Place


class Cat:
    """Values side by side: (m, B, C1), (m, B, C2), ... -> (m, B, C1 + C2 + ...)."""

    def __init__(self, place: Place) -> None:
        widths = [source.rows.shape[2] for source in place.inputs]
        ends = [sum(widths[: index + 1]) for index in range(len(widths))]
        spans = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
        self.copies = [
            (place.output.rows[:, :, span], part.rows) for span, part in zip(spans, place.inputs, strict=True)
        ]
        if place.training:
            grads = zip(spans, place.grad_inputs, strict=True)
            self.back = [(part.rows, place.grad.rows[:, :, span]) for span, part in grads if part is not None]

    def forward(self) -> None:
        for there, here in self.copies:
            there.copy_(here)

    def backward(self) -> None:
        for there, here in self.back:
            there.copy_(here)


class Flatten:
    """(m, B, ...) -> (m, B, C), from memory in rows to memory in columns."""

    def __init__(self, place: Place) -> None:
        (source,) = place.inputs
        self.x, self.out = source.rows.flatten(2), place.output.rows
        if place.training:
            (grad_x,) = place.grad_inputs
            self.grad, self.grad_x = place.grad.rows, grad_x.rows.flatten(2) if grad_x is not None else None

    def forward(self) -> None:
        self.out.copy_(self.x)

    def backward(self) -> None:
        if self.grad_x is not None:
            self.grad_x.copy_(self.grad)


class Column:
    """Codes of one categorical column: (m, B, Q) -> (m, B)."""

    def __init__(self, place: Place, column: int) -> None:
        (source,) = place.inputs
        self.x, self.out = source.rows[:, :, column], place.output.rows

    def forward(self) -> None:
        self.out.copy_(self.x)

    def backward(self) -> None:
        """Codes have no gradient."""
