"""The compressed rungs of Core ML: what each means, and the weights chosen for it on calibration images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from squeeze_export.compression.codings import Coding, HalfWeight, Uniform
from squeeze_export.contracts.artifact import AUTO
from squeeze_export.errors import ConversionError, UsageError
from squeeze_export.exporters.coreml import sizes as coreml_sizes
from squeeze_export.exporters.coreml import writing
from squeeze_export.exporters.progress import Spoken

if TYPE_CHECKING:
    import torch

    from squeeze_export.compression.codings import AnyWeight
    from squeeze_export.compression.network import CodedLayer
    from squeeze_export.contracts.arrays import Array, PixelArray
    from squeeze_export.contracts.artifact import Artifact, ExportSettings, IosTarget
    from squeeze_export.contracts.source import SourceModel

Told = Callable[[str, float, float], None]

# Rung -> how every kernel is coded. Zeros are those that the weights have: they cost one bit each.
RUNGS: Final[Mapping[str, Coding | Uniform]] = {
    "int8": Uniform(bits=8, half=True),
    "pal8": Coding(bits=8),
    "pal6": Coding(bits=6),
    "pal4": Coding(bits=4),
    "pal3": Coding(bits=3),
    "pal2": Coding(bits=2),
    "sparse-pal6": Coding(bits=6, zeros="keep"),
    "sparse-pal4": Coding(bits=4, zeros="keep"),
}
SPARSE: Final = "sparse"  # nothing is chosen: zeros as they are, all else in fp16
FEWEST_IMAGES: Final = 8
# Kernels with fewer zeros than this get a plain palette in a sparse rung: the mask would cost more than it saves.
_SPARSE: Final = 0.3
_FULL: Final = 0.9  # a package with less of its size than this had every coding it could use


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the weights became: the source that holds them decoded, which is what is exported, and their coded form by layer.

    `uncompressed`: the weights that stay fp16 as they were, each with the reason.
    """

    source: SourceModel
    coded: Mapping[str, AnyWeight]
    uncompressed: Mapping[str, str]


def check_target(rung: str, ios: IosTarget) -> None:
    """UsageError where `ios` has no operation for this rung, naming the one that does; any precision is taken."""
    if rung not in (SPARSE, AUTO, *RUNGS):
        return
    if needs_ios18(rung) and ios != "iOS18":
        raise UsageError(f"Core ML {rung} needs operations of iOS 18, not {ios}: pass --ios-target iOS18.")
    if ios == "iOS15":
        raise UsageError(f"Core ML {rung} needs operations of iOS 16, not {ios}: pass --ios-target iOS16.")


def needs_ios18(rung: str) -> bool:
    """Whether no older deployment target has the operations of this rung."""
    coding = RUNGS.get(rung)
    return rung == AUTO or (isinstance(coding, Coding) and coding.needs_ios18)


def serves(rung: str, kernels: Iterable[torch.Tensor]) -> bool:
    """Whether the rung makes anything of these kernels (O, I, H, W); those that keep zeros want some."""
    match rung, RUNGS.get(rung):
        case "sparse", _:
            return any(_halved(kernel).sparse for kernel in kernels)
        case _, Coding(zeros=zeros) if zeros is not None:
            return any(_zeros(kernel) >= _SPARSE for kernel in kernels)
        case _:
            return True


