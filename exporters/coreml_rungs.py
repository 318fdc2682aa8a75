"""The compressed rungs of Core ML: what each means, and the weights chosen for it on calibration images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from squeeze_export.compression.codings import CodedWeight, Coding
from squeeze_export.errors import ConversionError, UsageError
from squeeze_export.exporters import coreml, coreml_sizes
from squeeze_export.exporters.progress import Spoken

if TYPE_CHECKING:
    from squeeze_export.compression.network import CodedLayer
    from squeeze_export.contracts import Artifact, ExportSettings, IosTarget, PixelArray, SourceModel

Told = Callable[[str, float, float], None]

# Rung -> how every kernel is coded. Zeros are those that the weights have: they cost one bit each.
RUNGS: Final[Mapping[str, Coding]] = {
    "pal8": Coding(bits=8),
    "pal6": Coding(bits=6),
    "pal4": Coding(bits=4),
    "pal3": Coding(bits=3),
    "pal2": Coding(bits=2),
    "sparse-pal6": Coding(bits=6, zeros="keep"),
    "sparse-pal4": Coding(bits=4, zeros="keep"),
}
AUTO: Final = "auto"
FEWEST_IMAGES: Final = 8
# Kernels with fewer zeros than this are stored as they are by a sparse rung: the mask would cost more than it saves.
_SPARSE: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the weights became: the source that holds them decoded, which is what is exported, and their coded form by layer."""

    source: SourceModel
    coded: Mapping[str, CodedWeight]


def check_target(rung: str, ios: IosTarget) -> None:
    """UsageError where `ios` has no operation for this rung, naming the one that does; any precision is taken."""
    if rung != AUTO and rung not in RUNGS:
        return
    needs_ios18 = rung == AUTO or RUNGS[rung].needs_ios18
    if needs_ios18 and ios != "iOS18":
        raise UsageError(f"Core ML {rung} needs operations of iOS 18, not {ios}: pass --ios-target iOS18.")
    if ios == "iOS15":
        raise UsageError(f"Core ML {rung} needs operations of iOS 16, not {ios}: pass --ios-target iOS16.")


def export(
    source: SourceModel,
    settings: ExportSettings,
    destination: Path,
    calibration: PixelArray | None,
    told: Callable[[str], None] | None = None,
) -> Artifact:
    """Compress the source as the settings say and write the package; see coreml.export.

    UsageError also where an "auto" budget is below the smallest package, which it names.
    """
    from squeeze_export.compression import automatic
    from squeeze_export.models.source import weight_digests

    rung, size = settings.precision, settings.size_budget
    check_target(rung, settings.ios_target)
    if calibration is None:
        raise ConversionError(f"Core ML {rung} needs calibration images: pass --calibration-data.")
    plain = replace(settings, precision="fp16")
    budget = None
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
    spoken = Spoken(told)
    chosen = choose(source, rung, calibration, weights_budget=budget, checkpoints=checkpoint_folder(), told=spoken)
    made = coreml.write(chosen.source, plain, destination, coded=chosen.coded)
    whole = sum(file.stat().st_size for file in destination.rglob("*") if file.is_file())
    if size is not None and whole > size:
        raise ConversionError(f"The package has {whole:,} bytes where {size:,} were planned. Report this, and allow some more.")
    return replace(made, precision=settings.precision, chosen_weights=weight_digests(chosen.source))


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
    all alike, a budget below the smallest reachable, or a sparse rung on weights without zeros.
    """
    import torch

    from squeeze_export.compression import automatic, network
    from squeeze_export.compression.checkpoint import Checkpoint, digest
    from squeeze_export.preprocessing import normalise

    if len(calibration) < FEWEST_IMAGES:
        raise UsageError(f"{len(calibration)} calibration images are too few: give at least {FEWEST_IMAGES}, better a hundred.")
    if not (calibration != calibration[0]).any():
        raise UsageError("The calibration images are all alike: nothing can be learnt from them. Give pictures that differ.")
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


def _codings(source: SourceModel, rung: str) -> dict[str, Coding]:
    from squeeze_export.compression.network import convolutions

    coding, sparse = RUNGS[rung], 0
    found: dict[str, Coding] = {}
    for name, layer in convolutions(source.module).items():
        zeros = float((layer.weight == 0).float().mean())
        worth = coding.zeros is not None and zeros >= _SPARSE
        sparse += worth
        found[name] = coding if worth or coding.zeros is None else replace(coding, zeros=None)
    if coding.zeros is not None and not sparse:
        raise UsageError(
            f"Core ML {rung} keeps zeros that the weights have, and no layer of {source.name} has {_SPARSE:.0%} of them: "
            f"take {rung.removeprefix('sparse-')}, or weights that were pruned."
        )
    return found


def _chosen(source: SourceModel, coded: Mapping[str, CodedLayer]) -> Chosen:
    from squeeze_export.compression.network import decoded

    kernels: dict[str, CodedWeight] = {}
    for name, layer in coded.items():
        values = layer.weight.decoded()
        if not isinstance(layer.weight, CodedWeight) or not all(map(math.isfinite, (values.min(), values.max()))):
            raise ConversionError(f"{name} of {source.name} cannot be coded in fp16: its weights reach beyond 65504.")
        kernels[name] = layer.weight
    return Chosen(source=replace(source, module=decoded(source.module, coded)), coded=kernels)
