"""From what a user wrote, on the command line or in a TOML file, to one ExportRequest."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from squeeze_export.commands.precisions import asked_for, one_of
from squeeze_export.contracts.artifact import PHONE_TARGETS, TARGETS, IosTarget, Target, TfliteRoute
from squeeze_export.contracts.request import STARTERS, ExportRequest, Starter
from squeeze_export.contracts.signature import ColorOrder, Head, InputKind, ScoreKind
from squeeze_export.contracts.source import ModelName
from squeeze_export.errors import UsageError
from squeeze_export.evaluation.limit import check_floor, check_limit
from squeeze_export.exporters import EXPORTERS
from squeeze_export.preprocessing.spec import PRESETS, Preset, spec_for
from squeeze_export.sources.source import check_name

_INPUT_SIZE: Final = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options as written; None (or empty) where nothing was. Field names are the config file's keys, with - for _."""

    target: tuple[str, ...] = ()
    starter: tuple[str, ...] = ()
    model: str | None = None
    weights: str | None = None
    checkpoint_key: str | None = None
    seed: int | None = None
    labels: str | None = None
    precision: tuple[str, ...] = ()
    input_size: str | None = None
    preprocessing: str | None = None
    resize: int | None = None
    mean: str | None = None
    std: str | None = None
    scale: float | None = None
    color_order: str | None = None
    input_kind: str | None = None
    head: str | None = None
    output_kind: str | None = None
    images: str | None = None
    calibration_data: str | None = None
    max_accuracy_drop: float | None = None
    min_accuracy: float | None = None
    ios_target: str | None = None
    tflite_route: str | None = None
    output: str | None = None
    name: str | None = None
    force: bool | None = None
    allow_unproven: bool | None = None
    keep_going: bool | None = None
    head_relu: str | None = None
    reference: str | None = None
    json: bool | None = None
    quiet: bool | None = None
    verbose: bool | None = None


_PATHS: Final = ("weights", "labels", "images", "output", "calibration_data", "reference")
_LISTS: Final = ("target", "precision", "starter")
_YES_OR_NO: Final = ("force", "allow_unproven", "keep_going", "json", "quiet", "verbose")
_WHOLE: Final = ("seed", "resize")
_SPECIAL_WEIGHTS: Final = ("imagenet", "random", "demo")


def read_config(path: Path) -> Options:
    """Read a TOML file whose keys are the long options without dashes in front (`input-size = "227"`).

    Paths in it are relative to the file. Raises UsageError for a missing file, bad TOML, an unknown key or a wrong type.
    """
    try:
        text = path.read_text(encoding="utf-8")
        written = tomllib.loads(text)
    except FileNotFoundError as error:
        raise UsageError(f"The config file {path} does not exist.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The config file {path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The config file {path} is not valid TOML: {error}.") from error
    known = {field.name.replace("_", "-"): field.name for field in fields(Options)}
    values: dict[str, Any] = {}
    for key, value in written.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" Known keys: {', '.join(known)}."
            raise UsageError(f"The config file {path} has an unknown key {key!r}.{hint}")
        values[known[key]] = _config_value(path, key, known[key], value)
    return Options(**values)


def _config_value(path: Path, key: str, field: str, value: Any) -> object:
    if field in _LISTS:
        if field == "precision" and isinstance(value, dict):
            value = [
                f"{target}={precision}"
                for target, named in value.items()
                for precision in (named if isinstance(named, list) else [named])
            ]
        entries = [value] if isinstance(value, str) else value
        if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
            return tuple(entries)
        raise UsageError(f"The config file {path}: {key} must be a string or a list of strings, not {value!r}.")
    if field in _YES_OR_NO:
        wants = "true or false"
        if isinstance(value, bool):
            return value
    elif field in _WHOLE:
        wants = "a whole number"
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif field in ("scale", "max_accuracy_drop", "min_accuracy"):
        wants = "a number"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif field == "input_size":
        wants = 'a whole number or "HEIGHTxWIDTH"'
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
    elif field in ("mean", "std"):
        wants = "three numbers, or one for all channels"
        if isinstance(value, list):
            return ",".join(str(entry) for entry in value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str):
            return value
    else:
        wants = "a string"
        if isinstance(value, str):
            relative = field in _PATHS and not (field == "weights" and value in _SPECIAL_WEIGHTS)
            return str(path.parent / value) if relative else value
    written = str(value).lower() if isinstance(value, bool) else repr(value)
    raise UsageError(f"The config file {path}: {key} must be {wants}, not {written}.")


def merge(flags: Options, config: Options) -> Options:
    """Flags win over the config file."""
    merged: dict[str, Any] = {}
    for field in fields(Options):
        flag = getattr(flags, field.name)
        merged[field.name] = getattr(config, field.name) if flag is None or flag == () else flag
    return Options(**merged)


def with_config(flags: Options, config: Path | None) -> Options:
    """The flags, and from the config file, if there is one, what no flag says."""
    return flags if config is None else merge(flags, read_config(config))


