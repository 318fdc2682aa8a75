"""Where weights come from: a file of the user's, torchvision's published ones, a seed, or the demo weights of this package.

Every way ends in the same thing: a state dict of finite fp32 tensors that fits one of the four models exactly, or a
SourceError that lists what differs. No pickle is ever executed.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from squeeze_export.contracts import MODELS, ModelName, WeightsOrigin
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.models import published

if TYPE_CHECKING:
    import torch

    StateDict: TypeAlias = dict[str, torch.Tensor]

Provided = Literal["imagenet", "random", "demo"]
WeightsChoice: TypeAlias = Path | Provided

DEMO_MODEL: Final[ModelName] = "squeezenet1_1"
RANDOM_CLASSES: Final = 1000

_SUFFIXES: Final = (".safetensors", ".pth", ".pt")
# Training checkpoints with optimizer state reach a few times 5 MB; what is larger than this is not a SqueezeNet.
_LARGEST_FILE: Final = 512 * 1024 * 1024
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
_PREFIXES: Final = ("module.", "model.", "_orig_mod.")
_HEAD: Final = "classifier.1.weight"
_LISTED: Final = 10
_CHECKPOINT_STARTS: Final = (b"PK\x03\x04", b"\x80\x02")  # a zip archive, or torch's older stream of pickles


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """Weights that fit `model`: contiguous fp32 CPU tensors by torchvision's names, in the module's own order.

    `notes`: what the user must know of how the file was read, a sentence each. `label_claims`: what the checkpoint itself says of
    its classes, as plain Python values by the key they stood under (class_to_idx, classes, id2label, names).
    """

    state: StateDict
    num_classes: int
    origin: WeightsOrigin
    notes: tuple[str, ...] = ()
    label_claims: Mapping[str, object] = field(default_factory=dict)


def parse_weights(text: str) -> WeightsChoice:
    """Read `--weights`: one of the three words, or else a path (a file called `random` is written `./random`)."""
    match text:
        case "imagenet" | "random" | "demo":
            return text
        case "":
            raise UsageError("--weights is empty: give a path, imagenet, random or demo")
        case _:
            return Path(text)


def load_weights(model: ModelName, choice: WeightsChoice, *, seed: int, random_classes: int = RANDOM_CLASSES) -> LoadedWeights:
    """Load the chosen weights for `model`; SourceError, saying what was found, where they are not exactly that.

    `seed` and `random_classes` concern random weights only; any other choice has its own number of classes.
    """
    if isinstance(choice, Path):
        raw, described = _read_file(choice)
        return _finish(model, raw, described, kind="file", where=str(choice), file_name=choice.name)
    match choice:
        case "imagenet":
            path = published.fetch(model)
            raw, described = _read_file(path)
            return _finish(model, raw, described, kind="imagenet", where=str(path), file_name=path.name)
        case "demo":
            return _demo(model)
        case "random":
            return _random(model, seed, random_classes)


def canonical_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """The digest of a state dict, whatever container it came in (see contracts.WeightsOrigin and combined_sha256)."""
    rows = []
    for name, value in state.items():
        values = value.detach().cpu().contiguous().numpy().astype("<f4")
        rows.append((name, tuple(values.shape), hashlib.sha256(values.tobytes()).hexdigest()))
    return combined_sha256(rows)


def combined_sha256(rows: Iterable[tuple[str, tuple[int, ...], str]]) -> str:
    """The digest of a state dict from (name, shape, sha256 of the values as little-endian fp32 in C order) per tensor.

    sha256 over one line per tensor, names sorted, in UTF-8, each with a line feed: the name, the shape as decimal numbers
    joined by commas, the tensor's sha256 in lower-case hexadecimal, separated by a space. So the golden pack, which has these
    three, proves the manifest's `weights_sha256`.
    """
    lines = (f"{name} {','.join(map(str, shape))} {sha256}\n" for name, shape, sha256 in sorted(rows))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def expected_shapes(model: ModelName, num_classes: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes that a state dict of `model` has, in the module's order."""
    import torch

    from squeeze_export.models.squeezenet import SqueezeNet

    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in SqueezeNet(model, num_classes).state_dict().items()}


def demo_labels() -> Path:
    """The labels that belong to the demo weights; SourceError where this installation lacks them."""
    return _demo_file("labels.txt")


def _demo_file(name: str) -> Path:
    # The package is installed as plain files (it holds templates and a type marker too), so a resource is a path.
    path = Path(str(resources.files("squeeze_export"))) / "data" / "demo" / name
    if not path.is_file():
        raise SourceError(
            f"the demo weights are incomplete: this installation of squeeze-export has no data/demo/{name}; install it again, "
            "or choose others with --weights PATH, imagenet or random"
        )
    return path


