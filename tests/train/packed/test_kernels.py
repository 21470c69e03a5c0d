"""Every kernel by itself: answers, gradients and buffers of m models against autograd on each, in float64."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foldtune import seeds
from foldtune.errors import NotPackable
from foldtune.train.packed.buffers import LANES, Buffer, buffer
from foldtune.train.packed.kernel import Bind, Place
from foldtune.train.packed.kernels.elementwise import FUNCTIONS, Add, Dropout
from foldtune.train.packed.kernels.layers import ELEMENTWISE, kernel_of
from foldtune.train.packed.kernels.shapes import Cat, Column
from foldtune.train.packed.masks import Masks

M, B = 3, 5
LIKE = torch.empty(0, dtype=torch.float64)

WIDE, LONG, IMAGE, VOLUME = (6,), (4, 7), (4, 5, 7), (2, 3, 4, 5)
LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    *((layer() if layer is not nn.Threshold else nn.Threshold(0.1, 0.2), WIDE) for layer in (*FUNCTIONS, *ELEMENTWISE)),
    *((layer, IMAGE) for layer in (nn.ReLU(), nn.Softplus(), nn.PReLU(4), nn.LeakyReLU(0.3), nn.GELU("tanh"))),
    *((layer, WIDE) for layer in (nn.Linear(6, 3), nn.Linear(6, 3, bias=False), nn.PReLU(6), nn.PReLU())),
    (nn.Linear(7, 3), LONG),
    (nn.Linear(7, 3, bias=False), IMAGE),
    *(
        (nn.BatchNorm1d(6, **some), WIDE)
        for some in ({"momentum": 0.3}, {"affine": False, "track_running_stats": False})
    ),
    *((layer, WIDE) for layer in (nn.LayerNorm(6), nn.LayerNorm(6, bias=False), nn.RMSNorm(6), nn.RMSNorm(6, eps=0.1))),
    *((layer, WIDE) for layer in (nn.GroupNorm(2, 6), nn.GroupNorm(3, 6, affine=False))),
    (nn.BatchNorm1d(4), LONG),
    (nn.BatchNorm2d(4, momentum=0.3, eps=0.1), IMAGE),
    (nn.BatchNorm2d(4, affine=False, track_running_stats=False), IMAGE),
    (nn.BatchNorm3d(2), VOLUME),
    *((layer, IMAGE) for layer in (nn.LayerNorm([4, 5, 7]), nn.LayerNorm(7), nn.RMSNorm([5, 7]), nn.GroupNorm(2, 4))),
    *((layer, IMAGE) for layer in (nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True))),
    (nn.Conv1d(4, 3, 3, padding=1), LONG),
    (nn.Conv2d(4, 6, 3, stride=2, dilation=(1, 2), groups=2, padding="valid"), IMAGE),
    (nn.Conv2d(4, 3, (3, 5), padding="same", dilation=(2, 1), bias=False), IMAGE),
    (nn.Conv3d(2, 3, 2), VOLUME),
    (nn.ConvTranspose1d(4, 3, 3), LONG),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), IMAGE),
    (nn.ConvTranspose3d(2, 3, 2), VOLUME),
    *((layer, LONG) for layer in (nn.MaxPool1d(2), nn.AvgPool1d(3), nn.AdaptiveAvgPool1d(2), nn.AdaptiveMaxPool1d(3))),
    *((layer, IMAGE) for layer in (nn.MaxPool2d(3, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten())),
    *(
        (layer, IMAGE)
        for layer in (nn.AdaptiveMaxPool2d(3), nn.ZeroPad2d(1), nn.PixelShuffle(2), nn.Upsample(scale_factor=2))
    ),
    *(
        (layer, VOLUME)
        for layer in (nn.MaxPool3d(2), nn.AvgPool3d(2), nn.AdaptiveAvgPool3d(2), nn.AdaptiveMaxPool3d(2))
    ),
    (nn.LocalResponseNorm(2), IMAGE),
]
over_layers = pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[f"{layer} {shape}" for layer, shape in LAYERS])


def filled(values: Tensor, *, columns: bool | None = None) -> Buffer:
    """A buffer with values; what pads it must not matter."""
    found = buffer(M, B, values.shape[2:], LIKE.to(values.dtype), columns=columns)
    if values.is_floating_point():
        found.flat.fill_(torch.nan)
    found.rows.copy_(values)
    return found


def padded(values: Tensor) -> Tensor:
    """Each model's numbers at the beginning of a slab of its own, as the store keeps them."""
    size = values[0].numel()
    flat = torch.zeros(M, size + -size % LANES, dtype=values.dtype)
    view = flat[:, :size].view(values.shape)
    return view.copy_(values)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Equal but for sums in another order, in float64."""
    torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


def random(*shape: int) -> Tensor:
    return torch.randn(M, B, *shape, dtype=torch.float64, generator=seeds.generator(0, "values", *shape))


def nets_of(layer: nn.Module) -> list[nn.Module]:
    """Copies with parameters of their own."""
    nets = [copy.deepcopy(layer).double() for _ in range(M)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for net in nets:
            for parameter in net.parameters():
                parameter.copy_(torch.randn_like(parameter))
    return nets


def stacked(nets: list[nn.Module], kind: str) -> dict[str, Tensor]:
    named = [dict(getattr(net, kind)()) for net in nets]
    return {name: padded(torch.stack([own[name].detach() for own in named])) for name in named[0]}


def place_of(inputs: list[Buffer], out: Tensor, nets: list[nn.Module], *, wanted: bool = True) -> Place:
    """A place in training; gradients must be overwritten, not added to."""
    params = stacked(nets, "named_parameters")
    return Place(
        inputs=tuple(inputs),
        output=filled(torch.full_like(out, torch.nan)),
        params=params,
        buffers=stacked(nets, "named_buffers"),
        grad_inputs=tuple(
            filled(torch.full_like(part.rows, torch.nan), columns=part.columns) if wanted else None for part in inputs
        ),
        grad_output=filled(random(*out.shape[2:]) + 1),
        grads={name: padded(torch.full_like(param, torch.nan)) for name, param in params.items()},
    )


@contextlib.contextmanager
def _other_numbers(place: Place) -> Iterator[None]:
    """Inputs and buffers that are gone afterwards."""
    values = [part.rows for part in place.inputs] + list(place.buffers.values())
    before = [value.clone() for value in values]
    for part in place.inputs:
        part.rows.copy_(part.rows * 2 + 1 if part.rows.is_floating_point() else part.rows)
    yield
    for value, kept in zip(values, before, strict=True):
        value.copy_(kept)


def check_against(place: Place, bind: Bind, answers: list[Tensor], leaves: list[list[Tensor]]) -> None:
    """Forward and backward of a kernel, against each model's own answer and the gradients of its leaves."""
    kernel = bind(place)
    with torch.no_grad():
        for step in (_other_numbers, contextlib.nullcontext):  # nothing of a step is left behind
            with step(place):
                kernel.forward()
                kernel.backward()
    assert_close(place.output.rows, torch.stack(answers).detach())
    found = [*(grad.rows for grad in place.grad_inputs if grad is not None), *place.grads.values()]
    for model, (answer, own) in enumerate(zip(answers, leaves, strict=True)):
        wanted = torch.autograd.grad(answer, own, place.grad.rows[model]) if own else ()
        for ours, theirs in zip(found, wanted, strict=True):
            assert_close(ours[model], theirs)


