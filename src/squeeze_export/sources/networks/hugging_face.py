"""A folder as Hugging Face's hub has it, in timm's or in transformers' layout, read from disk. No code in it is ever run.

Nothing is downloaded, and a folder that brings its own code (auto_map) is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.signature import ResizeMode
from squeeze_export.contracts.source import WeightsOrigin
from squeeze_export.errors import SourceError, TargetUnavailableError
from squeeze_export.sources.checkpoints.digests import canonical_sha256
from squeeze_export.sources.networks import building, faults, weights_of
from squeeze_export.sources.networks.building import PreprocessingHint
from squeeze_export.sources.networks.names import parse_model

if TYPE_CHECKING:
    import torch

_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
_CLASSIFIER: Final = re.compile(r"\w+ForImageClassification(WithTeacher)?")
_FILTERS: Final[Mapping[object, str]] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_UNNAMED: Final = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A network with its weights: eval mode, fp32, on the CPU. `label_claims` as in sources.weights.LoadedWeights."""

    module: torch.nn.Module
    num_classes: int
    preprocessing: PreprocessingHint | None
    origin: WeightsOrigin
    notes: tuple[str, ...]
    label_claims: Mapping[str, object] = field(default_factory=dict)


def open_folder(folder: Path) -> Opened:
    """Read a folder with config.json and weights; SourceError that says what was found where it is no image classifier's.

    TargetUnavailableError where the library that the network is written in is not installed.
    """
    config = _config(folder)
    weights = _weights(folder)
    if isinstance(config.get("architecture"), str):
        return _of_timm(folder, config, weights)
    kinds = config.get("architectures")
    if not isinstance(kinds, list) or not kinds:
        raise SourceError(
            f"{_shown(folder)}: config.json names neither architecture (timm's layout) nor architectures (transformers'), but "
            f"{', '.join(list(config)[:5]) or 'nothing'}"
        )
    return _of_transformers(folder, config, str(kinds[0]), weights)


def _shown(folder: Path) -> str:
    return f"--model hf:{folder}"


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        download = f"hf download {folder} --local-dir FOLDER" if re.fullmatch(r"[\w.-]+/[\w.-]+", str(folder)) else ""
        told = (
            f" Nothing is downloaded: run `{download}`, and pass hf:FOLDER" if download else " Give a folder with a config.json"
        )
        raise SourceError(f"{_shown(folder)}: there is no such folder.{told}")
    path = folder / "config.json"
    if not path.is_file():
        inside = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5])
        raise SourceError(f"{_shown(folder)}: the folder has no config.json, but {inside or 'nothing in it'}")
    config = _json(path, folder)
    remote = config.get("auto_map")
    if remote:
        raise SourceError(
            f"{_shown(folder)} brings code of its own (auto_map in config.json), which is never run. If you trust it, load it in "
            "a function of yours, and pass that: --model package.module:factory"
        )
    return config


def _json(path: Path, folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{_shown(folder)}: {path.name} cannot be read ({faults.one_line(error)})") from error
    if not isinstance(found, dict):
        raise SourceError(f"{_shown(folder)}: {path.name} holds a {type(found).__name__}, not a mapping")
    return found


def _weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    split = sorted(entry.name for entry in folder.glob("*.index.json"))
    if split:
        raise SourceError(f"{_shown(folder)}: its weights are split over several files ({split[0]}). Save them in one file")
    inside = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5])
    raise SourceError(f"{_shown(folder)} has no weights: it holds {inside}, and {' or '.join(_WEIGHTS)} is needed")


def _of_timm(folder: Path, config: Mapping[str, Any], weights: Path) -> Opened:
    name = str(config["architecture"])
    arguments = config.get("model_args")
    given = dict(arguments) if isinstance(arguments, dict) else {}
    own = config.get("pretrained_cfg")
    preset = own if isinstance(own, dict) else {}
    classes = config.get("num_classes", preset.get("num_classes"))
    wanted = parse_model(f"timm:{name}")

    def rebuild(num_classes: int) -> torch.nn.Module:
        return building.build(wanted, arguments=given, num_classes=num_classes).module

    built = building.build(wanted, arguments=given, num_classes=classes if isinstance(classes, int) else None)
    fitted = weights_of.fit(built.module, weights, name=f"timm:{name}", rebuild=rebuild)
    claims = dict(fitted.label_claims)
    labels = config.get("label_names", preset.get("label_names"))
    if isinstance(labels, list) and labels:
        claims.setdefault("names", labels)
    return Opened(
        module=fitted.module,
        num_classes=fitted.num_classes,
        preprocessing=_timm_hint(built.preprocessing, preset, folder),
        origin=fitted.origin,
        notes=(*built.notes, *fitted.notes),
        label_claims=claims,
    )


