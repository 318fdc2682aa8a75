"""Each operation against eager torch: a package made by coremltools' builder or torch front end, opened again and executed."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from squeeze_export.errors import ArtifactError, UnsupportedOperationError
from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil.arguments import Arguments
from squeeze_export.validation.mil.ops import OPERATIONS

Case = tuple[str, Callable[[Any, Any], Any], Callable[[torch.Tensor], torch.Tensor]]
SHAPE = (2, 6, 5, 8)
_WEIGHT = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
_KERNEL = np.linspace(-1, 1, 4 * 3 * 2 * 3, dtype=np.float32).reshape(4, 3, 2, 3)

_EINSUM = np.linspace(-1, 1, 8 * 5 * 3, dtype=np.float32).reshape(1, 8, 5, 3)
_UPDATES = np.linspace(-1, 1, 2 * 6 * 2 * 8, dtype=np.float32).reshape(2, 6, 2, 8)
_LEVELS = torch.sin(torch.arange(8) * 0.7).numpy()
_INDICES = (np.arange(2 * 6 * 5 * 4, dtype=np.int32) * 5 % 8).reshape(2, 6, 5, 4)


def _vector(count: int, start: float) -> np.ndarray:
    return np.arange(count, dtype=np.float32) / 8 + np.float32(start)


def _comparison(name: str, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Case:
    """With a row of which some are equal; as numbers, for a program's outputs are no booleans."""
    return (
        name,
        lambda mb, x: mb.cast(x=getattr(mb, name)(x=x, y=_LEVELS), dtype="fp32"),
        lambda x: function(x, torch.from_numpy(_LEVELS)).float(),
    )