def export(
    source: SourceModel,
    settings: ExportSettings,
    destination: Path,
    calibration: PixelArray | None,
    told: Callable[[str], None] | None = None,
) -> Artifact:
    """Compress the source as the settings say and write the package; see coreml.export.

    UsageError also where an "auto" budget is below the smallest package, which it names. Where every weight fits as
    fp16 has it (zeros as a mask), nothing is chosen, which the notice says.
    """
    from squeeze_export.compression import automatic
    from squeeze_export.sources.source import weight_digests

    rung, size = settings.precision, settings.size_budget
    check_target(rung, settings.ios_target)
    plain = replace(settings, precision="fp16")
    budget, fitting = None, None
    if rung == AUTO:
        if size is None:
            raise UsageError("The precision auto needs a size: write --precision coreml=auto:490KB.")
        fixed = coreml_sizes.fixed(source, plain)
        smallest = fixed + automatic.smallest(source.module, coreml_sizes.stored)
        if size < smallest:
            raise UsageError(
                f"{source.name} cannot become a Core ML package of {size:,} bytes; the smallest reachable has {smallest:,}: pass "
                f"--precision coreml=auto:{-(-smallest // 1000)}KB or more."
            )
        budget = size - fixed
        found = halves(source)
        fitting = found if halves_bytes(found) <= budget else None
    spoken = Spoken(told)
    if rung == SPARSE:
        chosen = keep_zeros(source)
    elif fitting is not None:
        chosen = _kept(source, fitting, dict.fromkeys(fitting, "fp16 fits the size"))
    elif calibration is None:
        raise ConversionError(f"Core ML {rung} needs calibration images: pass --calibration-data.")
    else:
        chosen = choose(source, rung, calibration, weights_budget=budget, checkpoints=checkpoint_folder(), told=spoken)
    made = writing.write(chosen.source, plain, destination, coded=chosen.coded)
    whole = sum(file.stat().st_size for file in destination.rglob("*") if file.is_file())
    if size is not None and whole > size:
        raise ConversionError(f"The package has {whole:,} bytes where {size:,} were planned. Report this, and allow some more.")
    return replace(
        made,
        precision=settings.precision,
        chosen_weights=weight_digests(chosen.source),
        codings={
            f"{name}.weight": weight.stored_as
            for name, weight in chosen.coded.items()
            if f"{name}.weight" not in chosen.uncompressed
        },
        uncompressed_weights=chosen.uncompressed,
        size_budget=size,
        notice=_notice(rung, whole, size, roomy=fitting is not None) or made.notice,
    )


def _notice(rung: str, whole: int, size: int | None, *, roomy: bool) -> str | None:
    """What a user must know of a rung that was made."""
    if rung == "pal2":
        return "pal2 leaves four values per kernel, and weights that were not trained for it lose much: measure it with evaluate."
    if size is None:
        return None
    if roomy:
        fp16 = "with the weights as fp16 has them the package"
        return f"nothing had to be compressed for auto: {fp16} takes {whole:,} of {size:,} bytes."
    if whole < _FULL * size:
        return f"auto has nothing between palettes of 8 bits and fp16: the package takes {whole:,} of {size:,} bytes."
    return None


