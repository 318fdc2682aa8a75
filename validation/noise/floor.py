"""The noise floor of a network: measured in eager PyTorch on given images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.contracts.parity import Floored, NoiseFloor, NoiseLevel
from squeeze_export.torch_state import usual
from squeeze_export.validation import metrics
from squeeze_export.validation.noise import arithmetic

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import Array


# Where an answer that is the same for every image comes this near to a floor, rounding hides what differs between the images.
_HIDDEN_DB: Final[Mapping[Floored, float]] = {"fp32": 20.0, "fp16": 6.0, "fp16-stored": 6.0}
# Files fold batch norms and the normalisation into weights before they round them. So weights that are fp16 already, which would
# round without any error, are rounded as if they had been multiplied by something; this is as good as any.
_FOLDED: Final = 1.37


def measure(module: torch.nn.Module, inputs: Array | torch.Tensor) -> NoiseFloor:
    """Run every image by itself in fp32, fp64 and with both roundings, and compare.

    `module`: in eval mode, on the CPU, fp32, takes (1, C, H, W) and gives logits or features (1, classes) as one tensor. Graphs
    of torch.export and traced modules are taken as well. It is copied, never changed, and neither is any state of torch.
    `inputs`: (N, C, H, W) float32, structured images as the module takes them: with plain noise floors look 25 dB better.
    Raises ValueError where inputs or outputs are of another form.
    """
    import torch

    images = torch.as_tensor(np.asarray(inputs) if not isinstance(inputs, torch.Tensor) else inputs)
    if images.dim() != 4 or not len(images) or images.dtype != torch.float32:
        raise ValueError(f"images (N, C, H, W) of float32 are needed, not {images.dtype} {tuple(images.shape)}")
    # A graph of torch.export says of itself that it is in training, whatever it was made from, and cannot be told otherwise.
    if module.training and not isinstance(module, torch.fx.GraphModule):
        raise ValueError("the module is in training mode; call .eval() first")
    images = images.detach().contiguous()
    with usual(), torch.no_grad(), arithmetic.plain_attention():
        same = arithmetic.converted(module, lambda tensor: tensor)
        plain = _rows(same, images)
        # One image has no other to differ from but its negative.
        shown = plain if len(images) > 1 else np.concatenate([plain, _rows(same, -images)])
        if not np.isfinite(shown).all():
            return _nothing(images, plain, "the network's own outputs are not finite on these images")
        with arithmetic.promoting():
            exact = _rows(arithmetic.converted(module, arithmetic.double), images)
        halved = arithmetic.converted(module, arithmetic.half)
        with arithmetic.locating(halved) as place, arithmetic.rounding(place) as first:
            rounded = _rows(halved, arithmetic.half(images))
        stored = _rows(arithmetic.converted(module, lambda tensor: arithmetic.half(tensor * _FOLDED) / _FOLDED), images)
    constant = _decisive(shown, np.broadcast_to(shown.mean(axis=0), shown.shape))
    levels: dict[Floored, NoiseLevel | None] = {}
    problems: list[tuple[Floored, str]] = []
    compared: tuple[tuple[Floored, Array, Array], ...] = (
        ("fp32", exact, plain),
        ("fp16", plain, rounded),
        ("fp16-stored", plain, stored),
    )
    for name, reference, target in compared:
        problem = _problem(name, reference, target, constant)
        levels[name] = None if problem is not None else _level(reference, target)
        if problem is not None:
            where = f"; the first such result is that of {first[0]}" if name == "fp16" and first and "finite" in problem else ""
            problems.append((name, problem + where))
    return NoiseFloor(
        images=len(images),
        classes=plain.shape[1],
        constant_db=constant,
        fp32=levels["fp32"],
        fp16=levels["fp16"],
        fp16_stored=levels["fp16-stored"],
        problems=tuple(problems),
    )


def _nothing(images: torch.Tensor, outputs: Array, reason: str) -> NoiseFloor:
    return NoiseFloor(
        images=len(images),
        classes=outputs.shape[1],
        constant_db=math.nan,
        fp32=None,
        fp16=None,
        fp16_stored=None,
        problems=(("fp32", reason), ("fp16", reason), ("fp16-stored", reason)),
    )


def _problem(name: Floored, reference: Array, target: Array, constant_db: float) -> str | None:
    """Why nothing could be judged by this level, or None."""
    if not (np.isfinite(reference).all() and np.isfinite(target).all()):
        what = {
            "fp32": "the outputs are not finite in fp64",
            "fp16": f"with every result rounded to fp16, which ends at {arithmetic.LARGEST}, the outputs are not finite",
            "fp16-stored": "with the weights rounded to fp16 the outputs are not finite",
        }
        return what[name]
    floor = _decisive(reference, target)
    if constant_db < floor - _HIDDEN_DB[name]:  # false where both are infinite
        return None
    if name == "fp32":
        return "the outputs do not differ between these images: nothing that is wrong with an image would show"
    return f"rounding ({floor:.0f} dB) hides what differs between these images ({constant_db:.0f} dB): no fault would show"


def _decisive(reference: Array, target: Array) -> float:
    """The centred SNR, or of one class, which has none, the SNR."""
    return metrics.snr_db(reference, target) if reference.shape[1] == 1 else metrics.centred_snr_db(reference, target)


def _level(reference: Array, target: Array) -> NoiseLevel:
    peak = float(np.abs(reference).max())
    error = metrics.max_abs_error(reference, target)
    return NoiseLevel(
        snr_db=metrics.snr_db(reference, target),
        centred_snr_db=metrics.centred_snr_db(reference, target),
        max_error_of_peak=error / peak if peak else (0.0 if error == 0 else math.inf),
    )


def _rows(module: torch.nn.Module, images: torch.Tensor) -> Array:
    """The outputs of all images, run one at a time, (N, classes)."""
    import torch

    rows = []
    for place in range(len(images)):
        found = module(images[place : place + 1].clone())  # a copy, for a module may change what it is given
        if not isinstance(found, torch.Tensor) or found.dim() != 2 or len(found) != 1:
            what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ValueError(f"the module must give one tensor (1, classes), and gives {what}")
        rows.append(found.numpy())
    result: Array = np.concatenate(rows)
    return result
