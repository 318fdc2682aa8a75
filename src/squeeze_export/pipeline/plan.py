"""What an export will make, settled before any work: artifacts, their settings, starters."""

from __future__ import annotations

from typing import get_args

from squeeze_export.contracts.artifact import (
    AUTO,
    PIXELS_IN,
    TARGETS,
    ArtifactKey,
    ExportSettings,
    IosTarget,
    TfliteRoute,
)
from squeeze_export.contracts.heads import ACTIVATIONS, GIVEN
from squeeze_export.contracts.request import OWN_WEIGHTS, STARTERS, ExportRequest, Starter
from squeeze_export.contracts.signature import Head, InputKind, OutputKind, ScoreKind
from squeeze_export.contracts.source import SourceModel, is_squeezenet
from squeeze_export.errors import TargetUnavailableError, UsageError
from squeeze_export.exporters import EXPORTERS
from squeeze_export.exporters.coreml.rungs import check_target
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.golden.calibration import find_pictures
from squeeze_export.pipeline import accuracy_gate, best, own_reference
from squeeze_export.sources.networks.names import wanted_of
from squeeze_export.sources.source import check_name
from squeeze_export.starters.template import fed_targets, targets_of
from squeeze_export.validation.runners import RUNNERS


def plan(request: ExportRequest) -> dict[ArtifactKey, ExportSettings]:
    """Settle what each artifact is asked for, and refuse what cannot be done here before anything slow begins."""
    unknown = [target for target in request.targets if target not in TARGETS]
    if unknown or not request.targets or isinstance(request.targets, str):
        found = repr(request.targets)
        raise UsageError(f"The targets of an export are one or more of {', '.join(TARGETS)}; found {found}.")
    _check_words(request)
    accuracy_gate.check(request)
    best.check(request)
    own_reference.check_request(request)
    if request.calibration is not None:
        find_pictures(request.calibration)
    output_kind = _output_kind(request)
    for starter in starters_of(request):
        if not set(targets_of(starter)) & fed_targets(request.keys):
            needed = " or ".join(targets_of(starter))
            if set(targets_of(starter)) & set(request.targets):
                raise UsageError(
                    f"--starter {starter} feeds float32, and {PIXELS_IN} takes uint8. Write --precision tflite={PIXELS_IN},fp32."
                )
            raise UsageError(f"--starter {starter} needs {needed} among the targets. Add --target {needed.split()[0]}.")
    _check_network(request)
    if lacking := _lacking(request):
        raise TargetUnavailableError("\n".join(lacking))
    settings: dict[ArtifactKey, ExportSettings] = {}
    for key in request.keys:
        if key.precision not in EXPORTERS[key.target].PRECISIONS:
            known = ", ".join(EXPORTERS[key.target].PRECISIONS)
            having = [target for target in request.targets if key.precision in EXPORTERS[target].PRECISIONS]
            only = f" For {having[0]} alone write --precision {having[0]}={key.rung}." if having else ""
            raise UsageError(f"{key.target} cannot be written in {key.rung}; it has {known}.{only}")
        if key.target == "coreml":
            check_target(key.precision, request.ios_target)
        if key.precision == PIXELS_IN and request.input_kind == "tensor":
            raise UsageError(
                f"{key} takes the pixels of an image as they are, --input-kind tensor what an app has normalised. Leave one of "
                "them out."
            )
        if key.precision == AUTO and key.size_budget is None:
            raise UsageError("The precision auto needs a size: write --precision coreml=auto:490KB.")
        settings[key] = ExportSettings(
            precision=key.precision,
            input_kind=request.input_kind,
            output_kind=output_kind,
            ios_target=request.ios_target,
            tflite_route=request.tflite_route,
            size_budget=key.size_budget,
        )
    return settings


def _check_network(request: ExportRequest) -> None:
    """What only SqueezeNet can be asked for yet, refused for other networks with what they can."""
    model = wanted_of(request.model).shown
    if is_squeezenet(model):
        if request.model_arguments:
            raise UsageError(f"--model-arg is for a MODULE:FACTORY, and {model} has no arguments. Leave it out.")
        if request.features_at is not None:
            raise UsageError(f"--features-at is for other networks: {model} has its features in one place. Leave it out.")
        if request.preprocessing is not None and request.preprocessing.channels != 3:
            raise UsageError(f"colour order GRAY is for networks of one channel, and {model} takes three. Choose RGB or BGR.")
        if request.weights == OWN_WEIGHTS:
            raise UsageError(f"{model} has no weights of its own: pass a file, imagenet, random or demo.")
        _check_head_of_squeezenet(request)
        return
    if request.features_at is not None and request.head != "features":
        raise UsageError(f"--features-at {request.features_at} says where features are taken. Pass --head features beside it.")
    for option, given in (
        ("--head-relu no", not request.head_relu),
        ("--weights imagenet", request.weights == "imagenet"),
        (f"--tflite-route {request.tflite_route}", request.tflite_route != "litert-torch" and "tflite" in request.targets),
    ):
        if given:
            raise UsageError(f"{option} is for SqueezeNet so far, not for {model}. Leave it out.")
    for key in request.keys:
        known = EXPORTERS[key.target].CAPTURED
        if key.precision not in known:
            which = ", ".join(
                f"{target}={','.join(EXPORTERS[target].CAPTURED)}" for target in TARGETS if EXPORTERS[target].CAPTURED
            )
            raise UsageError(f"{key} is made of SqueezeNet only so far, not of {model}. Other networks have {which}.")


