"""What a user wrote behind `--precision`: which precisions, of each target, in which sizes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, get_args

from squeeze_export.contracts.artifact import AUTO, PIXELS_IN, TARGETS, IosTarget, Precision, Target
from squeeze_export.contracts.source import ModelName, is_squeezenet
from squeeze_export.errors import UsageError
from squeeze_export.exporters import EXPORTERS

if TYPE_CHECKING:
    import torch

    Kernels = Callable[[], list[torch.Tensor]] | None  # None of a captured network

LADDER: Final = "ladder"
BEST: Final = "best"  # the ladder, of which one rung is kept


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The precisions per target, in the order written, and the sizes of "auto" in bytes.

    `best`: the targets of which only the smallest artifact within the limits is wanted. `notes`: what the user must know of how
    the wish was understood.
    """

    precisions: Mapping[Target, tuple[Precision, ...]]
    sizes: tuple[int, ...]
    notes: tuple[str, ...]
    best: tuple[Target, ...] = ()


def asked_for(
    written: Iterable[str],
    targets: tuple[Target, ...],
    *,
    ios: IosTarget,
    no_pixels: str | None,
    model: str,
    weights: Path | None,
    checkpoint_key: str | None = None,
) -> Asked:
    """Understand every `[TARGET=]PRECISION[,PRECISION...]`; UsageError for what is unknown or stands in vain.

    `no_pixels`: why `ladder` leaves out the precision that takes pixels and gives 8-bit scores, if it does. `weights`: the file,
    None where they come from elsewhere: what `ladder` stands for depends on their zeros. `checkpoint_key`: which in that file.
    """
    entries = tuple(written)
    kernels = cache(partial(_kernels, model, weights, checkpoint_key)) if is_squeezenet(model) else None
    precisions = _precisions(entries, targets, ios, no_pixels is None, kernels)
    newest: IosTarget = get_args(IosTarget)[-1]
    every = _precisions(entries, targets, newest, True, kernels)
    left_out = {target: ", ".join(rung for rung in every[target] if rung not in precisions[target]) for target in every}
    sizes, merged = _sizes(entries)
    notes = []
    if told := left_out.get("coreml"):
        notes.append(f"the ladder of Core ML for {ios} leaves out {told}: pass --ios-target {newest} for them.")
    if told := left_out.get("tflite"):
        notes.append(f"the ladder of TFLite leaves out {told}: {no_pixels}.")
    return Asked(precisions=precisions, sizes=sizes, notes=(*notes, *merged), best=_best(entries, targets))


def one_of(option: str, value: str, known: Iterable[str]) -> str:
    """`value`, where it is known; UsageError that names the option, and what may have been meant, where it is not."""
    choices = tuple(known)
    if value in choices:
        return value
    close = difflib.get_close_matches(value, choices, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UsageError(f"{option} {value!r} is unknown.{hint} Known: {', '.join(choices)}.")


def precision_of(part: str, *further: str) -> tuple[str, int | None]:
    """One precision as it is written, with the bytes of `auto:SIZE`; `further` names are taken as well. Raises UsageError."""
    if part == AUTO:
        raise UsageError("--precision auto needs a size: write coreml=auto:490KB.")
    name, colon, size = part.partition(":")
    if name != AUTO or not colon:
        return one_of("--precision", part, (*get_args(Precision), *further)), None
    from squeeze_export.compression.budget import parse_size

    try:
        return name, parse_size(size)
    except UsageError as error:
        raise UsageError(f"--precision {part}: {error}") from error


def _precisions(
    written: tuple[str, ...], targets: tuple[Target, ...], ios: IosTarget, pixels: bool, kernels: Kernels
) -> Mapping[Target, tuple[Precision, ...]]:
    """The precisions per target; what is said of one target stands instead of what is said of all."""
    general: list[str] = []
    chosen: dict[Target, list[str]] = {}
    for entry in written:
        left, equals, right = entry.partition("=")
        parts = (right if equals else left).split(",")
        for part in parts:
            precision_of(part, LADDER, BEST)
        if not equals:
            general += parts
            continue
        target = cast("Target", one_of("--precision", left, TARGETS))
        if target not in targets:
            raise UsageError(f"--precision {entry} names a target that is not exported. Add --target {target}.")
        chosen.setdefault(target, []).extend(parts)
    if general and set(chosen) >= set(targets):
        raise UsageError(
            f"--precision {','.join(general)} is for the targets that have none of their own, and every target has: write "
            f"{targets[0]}={','.join(general)}, or leave it out."
        )
    asked = (dict.fromkeys(targets, general) if general else {}) | chosen
    return {target: _expanded(target, parts, ios, pixels, kernels) for target, parts in asked.items()}


def _best(written: tuple[str, ...], targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """The targets for which `best` was written, for themselves or for all; _precisions has checked the words."""
    own = {entry.partition("=")[0] for entry in written if "=" in entry}
    named = {entry.partition("=")[0] for entry in written if "=" in entry and BEST in entry.partition("=")[2].split(",")}
    general = any("=" not in entry and BEST in entry.split(",") for entry in written)
    return tuple(target for target in targets if target in named or (general and target not in own))


def _sizes(written: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The sizes of all `auto:SIZE`, each once in the order written, and a note where two are the same in other words."""
    found: dict[int, list[str]] = {}
    for part in dict.fromkeys(part for entry in written for part in entry.rpartition("=")[2].split(",")):
        size = precision_of(part, LADDER, BEST)[1]
        if size is not None:
            found.setdefault(size, []).append(part)
    notes = (f"{' and '.join(same)} are one size, {size:,} bytes: one artifact." for size, same in found.items() if same[1:])
    return tuple(found), tuple(notes)


def _expanded(target: Target, parts: list[str], ios: IosTarget, pixels: bool, kernels: Kernels) -> tuple[Precision, ...]:
    """Each precision once; `ladder` and `best` stand for the rungs of the target, see _rungs; an app can feed the best."""
    expanded: list[str] = []
    for part in parts:
        if part in (LADDER, BEST):
            expanded += _rungs(target, ios, pixels and part == LADDER, kernels)
        else:
            expanded.append(precision_of(part)[0])
    return tuple(cast("list[Precision]", list(dict.fromkeys(expanded))))


def _rungs(target: Target, ios: IosTarget, pixels: bool, kernels: Kernels) -> list[str]:
    """Every precision of a target that needs no further choice; of Core ML, what deployment target and weights allow.

    Of a captured network, those that it can be made in. `pixels`: whether the one that takes pixels is among them. `kernels` is
    called for Core ML only: the weights, of which some precisions keep zeros.
    """
    if kernels is None:
        return list(EXPORTERS[target].CAPTURED)
    if target != "coreml":
        return [rung for rung in EXPORTERS[target].PRECISIONS if rung != PIXELS_IN or pixels]
    from squeeze_export.exporters.coreml.rungs import check_target, serves

    rungs: list[str] = []
    for precision in EXPORTERS[target].PRECISIONS:
        try:
            check_target(precision, ios)
        except UsageError:
            continue
        if precision != AUTO:  # which wants a size
            rungs.append(precision)
    found = kernels()
    return [rung for rung in rungs if serves(rung, found)]


def _kernels(model: ModelName, weights: Path | None, checkpoint_key: str | None) -> list[torch.Tensor]:
    """The kernels of weights in a file; of others none, because none of those were pruned."""
    if weights is None:
        return []
    from squeeze_export.sources.weights import load_weights

    loaded = load_weights(model, weights, seed=0, checkpoint_key=checkpoint_key)
    return [value for value in loaded.state.values() if value.ndim == 4]