def _demo(model: ModelName) -> LoadedWeights:
    if model != DEMO_MODEL:
        raise SourceError(f"the demo weights are {DEMO_MODEL}, not {model}: use --model {DEMO_MODEL}, or other --weights")
    path = _demo_file(f"{DEMO_MODEL}_demo.safetensors")
    raw, described = _read_file(path)
    return _finish(model, raw, described, kind="demo", where="the demo weights", file_name=path.name)


def _random(model: ModelName, seed: int, num_classes: int) -> LoadedWeights:
    import torch

    from squeeze_export.models.squeezenet import SqueezeNet, initialise

    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed is {seed}: it must be a whole number from 0 to 2**63 - 1")
    if num_classes < 2:
        raise SourceError(f"random weights for {num_classes} class(es): a classifier needs at least 2")
    with torch.device("meta"):  # on the meta device the constructor draws nothing from torch's global generator
        network = SqueezeNet(model, num_classes)
    network = network.to_empty(device="cpu")
    initialise(network, torch.Generator().manual_seed(seed))
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    origin = WeightsOrigin(kind="random", sha256=canonical_sha256(state), file_name=None, seed=seed)
    return LoadedWeights(state=state, num_classes=num_classes, origin=origin)


def _read_file(path: Path) -> tuple[Mapping[str, Any], str | None]:
    """Read (state dict as stored, model name the file gives itself or None)."""
    if path.is_dir():
        raise SourceError(f"weights {path} is a directory: give a {', '.join(_SUFFIXES)} file")
    if not path.exists():
        raise SourceError(f"weights file {path} does not exist: check --weights (a path, imagenet, random or demo)")
    if not path.is_file():
        raise SourceError(f"weights {path} is not a regular file: give a {', '.join(_SUFFIXES)} file")
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise SourceError(f"weights file {path} ends in {suffix or 'nothing'!r}: give a {', '.join(_SUFFIXES)} file")
    size = path.stat().st_size
    if size == 0:
        raise SourceError(f"weights file {path} is empty (0 bytes): download or copy it again")
    if size > _LARGEST_FILE:
        raise SourceError(f"weights file {path} has {size:,} bytes; no SqueezeNet checkpoint is larger than {_LARGEST_FILE:,}")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise SourceError(f"weights file {path} cannot be read: {error.strerror}") from error
    if suffix == ".safetensors":
        return _read_safetensors(path, start)
    return _unwrap(_read_pickle(path, start), path), None