def _check_head_of_squeezenet(request: ExportRequest) -> None:
    """SqueezeNet gives one row of logits, and its softmax is a part of its formats."""
    if request.activation not in (None, "softmax"):
        other = " Write --output-kind logits for the scores without it." if request.activation == "none" else ""
        raise UsageError(f"{request.model} has softmax, and --activation {request.activation} is for other networks.{other}")
    if request.model_gives not in (None, "logits"):
        raise UsageError(f"{request.model} gives logits, not {request.model_gives}. Leave --model-gives out.")
    if request.model_output is not None:
        raise UsageError(f"{request.model} has one output. Leave --model-output {request.model_output} out.")


def _check_words(request: ExportRequest) -> None:
    """The same closed sets that the command line has, for a request that a program made."""
    if request.name is not None:
        check_name(request.name)
    closed: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("input_kind", request.input_kind, get_args(InputKind)),
        ("head", request.head, get_args(Head)),
        ("output_kind", request.output_kind, (None, *get_args(ScoreKind))),
        ("activation", request.activation, (None, *ACTIVATIONS)),
        ("model_gives", request.model_gives, (None, *GIVEN)),
        ("ios_target", request.ios_target, get_args(IosTarget)),
        ("tflite_route", request.tflite_route, get_args(TfliteRoute)),
    )
    for name, value, known in closed:
        if value not in known:
            raise UsageError(f"{name} {value!r} is unknown; it is one of {', '.join(map(str, known))}.")


def _lacking(request: ExportRequest) -> list[str]:
    """Everything that keeps this request from being carried out here, a line each: nobody installs one SDK after another."""
    lines: list[str] = []
    for target in request.targets:
        made = tflite.unavailable(request.tflite_route) if target == "tflite" else EXPORTERS[target].unavailable()
        run = RUNNERS[target][0].unavailable()
        if made is not None:
            lines.append(f"{target} is not available here: {made}")
        if run is not None and run != made:
            lines.append(f"{target} cannot be executed here, and so not be proven: {run}")
    return lines


def starters_of(request: ExportRequest) -> tuple[Starter, ...]:
    """The app projects that this export makes: those asked for, else those that its targets and its head allow."""
    if request.starters is None:
        fitting = (starter for starter in STARTERS if set(targets_of(starter)) & fed_targets(request.keys))
        return () if request.head == "features" else tuple(fitting)
    if request.starters and request.head == "features":
        raise UsageError("--starter makes an app that shows classes, and --head features has none. Leave one of them out.")
    return request.starters


def kind_of_source(request: ExportRequest, source: SourceModel) -> OutputKind:
    """What the artifacts give, now that the source is known: with --activation none a network's own probabilities stay some."""
    if request.activation == "none" and request.output_kind is None and source.gives != "logits":
        return "probabilities"
    return _output_kind(request)


def _output_kind(request: ExportRequest) -> OutputKind:
    if request.head == "classifier":
        if request.activation == "none" and request.output_kind == "probabilities":
            raise UsageError("--output-kind probabilities needs what makes them, and --activation is none. Leave one out.")
        return request.output_kind or ("logits" if request.activation == "none" else "probabilities")
    for option, written, why in (
        ("--labels", request.labels, "a feature has no name"),
        ("--activation", request.activation, "a feature is no score"),
        ("--model-gives", request.model_gives, "it says what the scores are"),
        ("--model-output", request.model_output, "it says which output the scores are; --features-at says where features are"),
        ("--head-relu", None if request.head_relu else "no", "the ReLU stands behind the classifier, which is left away"),
        ("--output-kind", request.output_kind, "logits and probabilities come from the classifier, which is left away"),
    ):
        if written is not None:
            raise UsageError(f"--head features cannot be combined with {option} {written}: {why}. Leave one of them out.")
    return "features"
