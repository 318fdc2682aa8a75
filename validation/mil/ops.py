"""The one table of operations: each MIL operation as one small function over torch tensors.

Every function computes in fp32 on tensors whose values the program's type can represent; the executor rounds the result
to the type that the program declares for it. An operation or a variant that is not here is refused, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from squeeze_export.validation.mil.arguments import Arguments
from squeeze_export.validation.mil.operations import (
    activations,
    arithmetic,
    movement,
    norms,
    products,
    reductions,
    resizing,
    values,
    windows,
)
from squeeze_export.validation.mil.weights import DECODERS

Operation = Callable[[Arguments], Any]

OPERATIONS: Final[Mapping[str, Operation]] = {
    "abs": arithmetic.absolute,
    "add": arithmetic.add,
    "avg_pool": windows.avg_pool,
    "batch_norm": norms.batch_norm,
    "cast": values.cast,
    "classify": values.classify,
    "clip": activations.clip,
    "concat": movement.concat,
    "conv": windows.conv,
    "einsum": products.einsum,
    "elu": activations.elu,
    "erf": arithmetic.error_function,
    "exp": arithmetic.exp,
    "expand_dims": movement.expand_dims,
    "gather": movement.gather,
    "gather_along_axis": movement.gather_along_axis,
    "gelu": activations.gelu,
    "identity": movement.identity,
    "instance_norm": norms.instance_norm,
    "l2_norm": norms.l2_norm,
    "layer_norm": norms.layer_norm,
    "leaky_relu": activations.leaky_relu,
    "linear": products.linear,
    "local_response_norm": norms.local_response_norm,
    "log": arithmetic.log,
    "matmul": products.matmul,
    "max_pool": windows.max_pool,
    "maximum": arithmetic.maximum,
    "minimum": arithmetic.minimum,
    "mul": arithmetic.mul,
    "pad": movement.pad,
    "pixel_shuffle": movement.pixel_shuffle,
    "pow": arithmetic.power,
    "prelu": activations.prelu,
    "real_div": arithmetic.real_div,
    "reduce_l1_norm": reductions.reduce_l1_norm,
    "reduce_l2_norm": reductions.reduce_l2_norm,
    "reduce_max": reductions.reduce_max,
    "reduce_mean": reductions.reduce_mean,
    "reduce_min": reductions.reduce_min,
    "reduce_sum": reductions.reduce_sum,
    "reduce_sum_square": reductions.reduce_sum_square,
    "relu": activations.relu,
    "relu6": activations.relu6,
    "reshape": movement.reshape,
    "reverse": movement.reverse,
    "rsqrt": arithmetic.inverse_square_root,
    "scaled_dot_product_attention": products.scaled_dot_product_attention,
    "sigmoid": activations.sigmoid,
    "sigmoid_hard": activations.sigmoid_hard,
    "silu": activations.silu,
    "slice_by_index": movement.slice_by_index,
    "slice_by_size": movement.slice_by_size,
    "softmax": activations.softmax,
    "softplus": activations.softplus,
    "softsign": activations.softsign,
    "split": movement.split,
    "sqrt": arithmetic.square_root,
    "square": arithmetic.square,
    "squeeze": movement.squeeze,
    "stack": movement.stack,
    "sub": arithmetic.sub,
    "tanh": activations.tanh,
    "thresholded_relu": activations.thresholded_relu,
    "tile": movement.tile,
    "transpose": movement.transpose,
    "upsample_bilinear": resizing.upsample_bilinear,
    "upsample_nearest_neighbor": resizing.upsample_nearest_neighbor,
}

# Everything that a package may hold; constants and compressed constants are computed once, when it is opened.
IMPLEMENTED: Final[frozenset[str]] = frozenset(OPERATIONS) | frozenset(DECODERS) | {"const"}
