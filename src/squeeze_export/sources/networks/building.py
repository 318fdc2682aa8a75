"""The eager network that a user named, made ready to be captured: eval mode, CPU, fp32; and how it wants its images."""

from __future__ import annotations

import copy
import difflib
import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from squeeze_export import sdks
from squeeze_export.contracts.in_memory import unwrapped
from squeeze_export.contracts.signature import ResizeMode
from squeeze_export.errors import SourceError, TargetUnavailableError, UsageError
from squeeze_export.sources.networks import factories, faults
from squeeze_export.sources.networks.factories import parse_arguments as parse_arguments
from squeeze_export.sources.networks.names import Wanted

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class PreprocessingHint:
    """How a source says that its images are to be prepared; `origin` is where it says so, for one line on the screen.

    `mean`, `std`: per channel, of pixels in 0..1. `interpolation`: nearest, bilinear, bicubic or lanczos. `crop_pct`: the share
    of the resized image that the crop keeps, so the resized side is int(side / crop_pct). `resize_mode`: the short side to that
    length and a centre crop, both sides to the exact size, or padded to a square.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    resize_mode: ResizeMode
    origin: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """An eval-mode fp32 CPU module without gradients; `notes`: what had to be done for that, a sentence each."""

    module: torch.nn.Module
    preprocessing: PreprocessingHint | None
    notes: tuple[str, ...]


def build(wanted: Wanted, *, arguments: Mapping[str, object], num_classes: int | None) -> Built:
    """Build the network with random weights; SourceError where it cannot be, TargetUnavailableError where an extra is missing.

    `num_classes` None: as many as the library's or the factory's own default. A factory without such a parameter ignores it.
    """
    match wanted.kind:
        case "timm":
            return _timm(wanted.name, arguments, num_classes)
        case "torchvision":
            return _torchvision(wanted.name, arguments, num_classes)
        case "factory":
            return ready(factories.make(wanted.name, arguments, num_classes), what=f"The network of {wanted.name}")
        case "squeezenet" | "hf" | "program" | "memory":
            raise UsageError(f"--model {wanted.shown} is not built by name: it is read from its own files.")


def of_module(module: object, *, what: str = "The module") -> Built:
    """A network in memory, copied, so that the caller's own stays as it is; SourceError where it is none or has no copy."""
    from torch import nn

    if not isinstance(module, nn.Module):
        raise SourceError(f"{what} is no torch.nn.Module, but a {type(module).__name__}: pass the network itself")
    try:
        copied = copy.deepcopy(unwrapped(module))
    except Exception as error:
        raise SourceError(f"{what} cannot be copied: {faults.told(error)}. Pass a factory, package.module:factory") from error
    return ready(copied, what=what)


def ready(module: torch.nn.Module, *, what: str, fresh: bool = False) -> Built:
    """Put a module into eval mode, on the CPU, in fp32 and without gradients, in place; what had to change is in the notes.

    `fresh`: just built by a library, which is in training mode by nature: not worth a note. Raises SourceError where parameters
    have no values.
    """
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        raise SourceError(f"{what} is TorchScript, which keeps no network to capture: pass the module that it was made from")
    notes = []
    if written := _without_parametrizations(module):
        notes.append(f"{what} computes weights from others ({_few(written)}): they were computed once, for good.")
    tensors = [*module.named_parameters(), *module.named_buffers()]
    empty = [name for name, value in tensors if torch.nn.parameter.is_lazy(value) or value.device.type == "meta"]
    if empty:
        raise SourceError(
            f"{what} has parameters without values ({_few(empty)}): run it once on an image where it is made, or load its "
            "weights there"
        )
    if not fresh and any(part.training for part in module.modules()):
        notes.append(f"{what} was in training mode: it was put into eval mode.")
    devices = sorted({str(value.device) for _, value in tensors if value.device.type != "cpu"})
    if devices:
        notes.append(f"{what} was on {', '.join(devices)}: it was moved to the CPU.")
    kinds = sorted({str(value.dtype).removeprefix("torch.") for _, value in tensors if _is_other_float(value)})
    if kinds:
        notes.append(f"{what} had parameters in {', '.join(kinds)}: they were converted to fp32.")
    try:
        made = module.eval().requires_grad_(False).to(device="cpu", dtype=torch.float32)
    except Exception as error:
        raise SourceError(f"{what} cannot be put into eval mode on the CPU: {faults.told(error)}") from error
    return Built(module=made, preprocessing=None, notes=tuple(notes))