def _read_safetensors(path: Path, start: bytes) -> tuple[dict[str, Any], str | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata.get("model")  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(
            f"weights file {path} is not a readable safetensors file{_looks_like(start, '.safetensors')}: {_line(error)}"
        ) from error


def _read_pickle(path: Path, start: bytes) -> object:
    import torch

    try:
        if start.startswith(b"PK"):
            # torch.load does not look at the checksums: a flipped byte would become another weight.
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise SourceError(f"weights file {path} is damaged: {damaged} fails its checksum; download or copy it again")
        with warnings.catch_warnings():
            # torch warns of TorchScript archives and old storages before it refuses or reads them: the outcome is what counts.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        stand_in = _looks_like(start, path.suffix.lower())
        wanted = re.search(r"GLOBAL ([\w.]+)|Unsupported (operand \d+)", str(error))
        if not start.startswith((b"PK", b"\x80")):  # torch's own words would be about an opcode of a pickle that is none
            raise SourceError(
                f"weights file {path} is no checkpoint{stand_in}: it is neither a zip archive nor a pickle. Give the file that "
                "torch.save or safetensors wrote"
            ) from error
        if wanted is None:
            raise SourceError(f"weights file {path} is no checkpoint of tensors{stand_in}: {_line(error)}") from error
        found = f"its pickle asks for {wanted.group(1) or wanted.group(2)}"
        raise SourceError(
            f"weights file {path} is refused and nothing in it was executed: {found}, and a state dict needs only tensors. If "
            "you trust it, load it where it was made and save it with torch.save(model.state_dict(), ...) or as .safetensors"
        ) from error
    except SourceError:
        raise
    except Exception as error:
        # torch raises RuntimeError, EOFError, KeyError, ValueError and others over a damaged file: all mean the same here.
        raise SourceError(
            f"weights file {path} cannot be read as a checkpoint{_looks_like(start, path.suffix.lower())}: {_line(error)}"
        ) from error


def _looks_like(start: bytes, suffix: str) -> str:
    """Name the usual stand-ins for a checkpoint."""
    if start.startswith(b"version https://git-lfs"):
        return " (it is a Git LFS pointer: run `git lfs pull`)"
    if start.lstrip().startswith(b"<"):
        return " (it looks like an HTML page: the download went wrong)"
    if start[8:9] == b"{":
        told = "it is cut short, or damaged" if suffix == ".safetensors" else "it looks like safetensors: is the ending wrong?"
        return f" ({told})"
    if start.startswith(_CHECKPOINT_STARTS):
        told = "looks like a PyTorch checkpoint: is the ending wrong?" if suffix == ".safetensors" else "is cut short, or damaged"
        return f" (it {told})"
    return ""


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _unwrap(content: object, path: Path) -> Mapping[str, Any]:
    """Find the state dict in what torch.load gave: itself, or under one of the usual keys."""
    import torch

    if isinstance(content, Mapping):
        if any(isinstance(value, torch.Tensor) for value in content.values()):
            return content
        inside = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if len(inside) == 1:
            found: Mapping[str, Any] = content[inside[0]]
            return found
        keys = ", ".join(sorted(map(repr, content))[:_LISTED]) or "nothing"
        if inside:
            raise SourceError(
                f"weights file {path} has several state dicts ({', '.join(inside)}): save only the one that is meant"
            )
        raise SourceError(
            f"weights file {path} holds no state dict: found a mapping with {keys}; expected tensors by name, or these under "
            f"one of {', '.join(_WRAPPERS)}"
        )
    raise SourceError(f"weights file {path} holds a {type(content).__name__}, not a state dict: save model.state_dict()")


def _finish(
    model: ModelName,
    raw: Mapping[str, Any],
    described: str | None,
    *,
    kind: Literal["file", "imagenet", "demo"],
    where: str,
    file_name: str,
) -> LoadedWeights:
    import torch

    strangers = [f"{key!r} ({type(value).__name__})" for key, value in raw.items() if not isinstance(value, torch.Tensor)]
    strangers += [repr(key) for key in raw if not isinstance(key, str)]
    if strangers:
        raise SourceError(f"{where} has entries that are not tensors by name: {_some(strangers)}")
    if described in MODELS and described != model:
        # Simple bypass adds no weights: only the file's own word tells its weights from those of plain 1.0.
        raise SourceError(f"{where} says that it holds {described} weights, not {model}: use --model {described}")
    shaped = _strip_prefixes(dict(raw))
    num_classes = _check_fit(model, shaped, where)
    ordered = {name: shaped[name] for name in expected_shapes(model, num_classes)}
    state = _to_fp32(ordered, where)
    origin = WeightsOrigin(kind=kind, sha256=canonical_sha256(state), file_name=file_name, seed=None)
    return LoadedWeights(state=state, num_classes=num_classes, origin=origin)


def _strip_prefixes(state: StateDict) -> StateDict:
    """Take off what DataParallel, Lightning and torch.compile put in front of every name, in whatever order they did."""
    while state:
        prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _differences(model: ModelName, state: Mapping[str, torch.Tensor]) -> tuple[int, list[str]]:
    """Hold names and shapes against `model`, for as many classes as the state dict has itself."""
    head = state.get(_HEAD)
    num_classes = int(head.shape[0]) if head is not None and head.ndim > 0 else RANDOM_CLASSES
    expected = expected_shapes(model, max(num_classes, 1))
    found = {name: tuple(value.shape) for name, value in state.items()}
    missing = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    unexpected = [f"unexpected {name} {shape}" for name, shape in sorted(found.items()) if name not in expected]
    other = [
        f"{name} has shape {found[name]}, expected {shape}" for name, shape in expected.items() if found.get(name, shape) != shape
    ]
    return num_classes, missing + unexpected + other


def _check_fit(model: ModelName, state: Mapping[str, torch.Tensor], where: str) -> int:
    num_classes, differences = _differences(model, state)
    if differences:
        fits = [other for other in MODELS if other != model and not _differences(other, state)[1]]
        advice = (
            f"these are {' or '.join(fits)} weights: use --model {fits[0]}"
            if fits
            else f"they fit none of {', '.join(MODELS)}: give a state dict with torchvision's names"
        )
        raise SourceError(f"{where} does not hold {model} weights: {advice}. What differs: {_some(differences)}")
    if num_classes < 2:
        raise SourceError(f"{where} classifies into {num_classes} class(es): with fewer than 2 there is nothing to tell apart")
    return num_classes


def _to_fp32(state: StateDict, where: str) -> StateDict:
    import torch

    floating = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    unfit = [
        f"{name} ({str(value.dtype).removeprefix('torch.')}{'' if value.layout == torch.strided else ', sparse'})"
        for name, value in state.items()
        if value.dtype not in floating or value.layout != torch.strided or value.is_meta
    ]
    if unfit:
        raise SourceError(
            f"{where} has weights that are not plain floating-point tensors: {_some(unfit)}. Save the model in float"
        )
    converted = {name: value.detach().to(torch.float32, copy=True).contiguous() for name, value in state.items()}
    broken = [
        f"{name} ({int(value.isnan().sum())} NaN, {int(value.isinf().sum())} infinite of {value.numel()})"
        for name, value in converted.items()
        if not bool(value.isfinite().all())
    ]
    if broken:
        raise SourceError(
            f"{where} has weights that are no finite fp32 numbers: {_some(broken)}. The training diverged or the file is damaged"
        )
    return converted


def _some(items: list[str]) -> str:
    shown = "; ".join(items[:_LISTED])
    return shown if len(items) <= _LISTED else f"{shown}; and {len(items) - _LISTED} more"
