"""The weights that timm and torchvision publish, by name, through the folders in which those libraries keep them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import SourceError
from squeeze_export.sources import published
from squeeze_export.sources.networks import building, faults, weights_of
from squeeze_export.sources.networks.names import Wanted

if TYPE_CHECKING:
    import torch

    from squeeze_export.sources.networks.building import PreprocessingHint

LIBRARIES: Final = ("timm", "torchvision")
PRETRAINED: Final = "pretrained"  # timm's own word; which of several is part of the model's name
_HASH: Final = re.compile(r"-([0-9a-f]{8,})\.\w+$")  # as torch.hub reads it off a file's name
_FILES: Final = ("model.safetensors", "pytorch_model.bin")  # as the hub calls them
_LARGEST: Final = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A library's network with its published weights. `file_name`: of what they were read from, without a folder.

    `label_claims` as in sources.weights.LoadedWeights.
    """

    module: torch.nn.Module
    preprocessing: PreprocessingHint | None
    file_name: str
    notes: tuple[str, ...]
    label_claims: Mapping[str, object] = field(default_factory=dict)


def example(wanted: Wanted) -> str:
    """How the usual ones are named."""
    return "DEFAULT" if wanted.kind == "torchvision" else PRETRAINED


def load(wanted: Wanted, weights: str) -> Loaded:
    """The network with the weights of this name, downloaded once into the library's own cache.

    SourceError where the library publishes none such, or where they are neither there nor to be had: it says what to put where.
    """
    return _of_torchvision(wanted, weights) if wanted.kind == "torchvision" else _of_timm(wanted)


def _of_torchvision(wanted: Wanted, weights: str) -> Loaded:
    import torch

    models = building.torchvision_with(wanted.name)
    members: Mapping[str, Any] = models.get_model_weights(wanted.name).__members__
    if weights not in members:
        have = f"It has {', '.join(members)}" if members else "It has none"
        raise SourceError(f"torchvision publishes no weights {weights} of {wanted.name}. {have}")
    member = members[weights]
    file_name = member.url.rpartition("/")[2]
    known = _HASH.search(file_name)
    path = published.cached(
        member.url,
        Path(torch.hub.get_dir()) / "checkpoints" / file_name,
        known[1] if known else "",
        what=f"weights {member.name} of {wanted.shown}",
        instead="--weights FILE",
        largest=_LARGEST,
    )
    # What torchvision's own builders set where these weights are asked for: the network scales its input itself.
    own = {"transform_input": True} if wanted.name in ("googlenet", "inception_v3") else {}
    built = building.build(wanted, arguments=own, num_classes=len(member.meta["categories"]))
    fitted = weights_of.fit(built.module, path, name=wanted.shown)
    return Loaded(
        module=fitted.module,
        preprocessing=building.torchvision_hint(member),
        file_name=file_name,
        notes=(*built.notes, *fitted.notes, f"The weights are torchvision's {member.name}, from {file_name}."),
        label_claims={"categories": list(member.meta["categories"])},
    )


def _of_timm(wanted: Wanted) -> Loaded:
    timm = building.timm_with(wanted.name)
    config = timm.models.get_pretrained_cfg(wanted.name)
    if config is None or not config.has_weights:
        raise SourceError(f"timm {timm.__version__} publishes no weights of {wanted.name}: pass --weights FILE, or random")
    try:
        with faults.quiet():
            # Weights alone: timm opens safetensors, and has torch.load refuse anything but tensors.
            module = timm.create_model(wanted.name, pretrained=True, pretrained_cfg_overlay=_on_disk(config))
    except Exception as error:
        raise SourceError(_absent(wanted, config, error)) from error
    built = building.ready(module, what=wanted.shown, fresh=True)
    hint = building.timm_hint(module, wanted.name)
    whole = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    place = config.hf_hub_id or config.url
    return Loaded(
        module=built.module,
        preprocessing=hint if hint is None else replace(hint, origin=f"timm's pretrained_cfg of {whole}"),
        file_name=str(place).rpartition("/")[2],
        notes=(*built.notes, f"The weights are timm's {whole}, from {place}."),
        label_claims={"label_names": list(config.label_names)} if config.label_names else {},
    )


def _on_disk(config: Any) -> dict[str, str]:
    """The hub's file from its cache, where it is there: timm itself would ask the network first, and repeat that for a minute."""
    if not config.hf_hub_id or config.custom_load:
        return {}
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    repository, _, revision = config.hf_hub_id.partition("@")
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _FILES
    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(path, str):
            return {"file": path}
    try:
        return {"file": hf_hub_download(repository, names[0], revision=revision or None)}
    except errors.RemoteEntryNotFoundError:
        return {}  # it has another file, which timm knows


def _absent(wanted: Wanted, config: Any, error: Exception) -> str:
    """What to put where, in the words of the place that timm would look into."""
    import torch

    why = faults.one_line(error)
    if config.hf_hub_id:
        from huggingface_hub import constants

        place = Path(constants.HF_HUB_CACHE) / f"models--{config.hf_hub_id.replace('/', '--')}"
        remedy = (
            f"Run `hf download {config.hf_hub_id}` where there is a network and copy its folder {place.name} there, or pass its "
            "model.safetensors as --weights FILE"
        )
    else:
        place = Path(torch.hub.get_dir()) / "checkpoints" / str(config.url).rpartition("/")[2]
        remedy = f"Download {config.url} elsewhere and put it there, or use --weights FILE"
    if place.exists():
        return f"the weights of {wanted.shown} in {place} could not be loaded ({why}). Remove them to have them downloaded again"
    return f"the weights of {wanted.shown} are not at {place} and could not be downloaded ({why}). {remedy}"
