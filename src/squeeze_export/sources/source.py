"""The source model: weights, labels and preprocessing put together, and how it travels to a worker process and back."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.request import OWN_WEIGHTS
from squeeze_export.contracts.signature import Head, PreprocessingSpec
from squeeze_export.contracts.source import ModelName, SourceModel, WeightDigest, WeightsOrigin, is_squeezenet
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources import labels as label_files
from squeeze_export.sources import weights as weight_files
from squeeze_export.sources.labels import claims as label_claims
from squeeze_export.sources.networks import files
from squeeze_export.sources.networks.names import short_name

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.arrays import Array

_WEIGHTS: Final = "weights.safetensors"
_PROGRAM: Final = "program.pt2"  # of a captured network, in place of the weights
_DESCRIPTION: Final = "source.json"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LONGEST_NAME: Final = 100  # leaves room for prefixes and endings below the 255 bytes of a file name


def default_name(model: str, weights: Path | str, head: Head = "classifier") -> str:
    """What the source model is called where the user says nothing: the model's name, the stem of the weights' file, "features".

    Safe as a file name: letters, digits, dot, underscore, hyphen; every other character becomes an underscore.
    """
    stem = weights.stem if isinstance(weights, Path) else weights
    if not is_squeezenet(model):
        stem = stem if stem not in (OWN_WEIGHTS, "demo") else ""
        model = re.sub(r"[^A-Za-z0-9._-]", "_", short_name(model))
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", stem)
    ending = "" if head == "classifier" else f"-{head}"
    return (safe if safe.startswith(model) else f"{model}-{safe}" if safe else model)[: _LONGEST_NAME - len(ending)] + ending


def check_name(name: str) -> str:
    """Return `name` if it can be the name of files and folders on every system; UsageError otherwise."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"the name {name!r} cannot be a file name everywhere: use at most {_LONGEST_NAME} letters, digits, '.', '_' and '-', "
            "not starting with '.' or '-'"
        )
    return name


def load_source(
    *,
    name: str,
    model: ModelName,
    weights: weight_files.WeightsChoice,
    seed: int,
    labels: Path | tuple[str, ...] | None,
    preprocessing: PreprocessingSpec,
    head: Head = "classifier",
    checkpoint_key: str | None = None,
    weights_sha256: str | None = None,
    unnamed_classes: int | None = None,
    head_relu: bool = True,
) -> SourceModel:
    """Load the one model that everything is made from; SourceError where weights or labels are not what they must be.

    Random weights have as many classes as there are labels, or 1000. The demo weights bring their own labels; of other weights
    those that the checkpoint holds are taken where `labels` is None, and compared with `labels` otherwise. With the head
    "features" the whole checkpoint is loaded and held against the model all the same; labels are a UsageError then.
    `checkpoint_key` and `weights_sha256` choose among several state dicts of a file, as in weights.load_weights.
    `unnamed_classes`: of a model that is only computed, whose labels do not matter, so many classes; none is named.
    """
    check_name(name)
    if head == "features" and labels is not None:
        raise UsageError(f"labels {labels}: features are no classes, so nothing could be labelled; leave --labels out")
    if weights == "demo" and labels is None and head == "classifier":
        labels = weight_files.demo_labels()
    if unnamed_classes is not None:
        loaded = weight_files.load_weights(
            model,
            weights,
            seed=seed,
            random_classes=unnamed_classes,
            checkpoint_key=checkpoint_key,
            sha256=weights_sha256,
        )
        return _source(name, model, loaded, preprocessing, head, head_relu)
    given = None
    if weights == "random" and labels is not None:
        given = label_files.read_labels(labels, None)
        loaded = weight_files.load_weights(
            model, weights, seed=seed, random_classes=len(given.names), checkpoint_key=checkpoint_key
        )
    else:
        loaded = weight_files.load_weights(model, weights, seed=seed, checkpoint_key=checkpoint_key, sha256=weights_sha256)
        given = None if labels is None else label_files.read_labels(labels, loaded.num_classes)
    if head == "features":
        return _source(name, model, loaded, preprocessing, head, head_relu)
    names, notes = label_claims.settle(loaded.label_claims, loaded.num_classes, given)
    return _source(name, model, loaded, preprocessing, head, head_relu, names, notes)


