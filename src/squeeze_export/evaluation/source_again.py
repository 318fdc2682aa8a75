"""The reference of a captured network, made again from what the user names: a bundle holds none of its code and no program.

Held against the manifest's digest of the weights, and against the golden pack, whose images it must answer as it did.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from squeeze_export.bundle import folder as bundle_folder
from squeeze_export.contracts.source import Scores, SourceModel, is_published, is_squeezenet
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.evaluation.subjects import OpenBundle
from squeeze_export.golden.files import read_golden
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.sources.captured import load_captured
from squeeze_export.sources.networks import capture
from squeeze_export.sources.networks.library_weights import LIBRARIES, PRETRAINED
from squeeze_export.sources.networks.names import wanted_of
from squeeze_export.sources.source import save_source
from squeeze_export.validation import noise

if TYPE_CHECKING:
    import torch

    from squeeze_export.sources.networks.names import Wanted

_WAIVE = "or --no-reference to do without."


@contextlib.contextmanager
def saved(
    bundle: OpenBundle,
    *,
    reference: bool,
    model: str | torch.nn.Module | None,
    weights: str | None,
    arguments: Mapping[str, object],
    checkpoint_key: str | None,
) -> Iterator[Path | None]:
    """The folder with the reference's source model, for the time of the block; None of a SqueezeNet, or where none is wanted.

    User code runs here and not in workers. UsageError where the network is not named, SourceError where it is another one.
    """
    source = bundle.manifest.source
    if is_squeezenet(source.model):
        if model is not None and model != source.model:
            raise UsageError(f"The bundle is of {source.model}, not of {wanted_of(model).shown}. Leave --model out.")
        for option, given in (("--model-arg", bool(arguments)), ("--checkpoint-key", checkpoint_key is not None)):
            if given:
                raise UsageError(
                    f"{option} is for other networks: the manifest of a {source.model} says which weights. Leave it out."
                )
    if is_squeezenet(source.model) or not reference:
        yield None
        return
    wanted = _wanted(bundle, model)
    made = load_captured(
        wanted,
        name="reference",
        weights=_weights(bundle, wanted, weights),
        arguments=arguments,
        labels=bundle.labels,
        preprocessing=lambda _: source.preprocessing,
        seed=source.weights_seed or 0,
        checkpoint_key=checkpoint_key,
        output=source.model_output,
        gives=source.model_gives,
        # Of one score with two labels the manifest has the softmax of the two classes that were made of it.
        activation="sigmoid" if source.activation == "sigmoid" else None,
        given=None if model is None or isinstance(model, str) else model,
    )
    _check(bundle, made)
    with tempfile.TemporaryDirectory(prefix="squeeze-export-") as scratch:
        save_source(made, Path(scratch) / "source")
        yield Path(scratch) / "source"


def _wanted(bundle: OpenBundle, model: str | torch.nn.Module | None) -> Wanted:
    """What the user names, or a network of a library, which the manifest names. No code is run because a manifest names it."""
    if model is not None:
        return wanted_of(model)
    named = bundle.manifest.source.model
    if named.partition(":")[0] not in LIBRARIES:
        raise UsageError(
            f"The reference cannot be made again: the bundle is of {named}, and a bundle holds no PyTorch network. Pass "
            f"--model {named} as in the export, {_WAIVE}"
        )
    return wanted_of(named)


def _weights(bundle: OpenBundle, wanted: Wanted, weights: str | None) -> Path | str:
    """The weights that the user names, or else those that the manifest tells."""
    source = bundle.manifest.source
    if weights is not None:
        return weights if weights == "random" or is_published(wanted.shown, weights) else Path(weights)
    if source.weights_kind == "library" and wanted.kind == "timm":
        return PRETRAINED
    if source.weights_kind in ("file", "library") and wanted.kind != "hf":
        name = "NAME" if source.weights_kind == "library" else "PATH"
        raise UsageError(
            f"The reference cannot be made again: its weights came from {source.weights_file}, which a bundle does not hold. "
            f"Pass --weights {name}, {_WAIVE}"
        )
    return source.weights_kind


def _check(bundle: OpenBundle, made: SourceModel) -> None:
    """SourceError where this is not the network that the bundle was made from."""
    import torch

    source = bundle.manifest.source
    if made.weights.sha256 != source.weights_sha256:
        raise SourceError(
            f"{made.model} has not the weights that the bundle was made from: their sha256 is {made.weights.sha256[:12]}…, the "
            f"manifest's {source.weights_sha256[:12]}…. Pass the bundle's own --model and --weights, {_WAIVE}"
        )
    pack = read_golden(bundle.folder / bundle_folder.GOLDEN)
    assert isinstance(pack.reference, Scores)  # features have no accuracy: such a bundle was refused
    with torch.inference_mode():
        answers = torch.cat([made.module(torch.from_numpy(normalise(crop[None], pack.preprocessing))) for crop in pack.pixels])
    snr = capture.centred_snr(torch.from_numpy(pack.reference.logits), answers)
    excused = noise.excused_db(pack.noise_floor) if pack.noise_floor is not None else math.inf
    if not snr >= min(capture.FLOOR_DB, excused):
        raise SourceError(
            f"{made.model} has the weights that the bundle was made from, but answers the golden images otherwise ({snr:.1f} "
            f"dB): its code was changed since. Pass the network as it was, {_WAIVE}"
        )
