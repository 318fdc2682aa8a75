"""The operations that move values without computing: shapes, order, joining, cutting and padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.errors import UnsupportedOperationError
from squeeze_export.validation.mil.arguments import Arguments

if TYPE_CHECKING:
    import torch


def identity(a: Arguments) -> torch.Tensor:
    """The same value under another name."""
    return a.tensor("x")


def reshape(a: Arguments) -> torch.Tensor:
    """The same elements in row-major order; 0 keeps the size of that axis, -1 is what remains."""
    x = a.tensor("x")
    shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(a.ints("shape"))]
    return x.reshape(shape)


def transpose(a: Arguments) -> torch.Tensor:
    """Axes in the order of `perm`."""
    return a.tensor("x").permute(a.ints("perm"))


def squeeze(a: Arguments) -> torch.Tensor:
    """Without the axes of size one, all or those named."""
    x = a.tensor("x")
    axes = [axis % x.dim() for axis in a.ints("axes")] if a.optional("axes") is not None else range(x.dim())
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes or size != 1])


def expand_dims(a: Arguments) -> torch.Tensor:
    """With axes of size one inserted; the axes count in the result."""
    x = a.tensor("x")
    rank = x.dim() + len(a.ints("axes"))
    for axis in sorted(axis % rank for axis in a.ints("axes")):
        x = x.unsqueeze(axis)
    return x


def concat(a: Arguments) -> torch.Tensor:
    """Joined along `axis`, one after the other, or interleaved: the first of each, then the second of each."""
    import torch

    values, axis = a.tensors("values"), a.integer("axis", 0)
    if not a.flag("interleave"):
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def stack(a: Arguments) -> torch.Tensor:
    """Joined along a new `axis`."""
    import torch

    return torch.stack(a.tensors("values"), a.integer("axis", 0))


def tile(a: Arguments) -> torch.Tensor:
    """Repeated whole, `reps` times along each axis."""
    return a.tensor("x").repeat(a.ints("reps"))


def gather(a: Arguments) -> torch.Tensor:
    """The parts of x along `axis` that the indices name, in the shape of the indices; up to iOS16 negative ones from the end."""
    if a.integer("batch_dims", 0) != 0:
        raise UnsupportedOperationError("gather with batch_dims")
    x = a.tensor("x")
    axis = a.integer("axis", 0) % x.dim()
    indices = _indices(a, x.shape[axis])
    return x.index_select(axis, indices.reshape(-1)).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_along_axis(a: Arguments) -> torch.Tensor:
    """At each place the element of x that the index there names along `axis`; up to iOS16 negative ones from the end."""
    x = a.tensor("x")
    axis = a.integer("axis", 0) % x.dim()
    return x.gather(axis, _indices(a, x.shape[axis]))


def scatter(a: Arguments) -> torch.Tensor:
    """data with `updates` put in the place of (or added to, ...) the parts that the indices name along `axis`, each once."""
    import torch

    combine = {
        "update": lambda old, new: new,
        "add": torch.add,
        "mul": torch.mul,
        "max": torch.maximum,
        "min": torch.minimum,
    }
    mode = a.text("mode")
    if mode not in combine:
        raise UnsupportedOperationError(f"scatter with mode {mode!r}")
    data, updates = a.tensor("data"), a.tensor("updates")
    axis = a.integer("axis", 0) % data.dim()
    indices = _indices(a, data.shape[axis])
    if indices.unique().numel() != indices.numel():  # which comes last, or whether all count, is not defined
        raise UnsupportedOperationError("scatter with an index that stands more than once")
    return data.index_copy(axis, indices, combine[mode](data.index_select(axis, indices), updates))


def _indices(a: Arguments, size: int) -> torch.Tensor:
    """The indices on an axis of `size`, none negative. From iOS17 on, where `validate_indices` exists, these have no meaning."""
    indices = a.tensor("indices").long()
    negative, since_ios17 = indices < 0, a.optional("validate_indices") is not None
    if not bool(negative.any()):
        return indices
    if since_ios17:
        raise UnsupportedOperationError("negative indices, which iOS17 does not define")
    return indices.where(~negative, indices + size)


def pixel_shuffle(a: Arguments) -> torch.Tensor:
    """Channels (c * r * r) laid out as r x r pixels of c channels, r being `upscale_factor`."""
    import torch

    return torch.nn.functional.pixel_shuffle(a.tensor("x"), a.integer("upscale_factor", 1))


def pixel_unshuffle(a: Arguments) -> torch.Tensor:
    """r x r pixels of c channels laid out as channels (c * r * r), r being `downscale_factor`."""
    import torch

    return torch.nn.functional.pixel_unshuffle(a.tensor("x"), a.integer("downscale_factor", 1))


def split(a: Arguments) -> tuple[torch.Tensor, ...]:
    """Cut along `axis` into equal parts, or parts of the given sizes."""
    x, axis = a.tensor("x"), a.integer("axis", 0)
    sizes = a.ints("split_sizes") or [x.shape[axis] // a.integer("num_splits", 1)] * a.integer("num_splits", 1)
    return tuple(x.split(sizes, axis))


def slice_by_index(a: Arguments) -> torch.Tensor:
    """numpy's x[begin:end:stride] per axis; a masked end is open, a squeezed axis takes the one element at its begin."""
    x = a.tensor("x")
    rank = x.dim()
    none = [False] * rank
    open_begin, open_end = a.flags("begin_mask") or none, a.flags("end_mask") or none
    squeezed, strides = a.flags("squeeze_mask") or none, a.ints("stride") or [1] * rank
    for axis, (begin, end, stride) in enumerate(zip(a.ints("begin"), a.ints("end"), strides, strict=True)):
        size = x.shape[axis]
        if squeezed[axis]:
            x = x.narrow(axis, begin % size, 1)
            continue
        kept = range(size)[None if open_begin[axis] else begin : None if open_end[axis] else end : stride]
        if stride < 0:  # torch's slices only go forwards
            x, kept = x.flip(axis), range(size - 1 - kept.start, size - 1 - kept.stop, -kept.step)
        if len(kept) != size:
            x = x.narrow(axis, kept.start if kept else 0, kept[-1] + 1 - kept.start if kept else 0)
            x = x[(slice(None),) * axis + (slice(None, None, kept.step),)]
    return x.reshape([size for axis, size in enumerate(x.shape) if not squeezed[axis]])