ORDERED = [(*case, order) for case in LAYERS for order in ((True, False) if len(case[1]) == 1 else (False,))]
"""With the order of the input's memory: rows of one dimension may lie in columns."""


@pytest.mark.parametrize(("layer", "shape", "columns"), ORDERED, ids=str)
def test_gradients_are_those_of_autograd(layer: nn.Module, shape: tuple[int, ...], columns: bool) -> None:
    nets, x = nets_of(layer), random(*shape)
    given = [x[model].clone().requires_grad_() for model in range(M)]
    trained = nets_of(layer)
    answers = [net.train()(part) for net, part in zip(trained, given, strict=True)]
    bind = kernel_of(layer, "layer", shape, tuple(answers[0].shape[1:]))
    place = place_of([filled(x, columns=columns)], torch.stack(answers), nets)
    check_against(place, bind, answers, [[part, *net.parameters()] for part, net in zip(given, trained, strict=True)])
    for name, values in stacked(trained, "named_buffers").items():
        assert_close(place.buffers[name], values)


@over_layers
def test_answers_after_training_are_the_layers_own(layer: nn.Module, shape: tuple[int, ...]) -> None:
    nets, x = nets_of(layer), random(*shape)
    for net in nets:
        net.train()(2 * x[0] + 1)
    place = Place((filled(x),), filled(x), stacked(nets, "named_parameters"), stacked(nets, "named_buffers"))
    answers = torch.stack([net.eval()(part) for net, part in zip(nets, x, strict=True)]).detach()
    place = replace(place, output=filled(torch.full_like(answers, torch.nan)))
    with torch.no_grad():
        kernel_of(layer, "layer", shape, tuple(answers.shape[2:]))(place).forward()
    assert_close(place.output.rows, answers)