# One entry or more per operation of the table: how the builder writes it, and what torch computes.
CASES: tuple[Case, ...] = (
    ("abs", lambda mb, x: mb.abs(x=x), torch.abs),
    ("add", lambda mb, x: mb.add(x=x, y=_vector(8, 1)), lambda x: x + torch.from_numpy(_vector(8, 1))),
    ("sub", lambda mb, x: mb.sub(x=_vector(8, 1), y=x), lambda x: torch.from_numpy(_vector(8, 1)) - x),
    ("mul", lambda mb, x: mb.mul(x=x, y=np.float32(0.3)), lambda x: x * 0.3),
    ("real_div", lambda mb, x: mb.real_div(x=x, y=_vector(8, 1)), lambda x: x / torch.from_numpy(_vector(8, 1))),
    ("maximum", lambda mb, x: mb.maximum(x=x, y=np.float32(0.2)), lambda x: x.clamp(min=0.2)),
    ("minimum", lambda mb, x: mb.minimum(x=x, y=np.float32(0.2)), lambda x: x.clamp(max=0.2)),
    ("pow", lambda mb, x: mb.pow(x=mb.abs(x=x), y=np.float32(1.5)), lambda x: x.abs() ** 1.5),
    ("batch_norm", *(lambda m, v, g, b: (
        lambda mb, x: mb.batch_norm(x=x, mean=m, variance=v, gamma=g, beta=b, epsilon=np.float32(1e-3)),
        lambda x: (x - torch.from_numpy(m).view(1, 6, 1, 1)) / torch.sqrt(torch.from_numpy(v).view(1, 6, 1, 1) + 1e-3)
        * torch.from_numpy(g).view(1, 6, 1, 1) + torch.from_numpy(b).view(1, 6, 1, 1),
    ))(_vector(6, 0), _vector(6, 1), _vector(6, 2), _vector(6, -1))),
    ("cast", lambda mb, x: mb.cast(x=mb.cast(x=mb.mul(x=x, y=np.float32(7)), dtype="int32"), dtype="fp32"),
     lambda x: (x * 7).trunc()),
    ("clip", lambda mb, x: mb.clip(x=x, alpha=np.float32(-0.5), beta=np.float32(0.25)), lambda x: x.clamp(-0.5, 0.25)),
    ("concat", lambda mb, x: mb.concat(values=[x, mb.relu(x=x)], axis=-2), lambda x: torch.cat((x, x.relu()), -2)),
    ("stack", lambda mb, x: mb.stack(values=[x, mb.relu(x=x)], axis=1), lambda x: torch.stack((x, x.relu()), 1)),
    ("split", lambda mb, x: mb.split(x=x, num_splits=3, axis=1)[1], lambda x: x[:, 2:4]),
    ("split", lambda mb, x: mb.split(x=x, split_sizes=[1, 7], axis=-1)[1], lambda x: x[..., 1:]),
    ("exp", lambda mb, x: mb.exp(x=x), torch.exp),
    ("log", lambda mb, x: mb.log(x=mb.abs(x=x), epsilon=np.float32(0.5)), lambda x: (x.abs() + 0.5).log()),
    ("sqrt", lambda mb, x: mb.sqrt(x=mb.abs(x=x)), lambda x: x.abs().sqrt()),
    ("square", lambda mb, x: mb.square(x=x), torch.square),
    ("expand_dims", lambda mb, x: mb.expand_dims(x=mb.reduce_sum(x=x, axes=[1, 2], keep_dims=False), axes=[-1, 0]),
     lambda x: x.sum((1, 2))[None, ..., None]),
    ("identity", lambda mb, x: mb.identity(x=x), lambda x: x),
    ("leaky_relu", lambda mb, x: mb.leaky_relu(x=x, alpha=np.float32(0.2)), lambda x: functional.leaky_relu(x, 0.2)),
    ("linear", lambda mb, x: mb.linear(x=x, weight=_WEIGHT, bias=_vector(3, 0)),
     lambda x: functional.linear(x, torch.from_numpy(_WEIGHT), torch.from_numpy(_vector(3, 0)))),
    ("matmul", lambda mb, x: mb.matmul(x=x, y=_WEIGHT, transpose_y=True), lambda x: x @ torch.from_numpy(_WEIGHT).T),
    ("matmul", lambda mb, x: mb.matmul(x=x, y=x, transpose_x=True), lambda x: x.transpose(-1, -2) @ x),
    ("pad", lambda mb, x: mb.pad(x=x, pad=[1, 2, 0, 3], constant_val=np.float32(0.5)),
     lambda x: functional.pad(x, (0, 3, 1, 2), value=0.5)),
    ("pad", lambda mb, x: mb.pad(x=x, pad=[1, 2, 0, 3], mode="reflect"),
     lambda x: functional.pad(x, (0, 3, 1, 2), mode="reflect")),
    ("pad", lambda mb, x: mb.pad(x=x, pad=[1, 2, 0, 3], mode="replicate"),
     lambda x: functional.pad(x, (0, 3, 1, 2), mode="replicate")),
    ("reduce_max", lambda mb, x: mb.reduce_max(x=x, axes=[1], keep_dims=True), lambda x: x.amax(1, keepdim=True)),
    ("reduce_min", lambda mb, x: mb.reduce_min(x=x, axes=[-1, 0]), lambda x: x.amin((0, 3))),
    ("reduce_mean", lambda mb, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True), lambda x: x.mean((2, 3), keepdim=True)),
    ("reduce_sum", lambda mb, x: mb.reduce_sum(x=x, axes=[2]), lambda x: x.sum(2)),
    ("relu", lambda mb, x: mb.relu(x=x), torch.relu),
    ("relu6", lambda mb, x: mb.relu6(x=mb.mul(x=x, y=np.float32(9))), lambda x: functional.relu6(9 * x)),
    ("reshape", lambda mb, x: mb.reshape(x=x, shape=[0, -1, 4, 4]), lambda x: x.reshape(2, -1, 4, 4)),
    ("reverse", lambda mb, x: mb.reverse(x=x, axes=[1, -1]), lambda x: x.flip(1, 3)),
    ("reverse", lambda mb, x: mb.reverse(x=x), lambda x: x.flip(0, 1, 2, 3)),
    ("sigmoid", lambda mb, x: mb.sigmoid(x=x), torch.sigmoid),
    ("silu", lambda mb, x: mb.silu(x=x), functional.silu),
    ("tanh", lambda mb, x: mb.tanh(x=x), torch.tanh),
    ("slice_by_index", lambda mb, x: mb.slice_by_index(
        x=x, begin=[0, 4, 9, 1], end=[1, 0, 9, 6], stride=[1, -2, 1, 2], begin_mask=[False, False, True, False],
        end_mask=[False, False, True, False], squeeze_mask=[True, False, False, False]),
     lambda x: x[0][[4, 2]][:, :, 1:6:2]),
    ("slice_by_index", lambda mb, x: mb.slice_by_index(
        x=x, begin=[0, 0, 0, -1], end=[0, 0, 0, 0], begin_mask=[True] * 3 + [False], end_mask=[True] * 4,
        stride=[1, 1, -1, 1], squeeze_mask=[False, False, False, True]),
     lambda x: x.flip(2)[..., -1]),
    ("slice_by_size", lambda mb, x: mb.slice_by_size(x=x, begin=[0, 2, 1, 0], size=[2, 3, -1, 8]), lambda x: x[:, 2:5, 1:]),
    ("softmax", lambda mb, x: mb.softmax(x=x, axis=1), lambda x: x.softmax(1)),
    ("squeeze", lambda mb, x: mb.squeeze(x=mb.reduce_sum(x=x, axes=[1, 2], keep_dims=True), axes=[2]),
     lambda x: x.sum((1, 2), keepdim=True).squeeze(2)),
    ("transpose", lambda mb, x: mb.transpose(x=x, perm=[0, 2, 3, 1]), lambda x: x.permute(0, 2, 3, 1)),
    ("conv", lambda mb, x: mb.conv(x=x, weight=_KERNEL, pad_type="custom", pad=[0, 1, 2, 0], groups=2, strides=[1, 2]),
     lambda x: functional.conv2d(functional.pad(x, (2, 0, 0, 1)), torch.from_numpy(_KERNEL), stride=(1, 2), groups=2)),
    ("conv", lambda mb, x: mb.conv(x=x, weight=_KERNEL, pad_type="same", groups=2, bias=_vector(4, 0)),
     lambda x: functional.conv2d(functional.pad(x, (1, 1, 0, 1)), torch.from_numpy(_KERNEL), torch.from_numpy(_vector(4, 0)),
                                 groups=2)),
    ("conv", lambda mb, x: mb.conv(x=x, weight=_KERNEL, pad_type="same_lower", groups=2),
     lambda x: functional.conv2d(functional.pad(x, (1, 1, 1, 0)), torch.from_numpy(_KERNEL), groups=2)),
    _comparison("equal", torch.eq),
    _comparison("not_equal", torch.ne),
    _comparison("greater", torch.gt),
    _comparison("greater_equal", torch.ge),
    _comparison("less", torch.lt),
    _comparison("less_equal", torch.le),
    ("logical_and", lambda mb, x: mb.cast(
        x=mb.logical_and(x=mb.greater(x=x, y=np.float32(0)), y=mb.less(x=x, y=_LEVELS)), dtype="fp32"),
     lambda x: torch.logical_and(x > 0, x < torch.from_numpy(_LEVELS)).float()),
    ("logical_or", lambda mb, x: mb.cast(
        x=mb.logical_or(x=mb.greater(x=x, y=np.float32(0)), y=mb.less(x=x, y=_LEVELS)), dtype="fp32"),
     lambda x: torch.logical_or(x > 0, x < torch.from_numpy(_LEVELS)).float()),
    ("logical_not", lambda mb, x: mb.cast(x=mb.logical_not(x=mb.greater(x=x, y=np.float32(0))), dtype="fp32"),
     lambda x: (x <= 0).float()),
    ("select", lambda mb, x: mb.select(cond=mb.greater(x=x, y=np.float32(0)), a=x, b=mb.exp(x=x)),
     lambda x: torch.where(x > 0, x, x.exp())),
    ("scatter", lambda mb, x: mb.scatter(data=x, indices=[3, 0], updates=_UPDATES, axis=-2, mode="update"),
     lambda x: torch.stack((torch.from_numpy(_UPDATES[:, :, 1]), x[:, :, 1], x[:, :, 2], torch.from_numpy(_UPDATES[:, :, 0]),
                            x[:, :, 4]), 2)),
    ("inverse", lambda mb, x: mb.inverse(x=mb.abs(x=x), epsilon=np.float32(0.5)), lambda x: 1 / (x.abs() + 0.5)),
    ("threshold", lambda mb, x: mb.threshold(x=x, alpha=np.float32(0.2)), lambda x: x.clamp(min=0.2)),
    ("floor", lambda mb, x: mb.floor(x=mb.mul(x=x, y=np.float32(9))), lambda x: (9 * x).floor()),
    ("ceil", lambda mb, x: mb.ceil(x=mb.mul(x=x, y=np.float32(9))), lambda x: (9 * x).ceil()),
    ("round", lambda mb, x: mb.round(x=mb.mul(x=mb.round(x=mb.mul(x=x, y=np.float32(9))), y=np.float32(0.5))),
     lambda x: ((9 * x).round() / 2).round()),
    ("sign", lambda mb, x: mb.sign(x=mb.round(x=x)), lambda x: x.round().sign()),
    ("sin", lambda mb, x: mb.sin(x=x), torch.sin),
    ("cos", lambda mb, x: mb.cos(x=x), torch.cos),
    ("scaled_tanh", lambda mb, x: mb.scaled_tanh(x=x, alpha=np.float32(1.7), beta=np.float32(0.6)),
     lambda x: 1.7 * (0.6 * x).tanh()),
    ("linear_activation", lambda mb, x: mb.linear_activation(x=x, alpha=np.float32(1.7), beta=np.float32(0.6)),
     lambda x: 1.7 * x + 0.6),
    ("reduce_log_sum_exp", lambda mb, x: mb.reduce_log_sum_exp(x=x, axes=[1, -1]), lambda x: x.logsumexp((1, 3))),
    ("pixel_unshuffle", lambda mb, x: mb.pixel_unshuffle(x=mb.concat(values=[x, x], axis=2), downscale_factor=np.uint32(2)),
     lambda x: functional.pixel_unshuffle(torch.cat((x, x), 2), 2)),
    ("clip", lambda mb, x: mb.clip(x=x, alpha=np.float32(-0.5), beta=np.float32(np.inf)), lambda x: x.clamp(min=-0.5)),
    ("concat", lambda mb, x: mb.concat(values=[x, mb.relu(x=x), x], axis=-3, interleave=True),
     lambda x: torch.stack((x, x.relu(), x), 2).reshape(2, 18, 5, 8)),
    ("einsum", lambda mb, x: mb.einsum(values=(x, _EINSUM), equation="nchw,nwhu->nchu"),
     lambda x: torch.einsum("nchw,nwhu->nchu", x, torch.from_numpy(_EINSUM))),
    ("elu", lambda mb, x: mb.elu(x=x, alpha=np.float32(0.7)), lambda x: functional.elu(x, 0.7)),
    ("erf", lambda mb, x: mb.erf(x=x), torch.erf),
    ("gather", lambda mb, x: mb.gather(x=x, indices=[[3, 0], [1, 1]], axis=-2), lambda x: x[:, :, [[3, 0], [1, 1]]]),
    ("gather_along_axis", lambda mb, x: mb.gather_along_axis(x=x, indices=_INDICES, axis=3),
     lambda x: x.gather(3, torch.from_numpy(_INDICES).long())),
    ("gelu", lambda mb, x: mb.gelu(x=x), functional.gelu),
    ("gelu", lambda mb, x: mb.gelu(x=x, mode="TANH_APPROXIMATION"), lambda x: functional.gelu(x, approximate="tanh")),
    ("gelu", lambda mb, x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"), lambda x: x * torch.sigmoid(1.702 * x)),
    ("instance_norm", lambda mb, x: mb.instance_norm(x=x, gamma=_vector(6, 1), beta=_vector(6, -1), epsilon=np.float32(1e-3)),
     lambda x: functional.instance_norm(x, weight=torch.from_numpy(_vector(6, 1)), bias=torch.from_numpy(_vector(6, -1)),
                                        eps=1e-3)),
    ("l2_norm", lambda mb, x: mb.l2_norm(x=x, epsilon=np.float32(1e-3)),
     lambda x: x / (x.square().sum((1, 2, 3), keepdim=True) + 1e-3).sqrt()),
    ("layer_norm", lambda mb, x: mb.layer_norm(x=x, axes=[-1], gamma=_vector(8, 1), beta=_vector(8, 0), epsilon=np.float32(1e-3)),
     lambda x: functional.layer_norm(x, (8,), torch.from_numpy(_vector(8, 1)), torch.from_numpy(_vector(8, 0)), 1e-3)),
    ("layer_norm", lambda mb, x: mb.layer_norm(x=x, axes=[1], gamma=_vector(6, 1), beta=_vector(6, 0), epsilon=np.float32(1e-3)),
     lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (6,), torch.from_numpy(_vector(6, 1)),
                                     torch.from_numpy(_vector(6, 0)), 1e-3).permute(0, 3, 1, 2)),
    ("local_response_norm", lambda mb, x: mb.local_response_norm(x=x, size=3, alpha=np.float32(0.5), beta=np.float32(0.6),
                                                                 k=np.float32(1.5)),
     lambda x: functional.local_response_norm(x, 3, 0.5, 0.6, 1.5)),
    ("pixel_shuffle", lambda mb, x: mb.pixel_shuffle(x=mb.concat(values=[x, x], axis=1), upscale_factor=2),
     lambda x: functional.pixel_shuffle(torch.cat((x, x), 1), 2)),
    ("prelu", lambda mb, x: mb.prelu(x=x, alpha=_vector(6, -0.25)),
     lambda x: functional.prelu(x, torch.from_numpy(_vector(6, -0.25)))),
    ("reduce_l1_norm", lambda mb, x: mb.reduce_l1_norm(x=x, axes=[-1]), lambda x: x.abs().sum(-1)),
    ("reduce_l2_norm", lambda mb, x: mb.reduce_l2_norm(x=x, axes=[1, -1], keep_dims=True),
     lambda x: torch.linalg.vector_norm(x, dim=(1, 3), keepdim=True)),
    ("reduce_sum_square", lambda mb, x: mb.reduce_sum_square(x=x, axes=[2]), lambda x: x.square().sum(2)),
    ("rsqrt", lambda mb, x: mb.rsqrt(x=mb.abs(x=x), epsilon=np.float32(0.5)), lambda x: (x.abs() + 0.5).rsqrt()),
    ("sigmoid_hard", lambda mb, x: mb.sigmoid_hard(x=x, alpha=np.float32(1), beta=np.float32(0.25)),
     lambda x: (x + 0.25).clamp(0, 1)),
    ("softplus", lambda mb, x: mb.softplus(x=mb.mul(x=x, y=np.float32(40))), lambda x: functional.softplus(40 * x, threshold=99)),
    ("softsign", lambda mb, x: mb.softsign(x=x), functional.softsign),
    ("thresholded_relu", lambda mb, x: mb.thresholded_relu(x=x, alpha=np.float32(-0.5)), lambda x: x * (x >= -0.5)),
    ("tile", lambda mb, x: mb.tile(x=x, reps=[1, 2, 1, 3]), lambda x: x.repeat(1, 2, 1, 3)),
    ("upsample_bilinear", lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=np.int32(3),
                                                             align_corners=False),
     lambda x: functional.interpolate(x, scale_factor=(2, 3), mode="bilinear")),
    ("upsample_bilinear", lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=1),
     lambda x: functional.interpolate(x, scale_factor=(2, 1), mode="bilinear", align_corners=True)),
    ("upsample_nearest_neighbor", lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
     lambda x: functional.interpolate(x, scale_factor=(2, 3))),
    ("upsample_nearest_neighbor", lambda mb, x: mb.upsample_nearest_neighbor(
        x=x, scale_factor_height=np.float32(7 / 5), scale_factor_width=np.float32(1.5)),
     lambda x: functional.interpolate(x, size=(7, 12))),
    ("max_pool", lambda mb, x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[1, 2], pad_type="custom", pad=[1, 0, 2, 1]),
     lambda x: functional.max_pool2d(functional.pad(x, (2, 1, 1, 0), value=-math.inf), 3, (1, 2))),
    ("max_pool", lambda mb, x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="same"),
     lambda x: functional.max_pool2d(functional.pad(x, (0, 1, 1, 1), value=-math.inf), 3, 2)),
    ("max_pool", lambda mb, x: mb.max_pool(x=x, kernel_sizes=[2, 3], strides=[2, 2], pad_type="same_lower"),
     lambda x: functional.max_pool2d(functional.pad(x, (1, 0, 1, 0), value=-math.inf), (2, 3), 2)),
    ("avg_pool", lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[1, 1], pad_type="custom", pad=[1, 0, 0, 2],
                                           exclude_padding_from_average=False),
     lambda x: functional.avg_pool2d(functional.pad(x, (0, 2, 1, 0)), 3, 1)),
    ("avg_pool", lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="same",
                                           exclude_padding_from_average=True),
     lambda x: functional.avg_pool2d(functional.pad(x, (0, 1, 1, 1)), 3, 2)
     / functional.avg_pool2d(functional.pad(torch.ones_like(x), (0, 1, 1, 1)), 3, 2)),
)  # fmt: skip