def _timm_hint(default: PreprocessingHint | None, preset: Mapping[str, Any], folder: Path) -> PreprocessingHint | None:
    """What the architecture says, overridden by the folder's own pretrained_cfg."""
    if default is None or not preset:
        return default
    size = preset.get("input_size", (3, default.height, default.width))
    modes: dict[object, ResizeMode] = {"squash": "squash", "border": "pad", "center": "short-side"}
    try:
        return replace(
            default,
            height=int(size[-2]),
            width=int(size[-1]),
            mean=tuple(map(float, preset.get("mean", default.mean))),
            std=tuple(map(float, preset.get("std", default.std))),
            interpolation=str(preset.get("interpolation", default.interpolation)),
            crop_pct=float(preset.get("crop_pct", default.crop_pct)),
            resize_mode=modes.get(preset.get("crop_mode"), default.resize_mode),
            origin="pretrained_cfg in config.json",
        )
    except (TypeError, ValueError, IndexError) as error:
        raise SourceError(f"{_shown(folder)}: pretrained_cfg in config.json is damaged ({faults.one_line(error)})") from error


def _of_transformers(folder: Path, config: Mapping[str, Any], kind: str, weights: Path) -> Opened:
    if _CLASSIFIER.fullmatch(kind) is None:
        raise SourceError(
            f"{_shown(folder)} is a {kind}, which classifies no images: config.json must name a ...ForImageClassification"
        )
    transformers = building.load_extra("transformers", "transformers", f"hf:{folder}")
    try:
        with faults.quiet():  # it imports what it names only now
            found = getattr(transformers, kind, None)
    except (ImportError, RuntimeError, OSError) as error:
        cause = error.__cause__ or error
        raise TargetUnavailableError(
            f"{_shown(folder)}: transformers {transformers.__version__} cannot import {kind} ({faults.one_line(cause)}). "
            "Install what "
            "it names, in a build for this torch"
        ) from error
    if found is None:
        raise SourceError(f"{_shown(folder)}: transformers {transformers.__version__} has no {kind}")
    try:
        with faults.quiet():
            module, info = found.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=weights.suffix == ".safetensors",
                output_loading_info=True,
            )
    except Exception as error:
        raise SourceError(
            f"{_shown(folder)} cannot be loaded by transformers {transformers.__version__}: {faults.told(error)}"
        ) from error
    wrong = {word: sorted(map(str, info.get(f"{word}_keys") or ())) for word in ("missing", "unexpected", "mismatched")}
    if any(wrong.values()):
        told = ". ".join(f"{len(names)} {word}: {', '.join(names[:3])}" for word, names in wrong.items() if names)
        raise SourceError(f"{_shown(folder)}: {weights.name} does not hold the weights of {kind}. {told}")
    built = building.ready(module, what=_shown(folder), fresh=True)
    state = {name: value.detach().contiguous() for name, value in built.module.state_dict().items() if value.is_floating_point()}
    labels = config.get("id2label")
    named = isinstance(labels, dict) and not all(_UNNAMED.fullmatch(str(name)) for name in labels.values())
    hint, notes = _preprocessing(folder)
    return Opened(
        module=built.module,
        num_classes=int(module.config.num_labels),
        preprocessing=hint,
        origin=WeightsOrigin(kind="file", sha256=canonical_sha256(state), file_name=weights.name, seed=None),
        notes=(*built.notes, *notes),
        label_claims={"id2label": labels} if named else {},
    )


def _preprocessing(folder: Path) -> tuple[PreprocessingHint | None, tuple[str, ...]]:
    """What preprocessor_config.json says; None, and why in a note, where it says what cannot be repeated."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return None, ("The folder has no preprocessor_config.json: it does not say how its images are prepared.",)
    said = _json(path, folder)
    try:
        hint = _hint(said)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        return None, (f"preprocessor_config.json describes no preprocessing that is known here ({faults.one_line(error)}).",)
    return hint, ()


def _hint(said: Mapping[str, Any]) -> PreprocessingHint:
    """Raises what a mapping of another form leads to."""
    if said.get("do_rescale", True) is False or abs(float(said.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-6:
        raise ValueError("pixels are not scaled to 0..1")
    if said.get("do_resize", True) is False:
        raise ValueError("images are not resized")
    size, crop = said["size"], said.get("crop_size")
    cropped = bool(said.get("do_center_crop", False)) and crop is not None
    height, width = _sides(crop) if cropped else _sides(size)
    share, mode = 1.0, "squash"
    if isinstance(size, dict) and "shortest_edge" in size:
        short = int(size["shortest_edge"])
        mode = "short-side"
        share = float(said["crop_pct"]) if said.get("crop_pct") and not cropped else min(height, width) / short
    elif cropped:
        share = height / _sides(size)[0]
    if not 0 < share <= 1:
        raise ValueError(f"a crop of {share:.3g} of the image")
    normalised = said.get("do_normalize", True) is not False
    return PreprocessingHint(
        height=height,
        width=width,
        mean=tuple(map(float, said["image_mean"])) if normalised else (0.0, 0.0, 0.0),
        std=tuple(map(float, said["image_std"])) if normalised else (1.0, 1.0, 1.0),
        interpolation=_FILTERS[said.get("resample", 2)],
        crop_pct=share,
        resize_mode="short-side" if mode == "short-side" else "squash",
        origin="preprocessor_config.json",
    )


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        side = size.get("shortest_edge")
        return (int(side), int(side)) if side is not None else (int(size["height"]), int(size["width"]))
    return int(size), int(size)