@over_layers
def test_the_first_layer_wants_no_gradient_of_its_input(layer: nn.Module, shape: tuple[int, ...]) -> None:
    nets, trained, x = nets_of(layer), nets_of(layer), random(*shape)
    answers = [net.train()(part) for net, part in zip(trained, x, strict=True)]
    place = place_of([filled(x, columns=False)], torch.stack(answers), nets, wanted=False)
    bind = kernel_of(layer, "layer", shape, tuple(answers[0].shape[1:]))
    check_against(place, bind, answers, [list(net.parameters()) for net in trained])


def test_tables_of_embeddings_get_the_sum_of_their_rows_gradients() -> None:
    trained = nets_of(nn.Embedding(3, 4))
    codes = torch.randint(3, (M, B), generator=seeds.generator(0, "codes"))
    answers = [net(part) for net, part in zip(trained, codes, strict=True)]
    place = replace(place_of([], torch.stack(answers), trained), inputs=(filled(codes, columns=False),))
    bind = kernel_of(trained[0], "layer", (), (4,))
    check_against(place, bind, answers, [list(net.parameters()) for net in trained])


ORDERS = [(True, True), (False, True), (True, False), (False, False)]
PAIRS: list[tuple[Bind, Callable[[Tensor, Tensor], Tensor]]] = [
    (Add, torch.add),
    (Cat, lambda first, second: torch.cat([first, second], 1)),
]


@pytest.mark.parametrize(("bind", "function"), PAIRS, ids=["add", "cat"])
@pytest.mark.parametrize("columns", ORDERS, ids=str)
def test_functions_of_two_values(bind: Bind, function: Any, columns: tuple[bool, bool]) -> None:
    """Whatever order their numbers lie in."""
    pair = [random(6), random(6) * 2 + 1]
    given = [[part[model].clone().requires_grad_() for part in pair] for model in range(M)]
    answers = [function(*own) for own in given]
    inputs = [filled(part, columns=order) for part, order in zip(pair, columns, strict=True)]
    check_against(place_of(inputs, torch.stack(answers), [nn.Identity()] * M), bind, answers, given)


def test_a_column_of_codes_is_copied() -> None:
    codes = torch.randint(3, (M, B, 2), generator=seeds.generator(0, "codes"))
    place = Place((filled(codes, columns=False),), filled(codes[:, :, 0] * 0, columns=False))
    Column(place, 1).forward()
    assert torch.equal(place.output.rows, codes[:, :, 1])


@pytest.mark.parametrize("shape", [WIDE, IMAGE], ids=str)
@pytest.mark.parametrize("columns", [True, False], ids=["columns", "rows"])
def test_dropout_scales_what_it_keeps_and_its_gradient_likewise(shape: tuple[int, ...], columns: bool) -> None:
    x, rates = random(*shape), torch.tensor([0.2, 0.0, 0.5], dtype=torch.float64)
    place = place_of([filled(x, columns=columns and len(shape) == 1)], x, [nn.Identity()] * M)
    masks = Masks(rates, x[0].numel())
    masks.start_epoch([(0, model) for model in range(M)], [1] * M, "layer")
    kernel, kept, steps = Dropout(replace(place, masks=masks)), torch.zeros(M, dtype=torch.float64), 100
    for _ in range(steps):
        kernel.forward()
        kernel.backward()
        factors = place.output.rows / x
        kept += (factors != 0).double().flatten(1).mean(1) / steps
        for model, rate in enumerate(rates):
            whole = factors[model][factors[model] != 0]
            assert_close(whole, torch.full_like(whole, float(1 / (1 - rate))))
        (grad,) = place.grad_inputs
        assert grad is not None
        assert_close(grad.rows, place.grad.rows * factors)
    torch.testing.assert_close(kept, 1 - rates, atol=0.05, rtol=0.0)  # 3000 numbers: five standard deviations


@pytest.mark.parametrize(
    ("layer", "shape", "match"),
    [
        (nn.Conv2d(4, 3, 2, padding="same"), IMAGE, "`padding: same` of an even `kernel_size`"),
        (nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), IMAGE, "`padding_mode: reflect`"),
        (nn.InstanceNorm2d(4, track_running_stats=True), IMAGE, "an instance norm with `track_running_stats`"),
        (nn.BatchNorm1d(6, momentum=None), WIDE, "counts its batches"),
        (nn.Embedding(3, 4, padding_idx=0), (), "an embedding with `padding_idx`"),
        (nn.Flatten(2), IMAGE, "`Flatten` of some dimensions alone"),
        (nn.Bilinear(2, 2, 2), (2,), "`Bilinear` (at `layer`) has no stacked kernel"),
    ],
    ids=lambda value: str(value),
)
def test_layers_without_kernels(layer: nn.Module, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(NotPackable) as found:
        kernel_of(layer, "layer", shape, shape)
    assert match in str(found.value)
