"""Where weights come from: a file of the user's, torchvision's published ones, a seed, or the demo weights of this package.

Every way ends in the same thing: a state dict of finite fp32 tensors that fits one of the four models exactly, or a
SourceError that lists what differs. No pickle is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from squeeze_export.contracts.source import MODELS, ModelName, WeightsOrigin
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources import published
from squeeze_export.sources.checkpoints.chosen import choose
from squeeze_export.sources.checkpoints.containers import read_content
from squeeze_export.sources.checkpoints.digests import canonical_sha256 as canonical_sha256
from squeeze_export.sources.checkpoints.digests import combined_sha256 as combined_sha256
from squeeze_export.sources.checkpoints.fitting import Network

if TYPE_CHECKING:
    import torch

    StateDict: TypeAlias = dict[str, torch.Tensor]

Provided = Literal["imagenet", "random", "demo"]
WeightsChoice: TypeAlias = Path | Provided

DEMO_MODEL: Final[ModelName] = "squeezenet1_1"
RANDOM_CLASSES: Final = 1000

_HEAD: Final = "classifier.1.weight"


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


def load_weights(
    model: ModelName,
    choice: WeightsChoice,
    *,
    seed: int,
    random_classes: int = RANDOM_CLASSES,
    checkpoint_key: str | None = None,
    sha256: str | None = None,
) -> LoadedWeights:
    """Load the chosen weights for `model`; SourceError, saying what was found, where they are not exactly that.

    `seed` and `random_classes` concern random weights only; any other choice has its own number of classes. Where a file holds
    several state dicts, `checkpoint_key` (dotted) names the one that is meant, or else `sha256` does, a digest as in
    contracts.source.WeightsOrigin; without either, or where no digest is that one, averaged weights (EMA) are taken first.
    """
    if checkpoint_key is not None and not isinstance(choice, Path):
        raise UsageError(
            f"--checkpoint-key {checkpoint_key} is for weights from a file, and these are {choice}. Leave it out, or pass "
            "--weights PATH."
        )
    if isinstance(choice, Path):
        return _read(model, choice, "file", str(choice), checkpoint_key, sha256)
    match choice:
        case "imagenet":
            path = published.fetch(model)
            return _read(model, path, "imagenet", str(path))
        case "demo":
            return _demo(model)
        case "random":
            return _random(model, seed, random_classes)


def _read(
    model: ModelName,
    path: Path,
    kind: Literal["file", "imagenet", "demo"],
    where: str,
    key: str | None = None,
    sha256: str | None = None,
) -> LoadedWeights:
    found = choose([network_of(name) for name in MODELS], model, read_content(path), where, key=key, sha256=sha256)
    return LoadedWeights(
        state=found.state,
        num_classes=found.num_classes,
        origin=WeightsOrigin(kind=kind, sha256=canonical_sha256(found.state), file_name=path.name, seed=None),
        notes=found.notes,
        label_claims=found.label_claims,
    )


def network_of(model: ModelName) -> Network:
    """The names and shapes that weights of `model` are held against."""
    return Network(name=model, head=_HEAD, shapes=lambda num_classes: expected_shapes(model, num_classes))


def expected_shapes(model: ModelName, num_classes: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes that a state dict of `model` has, in the module's order."""
    return dict(_shapes(model, num_classes))


@lru_cache(maxsize=16)  # a file is held against every model, under every prefix that its names may have
def _shapes(model: ModelName, num_classes: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    import torch

    from squeeze_export.sources.squeezenet import SqueezeNet

    with torch.device("meta"):
        state = SqueezeNet(model, num_classes).state_dict()
    return tuple((name, tuple(value.shape)) for name, value in state.items())


def demo_labels() -> Path:
    """The labels that belong to the demo weights; SourceError where this installation lacks them."""
    return _demo_file("labels.txt")


def _demo_file(name: str) -> Path:
    # The package is installed as plain files (it holds templates and a type marker too), so a resource is a path.
    path = Path(str(resources.files("squeeze_export.demo"))) / "data" / name
    if not path.is_file():
        raise SourceError(
            f"the demo weights are incomplete: this installation of squeeze-export has no demo/data/{name}; install it again, "
            "or choose others with --weights PATH, imagenet or random"
        )
    return path


def _demo(model: ModelName) -> LoadedWeights:
    if model != DEMO_MODEL:
        raise SourceError(f"the demo weights are {DEMO_MODEL}, not {model}: use --model {DEMO_MODEL}, or other --weights")
    path = _demo_file(f"{DEMO_MODEL}_demo.safetensors")
    return _read(model, path, "demo", "the demo weights")


def _random(model: ModelName, seed: int, num_classes: int) -> LoadedWeights:
    import torch

    from squeeze_export.sources.squeezenet import SqueezeNet, initialise

    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed is {seed}: it must be a whole number from 0 to 2**63 - 1")
    if num_classes < 2:
        raise SourceError(
            f"random weights for {'1 class' if num_classes == 1 else f'{num_classes} classes'}: a classifier needs at least 2"
        )
    with torch.device("meta"):  # on the meta device the constructor draws nothing from torch's global generator
        network = SqueezeNet(model, num_classes)
    network = network.to_empty(device="cpu")
    initialise(network, torch.Generator().manual_seed(seed))
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    origin = WeightsOrigin(kind="random", sha256=canonical_sha256(state), file_name=None, seed=seed)
    return LoadedWeights(state=state, num_classes=num_classes, origin=origin)
