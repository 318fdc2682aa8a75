"""A source model that is none of our own networks: built or read, given its weights, captured by torch.export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from squeeze_export.contracts.heads import AskedActivation, ModelGives
from squeeze_export.contracts.source import SourceModel, WeightsOrigin, is_published
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources import labels as label_files
from squeeze_export.sources.checkpoints.digests import combined_sha256
from squeeze_export.sources.labels import claims as label_claims
from squeeze_export.sources.networks import (
    building,
    capture,
    factories,
    faults,
    files,
    heads,
    hugging_face,
    library_weights,
    outputs,
    weights_of,
)
from squeeze_export.sources.networks.capture import Captured
from squeeze_export.sources.networks.heads import Head
from squeeze_export.sources.networks.programs.graphs import layers_of
from squeeze_export.sources.source import check_name, weight_digests

if TYPE_CHECKING:
    import torch

    from squeeze_export.contracts.signature import PreprocessingSpec
    from squeeze_export.sources.networks.building import Built, PreprocessingHint
    from squeeze_export.sources.networks.names import Wanted

_YES_AND_NO: Final = 2


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
    labels: Path | tuple[str, ...] | None,
    preprocessing: Callable[[Mapping[str, Any]], PreprocessingSpec],
    seed: int,
    checkpoint_key: str | None = None,
    given: torch.nn.Module | None = None,
    output: str | None = None,
    gives: ModelGives | None = None,
    activation: AskedActivation | None = None,
    images: Callable[[PreprocessingSpec], torch.Tensor] | None = None,
) -> SourceModel:
    """Make the source model that `wanted` names; `given` is the network itself where a program holds it.

    `weights`: a checkpoint, "random" from `seed`, or any other word for those that the network comes with. `preprocessing`
    makes it of what the network's library says of it, arguments of preprocessing.spec.spec_for. `output` names one of several
    outputs; `gives` and `activation`: what the user says of it, else found on `images`, (N, C, H, W) normalised by that
    preprocessing, or on samples. SourceError where the network cannot be built, captured or given these weights; UsageError for
    options that cannot go together.
    """
    import torch

    check_name(name)
    found = found_of(wanted, weights, arguments, seed, checkpoint_key, output, given)
    told_of_random: tuple[str, ...] = ()
    spec = preprocessing(own_preprocessing(found))
    if found.program is not None:
        captured, eager = found.program, None
        _check_size(captured, spec, wanted)
    else:
        assert found.module is not None
        eager = found.module
        if found.origin.kind == "random":
            told_of_random = building.calibrate_norms(eager, capture.samples((1, spec.channels, spec.height, spec.width)))
        if labels is not None:
            _check_count(eager, spec, labels, output)
        captured = capture.capture(eager, spec.height, spec.width, spec.channels, output=output, what=wanted.shown)
    shown = capture.samples(captured.input_shape) if images is None else images(spec)
    head = heads.settle(captured, shown, gives=gives, activation=activation, what=wanted.shown)
    names, told, head = _labelled(head, labels, found.claims)
    if eager is not None:
        eager = outputs.only(eager, captured.output) if captured.output else eager
        eager = eager if head.captured is captured else heads.reference(eager, head)
    folded, told_of_folding = capture.settle(head.captured)
    module = folded.module().requires_grad_(False)
    with torch.no_grad():
        classes = int(module(torch.zeros(folded.input_shape)).shape[-1])
    told = (*head.notes, *told, *told_of_folding, *told_of_preprocessing(found, spec))
    notes = (*found.notes, *told_of_random, *captured.notes, *told)
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
        program=replace(folded, output=None),
        eager=eager,
        activation=head.activation,
        gives=head.gives,
        output=captured.output,
    )
    digest = combined_sha256((weight.name, weight.shape, weight.fp32) for weight in weight_digests(source))
    return replace(source, weights=replace(found.origin, sha256=digest))


def _check_count(module: torch.nn.Module, spec: PreprocessingSpec, labels: Path | tuple[str, ...], output: str | None) -> None:
    """Refuse labels of another number before the capture, which takes a large network a minute.

    Where the network cannot compute an image, or gives several outputs and none is named, the capture says so.
    """
    import torch

    try:
        with torch.no_grad(), faults.quiet():
            found = outputs.named(module(torch.zeros(1, spec.channels, spec.height, spec.width)))
    except Exception:
        return
    scores = next(iter(found.values())) if len(found) == 1 else found.get(output or "")
    if scores is not None and scores.dim() == 2 and scores.shape[1] > 1:
        label_files.read_labels(labels, int(scores.shape[1]))


def _labelled(
    head: Head, labels: Path | tuple[str, ...] | None, claims: Mapping[str, object]
) -> tuple[tuple[str, ...] | None, tuple[str, ...], Head]:
    """The labels, notes, and the head that they are of: one score with two labels becomes two classes."""
    import torch

    with torch.no_grad():
        classes = int(head.captured.module()(torch.zeros(head.captured.input_shape)).shape[-1])
    if classes > 1:
        given = None if labels is None else label_files.read_labels(labels, classes)
        return *label_claims.settle(claims, classes, given), head
    if labels is not None:
        given = label_files.read_labels(labels, None, least=1)
        if len(given.names) > _YES_AND_NO:
            where = "the list of labels" if isinstance(labels, tuple) else f"labels file {labels}"
            raise SourceError(
                f"{where} has {len(given.names)} labels, and the network gives one score per image: give one "
                "name, of what the score is the probability of, or two, of no and yes in this order"
            )
        names, told = label_claims.settle(claims, len(given.names), given)
    else:
        names, told = label_claims.settle(claims, _YES_AND_NO, None)
    if names is None or len(names) == 1:
        return names, told, head
    two = heads.as_two_classes(head)
    return names, (*told, f"the one score of the network is that of {names[1]}; {names[0]} has what is left to one."), two


def found_of(
    wanted: Wanted,
    weights: Path | str,
    arguments: Mapping[str, object],
    seed: int,
    checkpoint_key: str | None,
    output: str | None,
    given: torch.nn.Module | None,
) -> _Found:
    if arguments and wanted.kind != "factory":
        raise UsageError(f"--model-arg is for a MODULE:FACTORY, and {wanted.shown} is none. Leave it out.")
    if wanted.kind == "program":
        path = Path(wanted.name)
        if isinstance(weights, Path) or weights == "random":
            raise UsageError(f"{path.name} holds its weights. Leave --weights out.")
        origin = WeightsOrigin(kind="module", sha256="", file_name=path.name, seed=None)
        return _Found(module=None, program=files.load(path, output=output), hint=None, origin=origin, claims={}, notes=())
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
    if not isinstance(weights, Path) and is_published(wanted.shown, weights):
        return _published(wanted, weights)
    if isinstance(weights, Path):

        def rebuild(classes: int) -> torch.nn.Module:
            return building.build(wanted, arguments=arguments, num_classes=classes).module

        by_classes = wanted.kind in library_weights.LIBRARIES or (
            wanted.kind == "factory" and factories.takes_classes(wanted.name)
        )
        with _seeded(seed):
            built = _built(wanted, arguments, given)
            fitted = weights_of.fit(
                built.module,
                weights,
                checkpoint_key=checkpoint_key,
                name=wanted.shown,
                rebuild=rebuild if by_classes else None,
            )
        return _Found(
            module=fitted.module,
            program=None,
            hint=built.preprocessing,
            origin=fitted.origin,
            claims=fitted.label_claims,
            notes=(*built.notes, *fitted.notes),
        )
    if given is not None and weights == "random":
        raise UsageError(f"{wanted.shown} has weights already, and --weights random would draw others. Leave it out.")
    if weights != "random" and wanted.kind in library_weights.LIBRARIES:
        building.check_name(wanted)  # a wrong name first: it is what has to be changed
        raise UsageError(
            f"{wanted.shown} is built without weights. Pass --weights PATH, a checkpoint of yours; --weights "
            f"{library_weights.example(wanted)}, those that the library publishes; or --weights random to try it out."
        )
    with _seeded(seed):  # whatever a constructor draws: the same command gives the same bytes
        built = _built(wanted, arguments, given)
    kind: Literal["random", "module"] = "random" if weights == "random" else "module"
    # What a factory's own code drew came from the seed as well.
    origin = WeightsOrigin(kind=kind, sha256="", file_name=None, seed=None if given is not None else seed)
    return _Found(module=built.module, program=None, hint=built.preprocessing, origin=origin, claims={}, notes=built.notes)


def _built(wanted: Wanted, arguments: Mapping[str, object], given: torch.nn.Module | None) -> Built:
    if given is not None:
        return building.of_module(given, what=wanted.shown)
    return building.build(wanted, arguments=arguments, num_classes=None)


def _published(wanted: Wanted, weights: str) -> _Found:
    """A library's network with the weights that the library publishes under this name."""
    found = library_weights.load(wanted, weights)
    return _Found(
        module=found.module,
        program=None,
        hint=found.preprocessing,
        origin=WeightsOrigin(kind="library", sha256="", file_name=found.file_name, seed=None),
        claims=found.label_claims,
        notes=found.notes,
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` for the time of the block; torch's own generator is as before behind it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def kernels_of(module: Any) -> tuple[str, ...]:
    """The weights of the convolutions and linear layers of a captured module, by name, each once, in the order of computation."""
    kernels = [node.args[1] for node in layers_of(module.graph)]
    names = [str(kernel.target) for kernel in kernels if getattr(kernel, "op", None) == "get_attr"]
    return tuple(dict.fromkeys(names))


def own_preprocessing(found: _Found) -> dict[str, Any]:
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


def told_of_preprocessing(found: _Found, spec: PreprocessingSpec) -> tuple[str, ...]:
    """A note where the preprocessing is what the network's library says of it."""
    own = own_preprocessing(found)
    if found.hint is None or any(getattr(spec, name) != own[name] for name in ("mean", "std", "interpolation")):
        return ()
    return (f"the preprocessing is that of {found.hint.origin}: {spec.told()}.",)


def _check_size(captured: Captured, spec: PreprocessingSpec, wanted: Wanted) -> None:
    """A program has the size of its input fixed."""
    _, channels, height, width = captured.input_shape
    if (height, width, channels) != (spec.height, spec.width, spec.channels):
        raise SourceError(
            f"{Path(wanted.name).name} takes {channels} channels of {height}x{width}, and the preprocessing gives "
            f"{spec.channels} of {spec.height}x{spec.width}. Leave --input-size out, or capture the network at that size"
        )
