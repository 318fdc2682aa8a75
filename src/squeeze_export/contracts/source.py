"""The source model, where its weights come from, and the golden pack that it answered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from squeeze_export.contracts.heads import Activation, ModelGives
from squeeze_export.contracts.signature import Head, PreprocessingSpec

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

    from squeeze_export.contracts.arrays import FloatArray, PixelArray
    from squeeze_export.contracts.parity import NoiseFloor


ModelName = Literal["squeezenet1_1", "squeezenet1_0", "squeezenet1_0_bypass", "squeezenet1_0_complex_bypass"]


MODELS: Final[tuple[ModelName, ...]] = (
    "squeezenet1_1",
    "squeezenet1_0",
    "squeezenet1_0_bypass",
    "squeezenet1_0_complex_bypass",
)


def is_squeezenet(model: str) -> TypeIs[ModelName]:
    """Whether a source model is one of the networks that this package has itself; any other was captured by torch.export."""
    return model in MODELS


# Words for weights that a library publishes: torchvision has names, timm one word, for there the model's name says which.
_PUBLISHED: Final = {"torchvision": re.compile(r"pretrained|[A-Z][A-Z0-9_]*"), "timm": re.compile("pretrained")}


def is_published(model: str, weights: str) -> bool:
    """Whether `weights` names some that the library of this model may publish; a file of that name is written ./NAME."""
    known = _PUBLISHED.get(model.partition(":")[0])
    return known is not None and known.fullmatch(weights) is not None


FEATURE_CHANNELS: Final = 512  # what the last fire module of every model gives


@dataclass(frozen=True, kw_only=True)
class WeightsOrigin:
    """Where the weights came from.

    `sha256` is that of the canonical state dict (models.weights.combined_sha256), so the same weights in another container have
    the same digest. `file_name` has no folder: no absolute path is ever recorded. "module": they came with the network itself;
    "library": timm or torchvision publishes them under a name.
    """

    kind: Literal["file", "imagenet", "random", "demo", "module", "library"]
    sha256: str
    file_name: str | None
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """The one model that every artifact is made from and judged against.

    `module` is an eval-mode fp32 module: normalised NCHW tensor (N, 3, H, W) -> (N, width): logits, or with the head
    "features" the averaged channels in front of the classifier, whose weights it then lacks. `num_classes` and `weights` are
    always those of the whole checkpoint. `labels` has num_classes entries in index order, or is None; features have none.
    `head_relu`: whether a ReLU stands behind the classifier's convolution: weights alone do not tell. `feature_channels`:
    how many features there are.
    `model`: one of MODELS, or how the user named another network; then `module` is that network captured by torch.export, and
    `kernels` names the weights of its convolutions and linear layers. `program`: the capture, by which it travels; `eager`: the
    network as it was given, whose answers are the reference; it does not travel, and a program that was read has none.
    `activation`: what makes probabilities of the logits. `gives`: what the network gave by itself, which `module` gives no
    longer: it gives logits. `output`: which of several outputs of the network is meant.
    `notes`: what the user must know of how weights and labels were read, a sentence each; they do not travel to workers.
    """

    name: str
    model: str
    module: torch.nn.Module
    num_classes: int
    labels: tuple[str, ...] | None
    preprocessing: PreprocessingSpec
    weights: WeightsOrigin
    head: Head = "classifier"
    notes: tuple[str, ...] = ()
    head_relu: bool = True
    kernels: tuple[str, ...] = ()
    program: Any = None
    eager: torch.nn.Module | None = None
    feature_channels: int = FEATURE_CHANNELS
    activation: Activation = "softmax"
    gives: ModelGives = "logits"
    output: str | None = None

    @property
    def width(self) -> int:
        """How many values `module` gives per image."""
        return self.num_classes if self.head == "classifier" else self.feature_channels


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a classifier answers, one row per image: `logits` and their softmax, `probabilities`, each (N, classes) float32.

    With the `activation` sigmoid each probability is that of its own logit alone, and their sum means nothing.
    """

    logits: FloatArray
    probabilities: FloatArray
    activation: Activation = "softmax"


@dataclass(frozen=True, kw_only=True)
class Features:
    """What a feature extractor answers, one row per image: `features`, (N, channels) float32."""

    features: FloatArray


@dataclass(frozen=True, kw_only=True)
class GoldenPack:
    """Inputs with the eager fp32 reference's answers, N images in a fixed order.

    `names`: N distinct names, safe as file names. `pictures`: the N decoded source pictures, (h, w, 3) uint8 RGB, each of its own
    size. `pixels`: (N, H, W, 3) uint8 RGB, what resize and crop of `preprocessing` make of them.
    `reference`: the answers, by the source model's head.
    `weights`: per weight of the source its digests, for exact comparison with the weights stored in an artifact.
    Of a captured network `noise_floor` is what its artifacts are held to, and `kernels` names the weights of its convolutions and
    linear layers, which converters store as they are. SqueezeNet has fixed tolerances, and all of its weights stay.
    """

    names: tuple[str, ...]
    pictures: tuple[PixelArray, ...]
    preprocessing: PreprocessingSpec
    pixels: PixelArray
    reference: Scores | Features
    weights: tuple[WeightDigest, ...]
    noise_floor: NoiseFloor | None = None
    kernels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WeightDigest:
    """sha256 of one source weight's little-endian C-order bytes, as fp32 and rounded to fp16."""

    name: str
    shape: tuple[int, ...]
    fp32: str
    fp16: str