def _source(
    name: str,
    model: ModelName,
    loaded: weight_files.LoadedWeights,
    preprocessing: PreprocessingSpec,
    head: Head,
    head_relu: bool,
    labels: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> SourceModel:
    return SourceModel(
        name=name,
        model=model,
        module=_module(model, loaded.num_classes, loaded.state, head, head_relu),
        num_classes=loaded.num_classes,
        labels=labels,
        preprocessing=preprocessing,
        weights=loaded.origin,
        head=head,
        notes=(*loaded.notes, *notes),
        head_relu=head_relu,
    )


def weight_digests(source: SourceModel) -> tuple[WeightDigest, ...]:
    """The digests of every weight of the source, in the module's order."""
    state = _floats(source.module)
    return tuple(weight_digest(name, value.detach().cpu().contiguous().numpy()) for name, value in state.items())


def _floats(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights and statistics by name; indices and counters, which captured networks may hold as well, are none."""
    return {name: value for name, value in module.state_dict().items() if value.is_floating_point()}


def weight_digest(name: str, values: Array) -> WeightDigest:
    """The digests of one weight, an array in the source model's layout."""
    import numpy as np

    with np.errstate(over="ignore"):  # beyond 65504 fp16 is infinite: the digest says so, parity judges it
        halves = values.astype("<f2")
    return WeightDigest(
        name=name,
        shape=tuple(values.shape),
        fp32=hashlib.sha256(values.astype("<f4").tobytes()).hexdigest(),
        fp16=hashlib.sha256(halves.tobytes()).hexdigest(),
    )


def save_source(source: SourceModel, folder: Path) -> None:
    """Write the source model into `folder`, made if need be, for restore_source in another process. No pickle, bit for bit."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in _floats(source.module).items()}
    try:
        if source.program is not None:
            files.save(source.program, folder / _PROGRAM)
        else:
            save_file(state, folder / _WEIGHTS)
    except SafetensorError as error:
        # It wraps the system's own error without its number; a full disk is what it meets here.
        number = errno.ENOSPC if "No space left" in str(error) else errno.EIO
        raise OSError(number, os.strerror(number), str(folder)) from error
    description = {
        "name": source.name,
        "model": source.model,
        "num_classes": source.num_classes,
        "labels": source.labels,
        "preprocessing": source.preprocessing.record(),
        "weights": asdict(source.weights),
        "head": source.head,
        "head_relu": source.head_relu,
        "activation": source.activation,
        "gives": source.gives,
        "output": source.output,
        "kernels": source.kernels,
        "feature_channels": source.feature_channels,
        # Not always that of `weights`, which is the whole checkpoint's.
        "state_sha256": weight_files.canonical_sha256(state),
    }
    (folder / _DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def program_digest(folder: Path) -> str:
    """sha256 of the program of a captured network that save_source wrote into `folder`."""
    with (folder / _PROGRAM).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restore_source(folder: Path) -> SourceModel:
    """Read what save_source wrote; SourceError where a file is missing or the weights are not those that were saved."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        description: dict[str, Any] = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        preprocessing = dict(description["preprocessing"])
        preprocessing |= {key: tuple(preprocessing[key]) for key in ("mean", "std")}
        model, program = description["model"], None
        if is_squeezenet(model):
            state = load_file(folder / _WEIGHTS)
            module = _module(model, description["num_classes"], state, description["head"], description["head_relu"])
        else:
            program = files.load(folder / _PROGRAM)
            module = program.module()
        source = SourceModel(
            name=description["name"],
            model=model,
            module=module,
            program=program,
            kernels=tuple(description["kernels"]),
            feature_channels=description["feature_channels"],
            num_classes=description["num_classes"],
            labels=None if description["labels"] is None else tuple(description["labels"]),
            preprocessing=PreprocessingSpec(**preprocessing),
            weights=WeightsOrigin(**description["weights"]),
            head=description["head"],
            head_relu=description["head_relu"],
            activation=description["activation"],
            gives=description["gives"],
            output=description["output"],
        )
        saved: str = description["state_sha256"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise SourceError(
            f"the saved source model in {folder} cannot be read ({type(error).__name__}: {error}): save it again"
        ) from error
    found = weight_files.canonical_sha256(_floats(source.module))
    if found != saved:
        raise SourceError(f"the saved source model in {folder} has other weights than were saved (sha256 {found}): save it again")
    return source


def _module(model: ModelName, num_classes: int, state: dict[str, torch.Tensor], head: Head, head_relu: bool) -> torch.nn.Module:
    """Build the network around these weights: eval mode, no gradients. Features need none of the classifier's weights."""
    import torch

    from squeeze_export.sources.squeezenet import FeatureExtractor, SqueezeNet

    with torch.device("meta"):  # the constructor's own random weights would cost time and disturb torch's global generator
        whole = SqueezeNet(model, num_classes, head_relu=head_relu)
    network = whole if head == "classifier" else FeatureExtractor(whole)
    left_away = () if head == "classifier" else {f"classifier.{name}" for name in whole.classifier.state_dict()}
    # Cloned: safetensors maps the file into memory, and a weight must not change with the file.
    kept = {name: value.clone() for name, value in state.items() if name not in left_away}
    network.load_state_dict(kept, strict=True, assign=True)
    return network.requires_grad_(False).eval()
