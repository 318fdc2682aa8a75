"""From what a user wrote to one ExportRequest: every option settled, or a usage error that names it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast, get_args

from squeeze_export.commands.request.precisions import asked_for, one_of
from squeeze_export.commands.request.written import Options, settable
from squeeze_export.contracts import options as table
from squeeze_export.contracts.artifact import PHONE_TARGETS, TARGETS, IosTarget, Target, TfliteRoute
from squeeze_export.contracts.heads import ACTIVATIONS, GIVEN
from squeeze_export.contracts.request import OWN_WEIGHTS, STARTERS, ExportRequest, Starter
from squeeze_export.contracts.signature import ColorOrder, Head, InputKind, Interpolation, ResizeMode, ScoreKind
from squeeze_export.contracts.source import is_published, is_squeezenet
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.limit import check_floor, check_limit
from squeeze_export.exporters import EXPORTERS
from squeeze_export.preprocessing.spec import PRESETS, Preset, spec_for
from squeeze_export.sources.networks.factories import parse_arguments
from squeeze_export.sources.networks.names import parse_model
from squeeze_export.sources.source import check_name

_SIZE: Final = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?", re.ASCII)


_SPECIAL_WEIGHTS: Final = (*table.SPECIAL_WEIGHTS, OWN_WEIGHTS)


def build_request(options: Options, config: Path | None = None, *, into: type[ExportRequest] = ExportRequest) -> ExportRequest:
    """Settle every option; raises UsageError that names the option, what was found and what is known.

    `config`: where a part of the options was read from, to be named there too. `into`: the class of the request.
    """
    try:
        return _settled(options, into)
    except UsageError as error:
        if config is None:
            raise
        raise UsageError(f"{error} (What no flag says was taken from {config}.)") from error


def _settled(options: Options, into: type[ExportRequest]) -> ExportRequest:
    for option in settable():
        if option.form and getattr(options, option.name) == "":
            raise UsageError(f"{option.flag} is empty: an unset variable? Leave the option out, or give it a value.")
    if not options.target:
        raise UsageError(f"No target was named. Pass --target with one of {', '.join(TARGETS)}, all (repeatable).")
    targets = _targets(options.target)
    model = parse_model(options.model or "squeezenet1_1").shown
    weights = options.weights or (_DEFAULT_WEIGHTS if is_squeezenet(model) else OWN_WEIGHTS)
    words = weights in _SPECIAL_WEIGHTS or is_published(model, weights)
    if options.name is not None:
        check_name(options.name)
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise UsageError(f"--seed {options.seed} is not between 0 and 2**63 - 1.")
    if options.checkpoint_key is not None and words:
        raise UsageError(
            f"--checkpoint-key {options.checkpoint_key} is for weights from a file, and these are {weights}. Leave it out, or "
            "pass --weights PATH."
        )
    ios = cast("IosTarget", one_of("--ios-target", options.ios_target or "iOS16", get_args(IosTarget)))
    input_kind = cast("InputKind", one_of("--input-kind", options.input_kind or "image", get_args(InputKind)))
    asked = asked_for(
        options.precision,
        targets,
        ios=ios,
        no_pixels=_no_pixels(options, input_kind, weights),
        model=model,
        weights=None if words else Path(weights),
        checkpoint_key=options.checkpoint_key,
    )
    calibrated = any(
        precision in EXPORTERS[target].CALIBRATED for target, named in asked.precisions.items() for precision in named
    )
    if options.max_accuracy_drop is not None:
        check_limit(options.max_accuracy_drop)
    if options.min_accuracy is not None:
        check_floor(options.min_accuracy)
    settled = {
        "targets": targets,
        "model": model,
        "weights": weights if words else Path(weights),
        "precisions": asked.precisions,
        "size_budgets": asked.sizes,
        "best": asked.best,
        **_preprocessing(options, model),
        "model_arguments": parse_arguments(options.model_arg),
        "input_kind": input_kind,
        "head": one_of("--head", options.head or "classifier", get_args(Head)),
        "output_kind": one_of("--output-kind", options.output_kind, get_args(ScoreKind)) if options.output_kind else None,
        "activation": one_of("--activation", options.activation, ACTIVATIONS) if options.activation else None,
        "model_gives": one_of("--model-gives", options.model_gives, GIVEN) if options.model_gives else None,
        "ios_target": ios,
        "tflite_route": _tflite_route(options.tflite_route, targets),
        "head_relu": one_of("--head-relu", options.head_relu or "yes", ("yes", "no")) == "yes",
        "starters": _starters(options.starter),
        "notes": (*asked.notes, *_without_effect(options, targets, weights, calibrated=calibrated)),
    }
    return into(**{**_as_written(options), **settled})


def _preprocessing(options: Options, model: str) -> dict[str, Any]:
    """The preprocessing, or, of a network that may tell its own, what is to be changed in that."""
    order = (
        cast("ColorOrder", one_of("--color-order", options.color_order, get_args(ColorOrder))) if options.color_order else None
    )
    of = 1 if order == "GRAY" else 3
    mode, filtered = options.resize_mode, options.interpolation
    given = {
        "input_size": _size("--input-size", options.input_size),
        "resize": _size("--resize", options.resize),
        "crop_pct": options.crop_pct,
        "resize_mode": None if mode is None else one_of("--resize-mode", mode, get_args(ResizeMode)),
        "interpolation": None if filtered is None else one_of("--interpolation", filtered, get_args(Interpolation)),
        "pad_color": _levels(options.pad_color),
        "mean": _numbers("--mean", options.mean, of),
        "std": _numbers("--std", options.std, of),
        "scale": options.scale,
        "color_order": order,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if options.preprocessing is None and not is_squeezenet(model):
        return {"preprocessing": None, "preprocessing_changes": changes}
    preset = cast("Preset", one_of("--preprocessing", options.preprocessing or "torchvision", tuple(PRESETS)))
    return {"preprocessing": spec_for(preset, model=model, channels=3 if is_squeezenet(model) else None, **changes)}


def _as_written(options: Options) -> dict[str, Any]:
    """By field of the request: options that need no more than their kind; what has its own meaning is settled on top of it."""
    return {
        option.request_field or option.name: Path(value) if option.kind == "path" else value
        for option in settable()
        if option.form is not None and (value := getattr(options, option.name)) is not None
    }


_DEFAULT_WEIGHTS: Final = "demo"


def _without_effect(options: Options, targets: tuple[Target, ...], weights: str, *, calibrated: bool) -> tuple[str, ...]:
    """Options that nothing here uses, a sentence each: one line of a script may serve every target and precision."""
    idle = []
    if options.seed is not None and weights != "random":
        idle.append(f"--seed {options.seed} has no effect: these weights are {weights}, not random")
    if options.ios_target is not None and "coreml" not in targets:
        idle.append(f"--ios-target {options.ios_target} has no effect: Core ML is not exported")
    if options.tflite_route is not None and "tflite" not in targets:
        idle.append(f"--tflite-route {options.tflite_route} has no effect: TFLite is not exported")
    if options.calibration_data is not None and not calibrated:
        idle.append(
            f"--calibration-data {options.calibration_data} has no effect: no precision here chooses its numbers by images, as "
            "int8, int8-uint8, int4-mixed and Core ML's compressed ones do"
        )
    return tuple(idle)


def _targets(written: Iterable[str]) -> tuple[Target, ...]:
    named = {one_of("--target", part, (*TARGETS, "all")) for value in written for part in value.split(",")}
    if "all" in named:
        named.update(PHONE_TARGETS)
    return tuple(target for target in TARGETS if target in named)


def _tflite_route(written: str | None, targets: tuple[Target, ...]) -> TfliteRoute:
    if written is None:
        return "litert-torch"
    route = cast("TfliteRoute", one_of("--tflite-route", written, get_args(TfliteRoute)))
    return route if "tflite" in targets else "litert-torch"


def _starters(written: Iterable[str]) -> tuple[Starter, ...] | None:
    named = {one_of("--starter", value, (*STARTERS, "none")) for value in written}
    if "none" in named and len(named) > 1:
        raise UsageError(f"--starter none cannot stand beside {', '.join(sorted(named - {'none'}))}. Keep one of them.")
    return tuple(starter for starter in STARTERS if starter in named) if named else None


def _size(option: str, written: str | None) -> int | tuple[int, int] | None:
    """One number, or (height, width)."""
    if written is None:
        return None
    match = _SIZE.fullmatch(written)
    if match is None:
        raise UsageError(f"{option} {written!r} is no size: write 224, or HEIGHTxWIDTH such as 227x224.")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])


def _no_pixels(options: Options, input_kind: InputKind, weights: str) -> str | None:
    """Why a ladder leaves out what takes uint8 pixels and gives uint8 scores; None where it does not."""
    if input_kind == "tensor":
        return "it takes pixels, which --input-kind tensor has none of"
    if weights == "random" and options.output_kind in (None, "probabilities") and options.head in (None, "classifier"):
        return "random weights are sure of nothing, and its probabilities would all be 0; --output-kind logits has it"
    return None


def _numbers(option: str, written: str | None, channels: int) -> tuple[float, ...] | None:
    """A number per channel; one counts for all."""
    if written is None:
        return None
    # As papers, configs and Python print them: in brackets, with spaces or semicolons; one number is for all channels.
    parts = [part for part in re.split(r"[\s,;]+", written.strip("[](){} \t\n")) if part]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if channels == 1 and len(numbers) != 1:
        raise UsageError(f"{option} {written!r} is not one number, and --color-order GRAY has one channel.")
    if len(numbers) not in (1, 3):
        commas = " Write decimals with a point." if re.search(r"\b0,\d", written) else ""
        raise UsageError(
            f"{option} {written!r} is neither three numbers, such as 0.485,0.456,0.406, nor one for all channels.{commas}"
        )
    return tuple(numbers if len(numbers) == channels else numbers * channels)


def _levels(written: str | None) -> tuple[int, int, int] | None:
    numbers = _numbers("--pad-color", written, 3)
    if numbers is None:
        return None
    if not all(number.is_integer() for number in numbers):
        raise UsageError(f"--pad-color {written!r}: its levels are whole numbers in 0..255, red, green, blue, or one for all.")
    red, green, blue = map(int, numbers)
    return red, green, blue