ELSEWHERE = {"classify", "scaled_dot_product_attention"}  # see test_mil_runner and operations/test_mil_products


def test_every_operation_of_the_table_has_a_case():
    assert {name for name, _, _ in CASES} | ELSEWHERE == set(OPERATIONS)


def test_each_operation_computes_what_torch_computes(workshop):
    load_coremltools()
    from coremltools.converters.mil import Builder as mb

    def program(x):
        return tuple(build(mb, x) for _, build, _ in CASES)

    path = workshop.build(program, SHAPE, target="iOS17")
    loaded = workshop.load(path)
    assert {name for name, _, _ in CASES} <= {step.operation for step in loaded.steps}
    x = torch.sin(torch.arange(math.prod(SHAPE)) * 0.7).reshape(SHAPE)
    results = workshop.run(path, {"x": x.numpy()})
    assert len(loaded.outputs) == len(CASES)
    for (name, _, expected), value in zip(CASES, loaded.outputs, strict=True):
        np.testing.assert_allclose(results[value.name], expected(x).numpy(), rtol=2e-6, atol=2e-6, err_msg=name)


class Recorded(dict):
    """An operation's inputs, which remember the names that were asked for."""

    def __init__(self, values: Any, asked: set[str]) -> None:
        super().__init__(values)
        self.asked = asked

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