def calibrate_norms(module: torch.nn.Module, images: torch.Tensor) -> tuple[str, ...]:
    """Give the batch norms of random weights the statistics of images, (N, C, H, W) with N > 1, in place; and a note.

    Without it hardly anything of an image reaches the scores of a deep network, and no file of it could be judged.
    The same images give the same numbers. A network that does not take several images at once is left as it is.
    """
    import torch

    norms = [
        part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    before = [({name: value.clone() for name, value in norm.named_buffers()}, norm.momentum) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of what is seen
            norm.train()
        with torch.no_grad(), faults.quiet():
            module(images)
        done = bool(norms)
    except Exception:  # one image at a time is what the capture asks for, and it says what is wrong then
        done = False
        for norm, (buffers, _) in zip(norms, before, strict=True):
            norm.load_state_dict(buffers, strict=False)
    finally:
        for norm, (_, momentum) in zip(norms, before, strict=True):
            norm.eval()
            norm.momentum = momentum
    return ("Batch norms of the random weights were calibrated on drawn images.",) if done else ()


def _without_parametrizations(module: torch.nn.Module) -> list[str]:
    """Write out what torch.nn.utils.parametrize computes, such as a weight norm, in place; the weights' names.

    Not by remove_parametrizations: that changes the class, which a copy shares with its original.
    """
    import torch
    from torch.nn.utils import parametrize

    names = []
    for path, part in list(module.named_modules()):
        if not parametrize.is_parametrized(part):
            continue
        values = {name: getattr(part, name).detach().clone() for name in part.parametrizations}
        part.__class__ = type(part).__bases__[0]
        del part._modules["parametrizations"]
        for name, value in values.items():
            part.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
            names.append(f"{path}.{name}" if path else name)
    return names


def _is_other_float(value: Any) -> bool:
    import torch

    return bool(value.is_floating_point() and value.dtype != torch.float32)


def load_extra(module: str, extra: str, wanted: str) -> Any:
    """Import what an extra brings; TargetUnavailableError with the pip command where it is missing or does not fit."""
    if told := sdks.missing((module,), extra=extra):
        raise TargetUnavailableError(f"--model {wanted} needs {module}: {told}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside third-party packages, at their import
            return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise TargetUnavailableError(
            f"--model {wanted} needs {module}, which is installed but does not load ({faults.one_line(error)}). {_of_torch()}"
        ) from error


def _of_torch() -> str:
    """What to do about a library that the installed torch does not load: mostly a torchvision of another build."""
    import torch

    build = str(torch.__version__).partition("+")[2]
    builds = f", of the build {build}" if build else ""
    return (
        f"torchvision must be made for torch {torch.__version__}{builds}: reinstall it from the index that this torch came "
        "from, pip install --force-reinstall --no-deps torchvision --index-url URL"
    )


def check_name(wanted: Wanted) -> None:
    """SourceError, with what may have been meant, where a library has no network of this name; builds nothing."""
    if wanted.kind == "timm":
        timm_with(wanted.name)
    elif wanted.kind == "torchvision":
        torchvision_with(wanted.name)


def _timm(name: str, arguments: Mapping[str, object], num_classes: int | None) -> Built:
    timm = timm_with(name)
    module = made(f"timm:{name}", lambda: timm.create_model(name, pretrained=False, **_with_classes(arguments, num_classes)))
    built = ready(module, what=f"timm:{name}", fresh=True)
    return Built(module=built.module, preprocessing=timm_hint(module, name), notes=built.notes)


def timm_with(name: str) -> Any:
    """The library timm; SourceError, with what may have been meant, where it has no such model or no such weights of it."""
    timm = load_extra("timm", "timm", f"timm:{name}")
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise SourceError(f"timm {timm.__version__} has no model {name}.{_meant(architecture, timm.list_models(), 'timm')}")
    tags = [known.partition(".")[2] for known in timm.list_models(f"{architecture}.*", pretrained=True)]
    tag = name.partition(".")[2]
    if tag and tag not in tags:
        have = f"It has {_few(tags)}" if tags else "It has none"
        raise SourceError(f"timm {timm.__version__} knows no weights {tag} of {architecture}. {have}")
    return timm


def timm_hint(module: torch.nn.Module, name: str) -> PreprocessingHint | None:
    """What timm's own configuration of a model says of its images; None where it has none."""
    resolve_data_config = importlib.import_module("timm.data").resolve_data_config

    if not getattr(module, "pretrained_cfg", None):
        return None
    with faults.quiet():
        found = resolve_data_config({}, model=module)
    modes: dict[str, ResizeMode] = {"squash": "squash", "border": "pad"}
    return PreprocessingHint(
        height=int(found["input_size"][-2]),
        width=int(found["input_size"][-1]),
        mean=tuple(map(float, found["mean"])),
        std=tuple(map(float, found["std"])),
        interpolation=str(found["interpolation"]),
        crop_pct=float(found["crop_pct"]),
        resize_mode=modes.get(str(found.get("crop_mode")), "short-side"),
        origin=f"timm's pretrained_cfg of {name}",
    )


def _torchvision(name: str, arguments: Mapping[str, object], num_classes: int | None) -> Built:
    models = torchvision_with(name)
    given = _with_classes(arguments, num_classes)
    if name in ("googlenet", "inception_v3"):
        given.setdefault("init_weights", False)  # it draws for a minute, and warns that it will do so no longer
    module = made(f"torchvision:{name}", lambda: models.get_model(name, weights=None, **given))
    built = ready(module, what=f"torchvision:{name}", fresh=True)
    published = models.get_model_weights(name)
    default = getattr(published, "DEFAULT", next(iter(published), None))
    hint = None if default is None else torchvision_hint(default)
    return Built(module=built.module, preprocessing=hint, notes=built.notes)


def torchvision_with(name: str) -> Any:
    """torchvision.models; SourceError, with what may have been meant, where it has no such classifier."""
    torchvision = load_extra("torchvision", "torchvision", f"torchvision:{name}")
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        if name in models.list_models():
            raise SourceError(f"torchvision's {name} is no image classifier: those are {_few(known)}")
        raise SourceError(f"torchvision {torchvision.__version__} has no model {name}.{_meant(name, known, 'torchvision')}")
    return models


def torchvision_hint(weights: Any) -> PreprocessingHint:
    """What a member of torchvision's enumerations of weights says of its images."""
    preset = weights.transforms()
    crop, resize = int(preset.crop_size[0]), int(preset.resize_size[0])
    return PreprocessingHint(
        height=crop,
        width=crop,
        mean=tuple(map(float, preset.mean)),
        std=tuple(map(float, preset.std)),
        interpolation=str(preset.interpolation.value),
        crop_pct=crop / resize,
        resize_mode="short-side",
        origin=f"torchvision's {type(weights).__name__}.{weights.name}",
    )


def _with_classes(arguments: Mapping[str, object], num_classes: int | None) -> dict[str, Any]:
    given = dict(arguments)
    if num_classes is not None:
        given.setdefault("num_classes", num_classes)
    return given


def made(shown: str, make: Any) -> Any:
    """What a library's constructor gives; SourceError with what it raised."""
    try:
        with faults.quiet():
            return make()
    except Exception as error:
        raise SourceError(f"{shown} cannot be built: {faults.told(error)}") from error


def _meant(name: str, known: Sequence[str], library: str) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    close.sort(key=lambda one: not one.startswith(name))
    return f" Did you mean {' or '.join(f'{library}:{one}' for one in close)}?" if close else ""


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
