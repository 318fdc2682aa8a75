"""A source model that is none of our own networks: built or read, given its weights, captured by torch.export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze_export.contracts.source import SourceModel, WeightsOrigin
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources import labels as label_files
from squeeze_export.sources.checkpoints.digests import combined_sha256
from squeeze_export.sources.labels import claims as label_claims
from squeeze_export.sources.networks import building, capture, factories, files, hugging_face, weights_of
from squeeze_export.sources.networks.capture import Captured
from squeeze_export.sources.source import check_name, weight_digests

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.signature import PreprocessingSpec
    from squeeze_export.sources.networks.building import PreprocessingHint
    from squeeze_export.sources.networks.names import Wanted


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A network with its weights: the eager `module`, or the `program` that was read; `origin` without its digest."""

    module: torch.nn.Module | None
    program: Captured | None
    hint: PreprocessingHint | None
    origin: WeightsOrigin
    claims: Mapping[str, object]
    notes: tuple[str, ...]


def load_captured(
    wanted: Wanted,
    *,
    name: str,
    weights: Path | str,
    arguments: Mapping[str, object],
    labels: Path | None,
    preprocessing: Callable[[Mapping[str, Any]], PreprocessingSpec],
    seed: int,
    checkpoint_key: str | None = None,
) -> SourceModel:
    """Make the source model that `wanted` names.

    `weights`: a checkpoint, "random" from `seed`, or any other word for those that the network comes with. `preprocessing`
    makes it of what the network's library says of it, arguments of preprocessing.spec.spec_for. SourceError where the network
    cannot be built, captured or given these weights; UsageError for options that cannot go together.
    """
    import torch

    check_name(name)
    found = _found(wanted, weights, arguments, seed, checkpoint_key)
    own = _own_preprocessing(found)
    spec = preprocessing(own)
    if found.program is not None:
        captured, eager = found.program, None
        _check_size(captured, spec, wanted)
    else:
        assert found.module is not None
        eager = found.module
        captured = capture.capture(eager, spec.height, spec.width, spec.channels, what=wanted.shown)
    folded, told_of_folding = capture.settle(captured)
    module = folded.module().requires_grad_(False)
    with torch.no_grad():
        classes = int(module(torch.zeros(folded.input_shape)).shape[-1])
    if classes < 2:
        raise SourceError(f"{wanted.shown} gives one score per image: with fewer than 2 classes there is nothing to tell apart")
    given = None if labels is None else label_files.read_labels(labels, classes)
    names, told = label_claims.settle(found.claims, classes, given)
    notes = (*found.notes, *captured.notes, *told, *told_of_folding)
    if found.hint is not None and all(getattr(spec, name) == own[name] for name in ("mean", "std", "interpolation")):
        notes += (f"the preprocessing is that of {found.hint.origin}: {spec.told()}.",)
    source = SourceModel(
        name=name,
        model=wanted.shown,
        module=module,
        num_classes=classes,
        labels=names,
        preprocessing=spec,
        weights=found.origin,
        notes=notes,
        kernels=kernels_of(module),
        program=folded,
        eager=eager,
    )
    digest = combined_sha256((weight.name, weight.shape, weight.fp32) for weight in weight_digests(source))
    return replace(source, weights=replace(found.origin, sha256=digest))


def _found(wanted: Wanted, weights: Path | str, arguments: Mapping[str, object], seed: int, checkpoint_key: str | None) -> _Found:
    if arguments and wanted.kind != "factory":
        raise UsageError(f"--model-arg is for a MODULE:FACTORY, and {wanted.shown} is none. Leave it out.")
    if wanted.kind == "program":
        path = Path(wanted.name)
        if isinstance(weights, Path) or weights == "random":
            raise UsageError(f"{path.name} holds its weights. Leave --weights out.")
        origin = WeightsOrigin(kind="module", sha256="", file_name=path.name, seed=None)
        return _Found(module=None, program=files.load(path), hint=None, origin=origin, claims={}, notes=())
    if wanted.kind == "hf":
        if isinstance(weights, Path) or weights == "random":
            raise UsageError(f"{wanted.shown} has its weights beside it. Leave --weights out.")
        opened = hugging_face.open_folder(Path(wanted.name))
        return _Found(
            module=opened.module,
            program=None,
            hint=opened.preprocessing,
            origin=opened.origin,
            claims=opened.label_claims,
            notes=opened.notes,
        )
    if isinstance(weights, Path):

        def rebuild(classes: int) -> torch.nn.Module:
            return building.build(wanted, arguments=arguments, num_classes=classes).module

        with _seeded(seed):
            built = building.build(wanted, arguments=arguments, num_classes=None)
            fitted = weights_of.fit(
                built.module,
                weights,
                checkpoint_key=checkpoint_key,
                name=wanted.shown,
                rebuild=rebuild if wanted.kind != "factory" or factories.takes_classes(wanted.name) else None,
            )
        return _Found(
            module=fitted.module,
            program=None,
            hint=built.preprocessing,
            origin=fitted.origin,
            claims=fitted.label_claims,
            notes=(*built.notes, *fitted.notes),
        )
    if weights != "random" and wanted.kind != "factory":
        raise UsageError(
            f"{wanted.shown} is built without weights. Pass --weights PATH, a checkpoint of yours or of the library's, or "
            "--weights random to try it out."
        )
    with _seeded(seed):  # whatever a constructor draws: the same command gives the same bytes
        built = building.build(wanted, arguments=arguments, num_classes=None)
    kind, number = ("random", seed) if weights == "random" else ("module", None)
    origin = WeightsOrigin(kind=kind, sha256="", file_name=None, seed=number)  # type: ignore[arg-type]
    return _Found(module=built.module, program=None, hint=built.preprocessing, origin=origin, claims={}, notes=built.notes)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` for the time of the block; torch's own generator is as before behind it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def kernels_of(module: Any) -> tuple[str, ...]:
    """The weights of the convolutions and linear layers of a captured module, by name, each once, in the order of computation."""
    import torch

    layers = (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding, torch.ops.aten.linear.default)
    nodes = [node.args[1] for node in module.graph.nodes if node.op == "call_function" and node.target in layers]
    names = [str(node.target) for node in nodes if getattr(node, "op", None) == "get_attr"]
    return tuple(dict.fromkeys(names))


def _own_preprocessing(found: _Found) -> dict[str, Any]:
    """What a network or its library says of its preprocessing, as arguments of spec_for."""
    if found.program is not None:
        _, channels, height, width = found.program.input_shape
        return {"input_size": (height, width), "channels": channels}
    if found.hint is None:
        return {}
    hint = found.hint
    return {
        "input_size": (hint.height, hint.width),
        "crop_pct": hint.crop_pct,
        "resize_mode": hint.resize_mode,
        "interpolation": hint.interpolation,
        "mean": hint.mean,
        "std": hint.std,
    }


def _check_size(captured: Captured, spec: PreprocessingSpec, wanted: Wanted) -> None:
    """A program has the size of its input fixed."""
    _, channels, height, width = captured.input_shape
    if (height, width, channels) != (spec.height, spec.width, spec.channels):
        raise SourceError(
            f"{Path(wanted.name).name} takes {channels} channels of {height}x{width}, and the preprocessing gives "
            f"{spec.channels} of {spec.height}x{spec.width}. Leave --input-size out, or capture the network at that size"
        )