def checkpoint_folder() -> Path | None:
    """Where stopped compressions go on: squeeze-export/compression in $XDG_CACHE_HOME or ~/.cache; None without a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path("~/.cache")
    try:
        folder = base.expanduser() / "squeeze-export" / "compression"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder


def choose(
    source: SourceModel,
    rung: str,
    calibration: PixelArray,
    *,
    weights_budget: int | None = None,
    seed: int = 0,
    checkpoints: Path | None = None,
    told: Told = lambda what, part, left: None,
) -> Chosen:
    """Code every kernel of the source as the rung says, error-compensated on `calibration` (N, H, W, 3) uint8 crops.

    "auto" needs `weights_budget`, the bytes that all kernels may take. Raises UsageError for fewer than 8 images, images that are
    all alike or of one colour each, a budget below the smallest reachable, or a sparse rung on weights without zeros.
    """
    import torch

    from squeeze_export.compression import automatic, network
    from squeeze_export.compression.checkpoint import Checkpoint, digest
    from squeeze_export.preprocessing.pixels import normalise

    if len(calibration) < FEWEST_IMAGES:
        raise UsageError(f"{len(calibration)} calibration images are too few: give at least {FEWEST_IMAGES}, better a hundred.")
    if not (calibration != calibration[0]).any():
        raise UsageError("The calibration images are all alike: nothing can be learnt from them. Give images that differ.")
    if (calibration == calibration[:, :1, :1]).all():
        raise UsageError("The calibration images are of one colour each: nothing can be learnt from them. Give photographs.")
    images = torch.from_numpy(normalise(calibration, source.preprocessing))
    if rung == AUTO:
        if weights_budget is None:
            raise ValueError("auto needs a budget")
        coded = automatic.compress_within(
            source.module, images, weights_budget, coreml_sizes.stored, seed=seed, checkpoints=checkpoints, told=told
        )
    else:
        codings = _codings(source, rung)
        kept = Checkpoint(checkpoints, digest(source.module, images, seed))
        total = sum(automatic.work_of(layer.weight.numel()) for layer in network.convolutions(source.module).values())
        coded = automatic.code(
            source.module, images, codings, seed=seed, kept=kept, clock=automatic.Clock(total=total, told=told)
        )
    return _chosen(source, coded)


def keep_zeros(source: SourceModel) -> Chosen:
    """Every kernel in fp16, its zeros as a mask where that saves bytes; UsageError where it saves none in any layer."""
    from squeeze_export.compression.network import convolutions

    found = halves(source)
    zeros = {name: _zeros(layer.weight) for name, layer in convolutions(source.module).items()}
    if not any(half.sparse for half in found.values()):
        most = max(zeros, key=lambda name: zeros[name])
        raise UsageError(
            f"Core ML sparse keeps zeros that the weights have, and no layer of {source.name} has enough of them to save a byte "
            f"(the most: {most}, {zeros[most]:.1%}): take fp16, or weights that were pruned."
        )
    reasons = {name: f"only {share:.1%} are zero: a mask takes more bytes than it saves" for name, share in zeros.items()}
    return _kept(source, found, reasons)


def halves(source: SourceModel) -> dict[str, HalfWeight]:
    """Every kernel in fp16, with a mask of its zeros where that saves bytes."""
    from squeeze_export.compression.network import convolutions

    return {name: _halved(layer.weight) for name, layer in convolutions(source.module).items()}


def halves_bytes(kept: Mapping[str, HalfWeight]) -> int:
    """The bytes of such kernels in a package, rounded up."""
    return sum(coreml_sizes.half(one.values.shape, int((one.values != 0).sum()), sparse=one.sparse) for one in kept.values())


def _kept(source: SourceModel, kept: Mapping[str, HalfWeight], reasons: Mapping[str, str]) -> Chosen:
    """The source with fp16 kernels; `reasons`: why those without a mask have none."""
    from squeeze_export.compression.network import CodedLayer, convolutions

    biases = {name: layer.bias for name, layer in convolutions(source.module).items()}
    layers = {
        name: CodedLayer(
            name=name,
            weight=half,
            bias=np.zeros(len(half.values), np.float32) if (bias := biases[name]) is None else _half(bias).astype(np.float32),
        )
        for name, half in kept.items()
    }
    return _chosen(source, layers, {name: reasons[name] for name, half in kept.items() if not half.sparse})


def _half(values: torch.Tensor) -> Array:
    return np.asarray(values.detach().half().numpy())


def _halved(kernel: torch.Tensor) -> HalfWeight:
    # A negative zero decodes from a mask as a positive one.
    values = np.where(_half(kernel) == 0, np.float16(0), _half(kernel))
    alive = int((values != 0).sum())
    sizes = {sparse: coreml_sizes.half(values.shape, alive, sparse=sparse) for sparse in (False, True)}
    return HalfWeight(values=values, sparse=alive > 0 and sizes[True] < sizes[False])


def _zeros(kernel: torch.Tensor) -> float:
    return float((kernel == 0).float().mean())


def _codings(source: SourceModel, rung: str) -> Mapping[str, Coding | Uniform]:
    from squeeze_export.compression.network import convolutions

    layers, coding = convolutions(source.module), RUNGS[rung]
    if isinstance(coding, Uniform) or coding.zeros is None:
        return dict.fromkeys(layers, coding)
    if not serves(rung, [layer.weight for layer in layers.values()]):
        raise UsageError(
            f"Core ML {rung} keeps zeros that the weights have, and no layer of {source.name} has {_SPARSE:.0%} of them: "
            f"take {rung.removeprefix('sparse-')}, or weights that were pruned."
        )
    return {name: coding if _zeros(layer.weight) >= _SPARSE else replace(coding, zeros=None) for name, layer in layers.items()}


def _chosen(source: SourceModel, coded: Mapping[str, CodedLayer], kept: Mapping[str, str] | None = None) -> Chosen:
    from squeeze_export.compression.network import convolutions, decoded

    kernels: dict[str, AnyWeight] = {}
    for name, layer in coded.items():
        values = layer.weight.decoded()
        if not all(map(math.isfinite, (values.min(), values.max()))):
            raise ConversionError(f"{name} of {source.name} cannot be coded in fp16: its weights reach beyond 65504.")
        kernels[name] = layer.weight
    uncompressed = {f"{name}.weight": reason for name, reason in (kept or {}).items()}
    for name, convolution in convolutions(source.module).items():
        if convolution.bias is not None:
            uncompressed[f"{name}.bias"] = "a bias: one number per channel"
    changed = decoded(source.module, coded)
    return Chosen(source=replace(source, module=changed), coded=kernels, uncompressed=uncompressed)
