"""What a layer's inputs are like: centred second moments over sampled positions of unlabelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.compression.compensation import Moments

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import Array

POSITIONS: Final = 200  # sampled per image: neighbouring patches tell little new


def moments(
    layer: torch.nn.Conv2d, original: torch.Tensor, compressed: torch.Tensor, *, seed: int, positions: int = POSITIONS
) -> Moments:
    """Moments of what `layer` sees: (N, I, h, w) activations of the original network and of the compressed one so far."""
    generator = np.random.default_rng(seed)
    columns = layer.weight[0].numel()
    sums, original_sums = np.zeros(columns), np.zeros(columns)
    products, crossed, count = np.zeros((columns, columns)), np.zeros((columns, columns)), 0
    for one, other in zip(original, compressed, strict=True):
        chosen = _chosen(layer, one, generator, positions)
        ours, theirs = _patches(layer, other, chosen), _patches(layer, one, chosen)
        sums += ours.sum(axis=0, dtype=np.float64)
        original_sums += theirs.sum(axis=0, dtype=np.float64)
        products += ours.T @ ours
        crossed += theirs.T @ ours
        count += len(ours)
    mean, original_mean = sums / count, original_sums / count
    return Moments(
        covariance=(products / count - np.outer(mean, mean)).astype(np.float32),
        cross=(crossed / count - np.outer(original_mean, mean)).astype(np.float32),
        mean=mean.astype(np.float32),
        original_mean=original_mean.astype(np.float32),
    )


def _chosen(layer: torch.nn.Conv2d, image: torch.Tensor, generator: np.random.Generator, positions: int) -> Array:
    height, width = _out(layer, image.shape[1], 0), _out(layer, image.shape[2], 1)
    total = height * width
    if total <= positions:
        return np.arange(total)
    return np.sort(generator.choice(total, positions, replace=False))


def _out(layer: torch.nn.Conv2d, size: int, axis: int) -> int:
    return int((size + 2 * layer.padding[axis] - layer.kernel_size[axis]) // layer.stride[axis] + 1)


def _patches(layer: torch.nn.Conv2d, image: torch.Tensor, chosen: Array) -> Array:
    """The patches (positions, I * kh * kw) of one image (I, h, w), in the order of the layer's weights."""
    from torch.nn import functional

    (above, beside), (tall, wide) = layer.padding, layer.kernel_size
    padded = functional.pad(image, (beside, beside, above, above)).numpy()
    row, column = np.divmod(chosen, _out(layer, image.shape[2], 1))
    row, column = row * layer.stride[0], column * layer.stride[1]
    patches = np.empty((len(chosen), image.shape[0], tall, wide), np.float32)
    for down in range(tall):
        for right in range(wide):
            patches[:, :, down, right] = padded[:, row + down, column + right].T
    return patches.reshape(len(chosen), -1)