def slice_by_size(a: Arguments) -> torch.Tensor:
    """`size` elements from `begin` per axis; -1 is all that remain."""
    x = a.tensor("x")
    for axis, (begin, size) in enumerate(zip(a.ints("begin"), a.ints("size"), strict=True)):
        start = begin % x.shape[axis]
        x = x.narrow(axis, start, x.shape[axis] - start if size == -1 else size)
    return x


def reverse(a: Arguments) -> torch.Tensor:
    """Backwards along the named axes, or all."""
    x = a.tensor("x")
    return x.flip(a.ints("axes") if a.optional("axes") is not None else list(range(x.dim())))


def pad(a: Arguments) -> torch.Tensor:
    """Longer along the last axes, filled with a constant, by reflection without the edge, or by repeating the edge."""
    import torch

    x, amounts, mode = a.tensor("x"), a.ints("pad"), a.text("mode")
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    if mode == "constant":
        flat = [amount for pair in reversed(pairs) for amount in pair]  # torch counts from the last axis
        return torch.nn.functional.pad(x, flat, value=a.number("constant_val", 0.0))
    if mode not in ("reflect", "replicate"):
        raise UnsupportedOperationError(f"pad with mode {mode!r}")
    for axis, (before, after) in enumerate(pairs, start=x.dim() - len(pairs)):
        last = x.shape[axis] - 1
        wanted = range(-before, last + 1 + after)
        kept = [last - abs(last - abs(i)) for i in wanted] if mode == "reflect" else [min(max(i, 0), last) for i in wanted]
        x = x.index_select(axis, torch.tensor(kept, dtype=torch.int64))
    return x
