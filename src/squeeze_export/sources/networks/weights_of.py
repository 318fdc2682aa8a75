"""A checkpoint's weights in any network: found, held against its names and shapes, and loaded, as for a SqueezeNet.

The number of classes comes from the checkpoint. Its batch norms stay: only a captured program folds them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.source import MODELS, WeightsOrigin
from squeeze_export.errors import SourceError
from squeeze_export.sources.checkpoints.chosen import Chosen, choose
from squeeze_export.sources.checkpoints.containers import Content, read_content
from squeeze_export.sources.checkpoints.digests import canonical_sha256
from squeeze_export.sources.checkpoints.fitting import Network
from squeeze_export.sources.weights import network_of

if TYPE_CHECKING:
    import torch

    Rebuild = Callable[[int], torch.nn.Module]

_COUNTER: Final = re.compile(r"(^|\.)num_batches_tracked$")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A network with a checkpoint's weights. `notes` and `label_claims` as in sources.weights.LoadedWeights."""

    module: torch.nn.Module
    num_classes: int
    origin: WeightsOrigin
    notes: tuple[str, ...]
    label_claims: Mapping[str, object] = field(default_factory=dict)


def fit(
    module: torch.nn.Module,
    path: Path,
    *,
    checkpoint_key: str | None = None,
    sha256: str | None = None,
    name: str = "the network",
    classes: int | None = None,
    rebuild: Rebuild | None = None,
) -> Fitted:
    """Load a checkpoint into the network; SourceError that says which keys and shapes do not fit.

    `module` is in eval mode, fp32, on the CPU. `classes`: how many it has now, where that is known. `rebuild` makes it for
    another number of classes; without it, the last layer alone is made for as many as the checkpoint has, and a note says so.
    `checkpoint_key` and `sha256` choose among several state dicts, as in sources.weights.load_weights.
    """
    content = read_content(path)
    shaped = _Shapes(module, head_of(module, classes), rebuild)
    chosen = _chosen(shaped, content, path, name, checkpoint_key, sha256)
    made, notes = shaped.sized(chosen.num_classes)
    made.load_state_dict(chosen.state, strict=False)
    return Fitted(
        module=made,
        num_classes=chosen.num_classes,
        origin=WeightsOrigin(kind="file", sha256=canonical_sha256(chosen.state), file_name=path.name, seed=None),
        notes=(*chosen.notes, *notes),
        label_claims=chosen.label_claims,
    )


def classes_in(
    path: Path,
    module: torch.nn.Module,
    *,
    checkpoint_key: str | None = None,
    sha256: str | None = None,
    name: str = "the network",
    classes: int | None = None,
    rebuild: Rebuild | None = None,
) -> int:
    """How many classes the checkpoint has for this network; SourceError where it does not fit. Loads nothing."""
    shaped = _Shapes(module, head_of(module, classes), rebuild)
    return _chosen(shaped, read_content(path), path, name, checkpoint_key, sha256).num_classes


def head_of(module: torch.nn.Module, classes: int | None = None) -> str:
    """The name of the head's weight: of the last linear layer or 1x1 convolution with so many outputs.

    Without `classes`, the module's own `num_classes` is taken, or else simply the last such layer. SourceError where there is
    none.
    """
    from torch import nn

    layers = [
        (name, int(part.weight.shape[0]))
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and tuple(part.kernel_size) == (1, 1))
    ]
    if classes is None and isinstance(own := getattr(module, "num_classes", None), int):
        classes = own
    fitting = [name for name, width in layers if width == classes] or [name for name, _ in layers if classes is None]
    if not fitting:
        found = f"the last such layer, {layers[-1][0]}, has {layers[-1][1]}" if layers else "there is no such layer"
        wanted = "outputs" if classes is None else f"{classes} outputs"
        raise SourceError(f"the network has no linear layer or 1x1 convolution with {wanted} for its classes: {found}")
    return f"{fitting[-1]}.weight" if fitting[-1] else "weight"


class _Shapes:
    """A network's names and shapes by the number of classes."""

    def __init__(self, module: torch.nn.Module, head: str, rebuild: Rebuild | None) -> None:
        self.module, self.head, self._rebuild = module, head, rebuild
        self.classes = int(module.state_dict()[head].shape[0])
        self._made: dict[int, torch.nn.Module] = {self.classes: module}
        self._shapes: dict[int, dict[str, tuple[int, ...]]] = {}

    def of(self, num_classes: int) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the floating-point weights, in the network's order."""
        if num_classes not in self._shapes:
            self._shapes[num_classes] = self._of(num_classes)
        return self._shapes[num_classes]

    def _of(self, num_classes: int) -> dict[str, tuple[int, ...]]:
        if self._rebuild is not None:
            return _shapes(self._for(num_classes))
        bias = f"{self.head.rpartition('.')[0]}.bias".removeprefix(".")
        return {
            name: (num_classes, *shape[1:]) if name in (self.head, bias) else shape
            for name, shape in _shapes(self.module).items()
        }

    def _for(self, num_classes: int) -> torch.nn.Module:
        if num_classes not in self._made and self._rebuild is not None:
            made = self._rebuild(num_classes)
            # Only one of another size is kept: a file is held against it and then loaded into it.
            self._made = {self.classes: self.module, num_classes: made}
        return self._made[num_classes]

    def sized(self, num_classes: int) -> tuple[torch.nn.Module, tuple[str, ...]]:
        """The network for so many classes, and what had to be done for that."""
        if num_classes == self.classes:
            return self.module, ()
        if self._rebuild is not None:
            return self._for(num_classes), ()
        layer = self.head.rpartition(".")[0]
        made = copy.deepcopy(self.module)
        _resize(made, layer, num_classes)
        told = f"The checkpoint has {num_classes} classes and the network was built with {self.classes}"
        return made, (f"{told}: its last layer, {layer}, was made for {num_classes}.",)

    @property
    def fixed(self) -> dict[str, Any]:
        """Whole numbers that the network computes itself, such as tables of relative places."""
        state = self.module.state_dict()
        return {name: value for name, value in state.items() if not _is_weight(name, value) and not _COUNTER.search(name)}


def _chosen(shaped: _Shapes, content: Content, path: Path, name: str, checkpoint_key: str | None, sha256: str | None) -> Chosen:
    network = Network(name=name, head=shaped.head, shapes=shaped.of, own=True, fixed=shaped.fixed, fewest=1)
    known = [network, *(network_of(other) for other in MODELS)]  # the SqueezeNets are told by name
    return choose(known, name, content, str(path), key=checkpoint_key, sha256=sha256)


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items() if _is_weight(name, value)}


def _is_weight(name: str, value: Any) -> bool:
    return bool(value.is_floating_point()) and not _COUNTER.search(name)


def _resize(module: torch.nn.Module, layer: str, num_classes: int) -> None:
    import torch

    part: Any = module.get_submodule(layer)
    for name in ("weight", "bias"):
        old = getattr(part, name)
        if old is not None:
            new = torch.zeros((num_classes, *old.shape[1:]), dtype=old.dtype)
            setattr(part, name, torch.nn.Parameter(new, requires_grad=False))
    for attribute in ("out_features", "out_channels"):
        if hasattr(part, attribute):
            setattr(part, attribute, num_classes)