def build_request(options: Options, config: Path | None = None) -> ExportRequest:
    """Settle every option; raises UsageError that names the option, what was found and what is known.

    `config`: where a part of the options was read from, to be named there too.
    """
    try:
        return _settled(options)
    except UsageError as error:
        if config is None:
            raise
        raise UsageError(f"{error} (What no flag says was taken from {config}.)") from error


def _settled(options: Options) -> ExportRequest:
    for name in ("weights", "output", "images", "labels", "model", "name", "calibration_data", "checkpoint_key", "reference"):
        if getattr(options, name) == "":
            raise UsageError(f"--{name.replace('_', '-')} is empty: an unset variable? Leave the option out, or give it a value.")
    if not options.target:
        raise UsageError(f"No target was named. Pass --target with one of {', '.join(TARGETS)}, all (repeatable).")
    targets = _targets(options.target)
    model = cast("ModelName", one_of("--model", options.model or "squeezenet1_1", get_args(ModelName)))
    weights = options.weights or _DEFAULT_WEIGHTS
    if options.name is not None:
        check_name(options.name)
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise UsageError(f"--seed {options.seed} is not between 0 and 2**63 - 1.")
    if options.checkpoint_key is not None and weights in _SPECIAL_WEIGHTS:
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
        weights=None if weights in _SPECIAL_WEIGHTS else Path(weights),
        checkpoint_key=options.checkpoint_key,
    )
    calibrated = any(
        precision in EXPORTERS[target].CALIBRATED for target, named in asked.precisions.items() for precision in named
    )
    if options.max_accuracy_drop is not None:
        check_limit(options.max_accuracy_drop)
    if options.min_accuracy is not None:
        check_floor(options.min_accuracy)
    preset = one_of("--preprocessing", options.preprocessing or "torchvision", tuple(PRESETS))
    return ExportRequest(
        targets=targets,
        model=model,
        weights=cast("Literal['imagenet']", weights) if weights in _SPECIAL_WEIGHTS else Path(weights),
        checkpoint_key=options.checkpoint_key,
        seed=options.seed or 0,
        labels=Path(options.labels) if options.labels is not None else None,
        precisions=asked.precisions,
        size_budgets=asked.sizes,
        preprocessing=spec_for(
            cast("Preset", preset),
            model=model,
            input_size=_input_size(options.input_size),
            resize=options.resize,
            mean=_triple("--mean", options.mean),
            std=_triple("--std", options.std),
            scale=options.scale,
            color_order=cast("ColorOrder", one_of("--color-order", options.color_order, get_args(ColorOrder)))
            if options.color_order
            else None,
        ),
        input_kind=input_kind,
        head=cast("Head", one_of("--head", options.head or "classifier", get_args(Head))),
        output_kind=cast("ScoreKind", one_of("--output-kind", options.output_kind, get_args(ScoreKind)))
        if options.output_kind
        else None,
        images=Path(options.images) if options.images is not None else None,
        ios_target=ios,
        tflite_route=_tflite_route(options.tflite_route, targets),
        output=Path(options.output or "dist"),
        name=options.name,
        force=bool(options.force),
        allow_unproven=bool(options.allow_unproven),
        keep_going=bool(options.keep_going),
        head_relu=one_of("--head-relu", options.head_relu or "yes", ("yes", "no")) == "yes",
        reference=Path(options.reference) if options.reference is not None else None,
        calibration=Path(options.calibration_data) if options.calibration_data is not None else None,
        starters=_starters(options.starter),
        max_accuracy_drop=options.max_accuracy_drop,
        min_accuracy=options.min_accuracy,
        notes=(*asked.notes, *_without_effect(options, targets, weights, calibrated=calibrated)),
    )


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
            f"--calibration-data {options.calibration_data} has no effect: no precision here chooses its numbers by pictures, as "
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


def _input_size(written: str | None) -> tuple[int, int] | None:
    if written is None:
        return None
    match = _INPUT_SIZE.fullmatch(written)
    if match is None:
        raise UsageError(f"--input-size {written!r} is no size: write 224, or HEIGHTxWIDTH such as 227x224.")
    height = int(match[1])
    return height, int(match[2]) if match[2] else height


def _no_pixels(options: Options, input_kind: InputKind, weights: str) -> str | None:
    """Why a ladder leaves out what takes uint8 pixels and gives uint8 scores; None where it does not."""
    if input_kind == "tensor":
        return "it takes pixels, which --input-kind tensor has none of"
    if weights == "random" and options.output_kind in (None, "probabilities") and options.head in (None, "classifier"):
        return "random weights are sure of nothing, and its probabilities would all be 0; --output-kind logits has it"
    return None


def _triple(option: str, written: str | None) -> tuple[float, float, float] | None:
    if written is None:
        return None
    # As papers, configs and Python print them: in brackets, with spaces or semicolons; one number is for all channels.
    parts = [part for part in re.split(r"[\s,;]+", written.strip("[](){} \t\n")) if part]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise UsageError(f"{option} {written!r} is neither three numbers, such as 0.485,0.456,0.406, nor one for all channels.")
    first, second, third = numbers if len(numbers) == 3 else numbers * 3
    return first, second, third