def test_no_input_that_an_opset_gives_an_operation_is_passed_over(workshop, monkeypatch):
    """A later opset may give an operation of the table a new input, such as upsample_bilinear's half_pixel_centers in iOS16."""
    load_coremltools()
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    asked: dict[str, set[str]] = {name: set() for name in OPERATIONS}

    def recording(name: str, function: Callable[[Arguments], Any]) -> Callable[[Arguments], Any]:
        return lambda a: function(Arguments(Recorded(a.values, asked[name])))

    for name, function in list(OPERATIONS.items()):
        monkeypatch.setitem(OPERATIONS, name, recording(name, function))
    path = workshop.build(lambda x: tuple(build(mb, x) for _, build, _ in CASES), SHAPE, target="iOS17", name="recorded")
    workshop.run(path, {"x": np.ones(SHAPE, np.float32)})
    given = {
        name: {key for version in SSAOpRegistry.core_ops[name].values() for key in version.input_spec.input_types}
        for name in OPERATIONS
    }
    assert "half_pixel_centers" in given["upsample_bilinear"]
    assert {name: given[name] - asked[name] for name in set(OPERATIONS) - ELSEWHERE if given[name] - asked[name]} == {}


class Pools(torch.nn.Module):
    """Many random pools side by side, of every parity of size, kernel, stride, padding and ceil_mode that torch takes."""

    def __init__(self, seed: int, count: int) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        pools: list[torch.nn.Module] = []
        for index in range(count):
            kernel = tuple(int(k) for k in random.integers(1, 5, 2))
            stride = tuple(int(random.integers(1, k + 1)) for k in kernel)
            padding = tuple(int(random.integers(0, k // 2 + 1)) for k in kernel)
            ceil = bool(random.integers(2))
            if index % 2:
                pools.append(torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil))
            else:
                pools.append(
                    torch.nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=bool(random.integers(2)))
                )
        self.pools = torch.nn.ModuleList(pools)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(pool(x) for pool in self.pools)


class Convolutions(torch.nn.Module):
    """Many random convolutions side by side: groups, strides, dilations, paddings, with and without bias."""

    def __init__(self, seed: int, count: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        random = np.random.default_rng(seed)
        layers = []
        for _ in range(count):
            kernel, dilation, padding, stride = (
                [int(value) for value in random.integers(low, high, 2)] for low, high in ((1, 4), (1, 3), (0, 3), (1, 4))
            )
            layers.append(
                torch.nn.Conv2d(
                    6,
                    12,
                    kernel,
                    stride,
                    padding,
                    dilation,
                    groups=int(random.choice([1, 2, 3, 6])),
                    bias=bool(random.integers(2)),
                )
            )
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


@pytest.mark.parametrize("kind", [Pools, Convolutions])
@pytest.mark.parametrize(("seed", "size"), [(0, (13, 12)), (1, (12, 13)), (2, (9, 9)), (3, (14, 10))])
def test_random_windows_match_torch(workshop, kind, seed, size):
    module = kind(seed, 12)
    names = [f"out{index}" for index in range(12)]
    path = workshop.convert(module, 1, 6, *size, outputs=names)
    x = torch.sin(torch.arange(6 * size[0] * size[1]) * 0.37).reshape(1, 6, *size) - 0.5
    with torch.inference_mode():
        expected = module(x)
    results = workshop.run(path, {"image": x.numpy()})
    for name, reference in zip(names, expected, strict=True):
        np.testing.assert_allclose(results[name], reference.numpy(), rtol=1e-5, atol=1e-6, err_msg=f"{name}: {module}")


def _call(operation: str, **values: Any) -> torch.Tensor:
    tensors = {key: torch.as_tensor(value) if not isinstance(value, str) else value for key, value in values.items()}
    result: torch.Tensor = OPERATIONS[operation](Arguments(tensors))
    return result


@pytest.mark.parametrize(
    ("operation", "values", "reason"),
    [
        (
            "max_pool",
            {"kernel_sizes": [1, 1], "strides": [3, 3], "pad_type": "valid", "ceil_mode": True},
            "wholly in its padding",
        ),
        ("max_pool", {"kernel_sizes": [2, 2], "pad_type": "custom", "pad": [2, 0, 0, 0]}, "wholly in its padding"),
        ("max_pool", {"kernel_sizes": [2, 2], "pad_type": "mirror"}, "mirror"),
        ("cast", {"dtype": "string"}, "cast to string"),
        ("pad", {"pad": [1, 1], "mode": "wrap"}, "wrap"),
    ],
)
def test_a_variant_that_is_not_implemented_is_refused(operation, values, reason):
    with pytest.raises(UnsupportedOperationError, match=reason):
        _call(operation, x=torch.zeros(1, 1, 5, 5), **values)


def test_division_of_integers_is_refused():
    with pytest.raises(UnsupportedOperationError, match="integers"):
        _call("real_div", x=[4], y=[2])


def test_a_result_of_another_shape_than_declared_is_refused(workshop, original, monkeypatch):
    monkeypatch.setitem(OPERATIONS, "max_pool", lambda a: functional.max_pool2d(a.tensor("x"), 3, 2))  # the last window is lost
    with pytest.raises(ArtifactError, match=r"max_pool .* gives shape"):
        workshop.run(original, {"image": np.zeros((1, 3, 22, 24), np.float32)})


def test_a_value_is_let_go_after_its_last_reader(workshop, original, monkeypatch):
    """Memory that is still warm is used again: keeping everything made MobileNetV2 at 224 x 224 half as slow again."""
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def watched(function: Callable[[Arguments], Any]) -> Callable[[Arguments], Any]:
        def call(a: Arguments) -> Any:
            alive.append(sum(reference() is not None for reference in made))
            result = function(a)
            made.extend(weakref.ref(value) for value in (result if isinstance(result, tuple) else (result,)))
            return result

        return call

    for name, function in list(OPERATIONS.items()):
        monkeypatch.setitem(OPERATIONS, name, watched(function))
    workshop.run(original, {"image": np.zeros((1, 3, 22, 24), np.float32)}, "exact")
    assert len(alive) > 10
    assert 2 <= max(alive) <= 4  # the two branches and what the last step left


def test_fp16_is_rounded_after_every_operation(workshop):
    """0.1 + 0.2 in fp16, then times 3: the emulation gives numpy's fp16 results bit for bit; without rounding it does not."""

    class Sum(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.exp(image + 0.2) / 3.0

    path = workshop.convert(Sum(), 1, 64, precision="fp16", outputs=["sum"])
    x = np.linspace(0.1, 2, 64, dtype=np.float32)[None]
    half = np.exp((x.astype(np.float16) + np.float16(0.2)).astype(np.float32)).astype(np.float16)
    divided = workshop.load(path).steps[-2]
    third = half / np.float16(3) if divided.operation == "real_div" else half * np.float16(1 / 3)
    emulated, exact = (workshop.run(path, {"image": x}, arithmetic)["sum"] for arithmetic in ("emulate", "exact"))
    np.testing.assert_array_equal(emulated, third.astype(np.float32))
    assert np.abs(exact - emulated).max() > 1e-4
