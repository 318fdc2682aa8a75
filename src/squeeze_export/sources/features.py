"""`--head features` of a captured network: what its classifier takes, or what a module that the user names gives."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze_export.contracts.source import SourceModel
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources import captured
from squeeze_export.sources.checkpoints.digests import canonical_sha256
from squeeze_export.sources.networks import capture, faults, outputs, weights_of
from squeeze_export.sources.networks.capture import Captured
from squeeze_export.sources.networks.programs import graphs
from squeeze_export.sources.source import check_name

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.signature import PreprocessingSpec
    from squeeze_export.sources.networks.names import Wanted


def load_features(
    wanted: Wanted,
    *,
    name: str,
    weights: Path | str,
    arguments: Mapping[str, object],
    preprocessing: Callable[[Mapping[str, Any]], PreprocessingSpec],
    seed: int,
    checkpoint_key: str | None = None,
    given: torch.nn.Module | None = None,
    at: str | None = None,
) -> SourceModel:
    """As captured.load_captured, without the classifier: the source model gives features, (1, channels).

    `at`: the dotted path of a module whose output is taken, averaged over space; without it, what timm calls pre-logits, or else
    the input of the last linear layer. SourceError where that is no row of numbers; UsageError for a program, which has no parts.
    """
    import torch

    check_name(name)
    found = captured.found_of(wanted, weights, arguments, seed, checkpoint_key, None, given)
    if found.module is None:
        raise UsageError(
            f"--head features takes a network apart, and {Path(wanted.name).name} is captured in one piece. Capture the network "
            "without its classifier, or pass it as a MODULE:FACTORY."
        )
    spec = preprocessing(captured.own_preprocessing(found))
    eager, where = extractor(found.module, at=at, what=wanted.shown)
    taken = capture.capture(eager, spec.height, spec.width, spec.channels, what=f"{wanted.shown} up to {where}")
    folded, told_of_folding = capture.settle(_pruned(taken))
    module = folded.module().requires_grad_(False)
    sample = torch.zeros(folded.input_shape)
    with torch.no_grad(), faults.quiet():
        channels = int(module(sample).shape[-1])
        scores = next(iter(outputs.named(found.module(sample)).values()))
    told = (f"the features are {where}: {channels} numbers.", *told_of_folding, *captured.told_of_preprocessing(found, spec))
    whole = {key: value for key, value in found.module.state_dict().items() if value.is_floating_point()}
    return SourceModel(
        name=name,
        model=wanted.shown,
        module=module,
        num_classes=int(scores.shape[-1]),
        labels=None,
        preprocessing=spec,
        weights=replace(found.origin, sha256=canonical_sha256(whole)),
        head="features",
        notes=(*found.notes, *taken.notes, *told),
        kernels=captured.kernels_of(module),
        program=folded,
        eager=eager,
        feature_channels=channels,
    )


def _pruned(taken: Captured) -> Captured:
    """The program without what only the scores need, and so without the classifier's weights."""
    module = taken.module()
    graphs.prune(module)
    return capture.again(taken, module)


def extractor(module: torch.nn.Module, *, at: str | None, what: str) -> tuple[torch.nn.Module, str]:
    """The same module with the same parameters by the same names, giving features; and where they are taken, in words.

    SourceError where there is no such place.
    """
    if at is not None:
        known = [path for path, _ in module.named_modules() if path]
        if at not in known:
            close = difflib.get_close_matches(at, known, n=3, cutoff=0.4)
            near = f"Did you mean {' or '.join(close)}?" if close else f"It has {', '.join(known[-5:])}"
            raise SourceError(f"--features-at {at}: {what} has no such module. {near}")
        return _giving(module, lambda whole, image: _kept(whole, at, image, inputs=False)), f"the output of {at}"
    if callable(getattr(module, "forward_features", None)) and callable(getattr(module, "forward_head", None)):
        return _giving(module, lambda whole, image: whole.forward_head(whole.forward_features(image), pre_logits=True)), (
            "timm's pre-logits"
        )
    head = weights_of.head_of(module).rpartition(".")[0]
    return _giving(module, lambda whole, image: _kept(whole, head, image, inputs=True)), f"the input of {head or 'the layer'}"


def _giving(module: torch.nn.Module, features: Callable[[Any, Any], Any]) -> torch.nn.Module:
    import torch

    kind = type(module)

    def forward(self: Any, image: torch.Tensor) -> Any:
        # As the network itself: of this class its own forward is another one.
        value = features(whole, image)
        return value.mean((2, 3)) if isinstance(value, torch.Tensor) and value.dim() == 4 else value

    whole: Any = object.__new__(kind)
    whole.__dict__ = module.__dict__
    made: Any = object.__new__(type(kind.__name__, (kind,), {"forward": forward}))
    made.__dict__ = {name: value for name, value in module.__dict__.items() if name != "forward"}
    giving: torch.nn.Module = made
    return giving


def _kept(whole: torch.nn.Module, path: str, image: torch.Tensor, *, inputs: bool) -> Any:
    """What went into or came out of the module at `path` while the whole network computed."""
    kept: list[Any] = []

    def keep(_: Any, given: Any, gave: Any) -> None:
        value = next(iter(outputs.named(given[0] if inputs else gave).values()), None)
        kept.append(None if value is None else value.clone())  # what follows may write into it

    handle = whole.get_submodule(path).register_forward_hook(keep)
    try:
        whole(image)
    finally:
        handle.remove()
    if not kept:
        raise SourceError(f"the network computes its scores without {path}: name another module with --features-at")
    return kept[-1]
