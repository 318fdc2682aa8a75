"""The module that every exporter converts: the source model behind the artifact's own input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeeze_export.contracts.heads import Activation
from squeeze_export.contracts.signature import InputKind, InputSpec, Layout, OutputKind, OutputSpec, PreprocessingSpec
from squeeze_export.contracts.source import SourceModel, WeightsOrigin, is_squeezenet
from squeeze_export.errors import ConversionError

if TYPE_CHECKING:
    import torch


def input_spec(
    preprocessing: PreprocessingSpec,
    kind: InputKind,
    *,
    name: str,
    layout: Layout,
    image_scale: float,
    image_bias: float,
) -> InputSpec:
    """Declare the input of an artifact.

    An image input takes `pixel * image_scale + image_bias`, the same for all channels, in RGB; a tensor input takes what the
    source model takes, normalised per channel. Both are GRAY where the preprocessing is.
    """
    height, width, channels = preprocessing.height, preprocessing.width, preprocessing.channels
    shape = (1, channels, height, width) if layout == "NCHW" else (1, height, width, channels)
    if kind == "image":
        return InputSpec(
            name=name,
            shape=shape,
            dtype="float32",
            layout=layout,
            color_order="GRAY" if channels == 1 else "RGB",
            scale=(image_scale,) * channels,
            bias=(image_bias,) * channels,
        )
    return InputSpec(
        name=name,
        shape=shape,
        dtype="float32",
        layout=layout,
        color_order=preprocessing.color_order,
        scale=tuple(preprocessing.scale / std for std in preprocessing.std),
        bias=tuple(-mean / std for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)),
    )


def output_spec(source: SourceModel, kind: OutputKind) -> OutputSpec:
    """Declare the output of an artifact: one row of scores or features, named after what they are.

    ConversionError where `kind` is not what the source model's head can give.
    """
    if (kind == "features") != (source.head == "features"):
        raise ConversionError(f"{source.name} has the head {source.head!r}, which gives no {kind}: ask for another output kind.")
    return OutputSpec(name=kind, shape=(1, source.width), dtype="float32", kind=kind)


def said_of(source: SourceModel) -> str:
    """Say in a few words what the source model is and gives, for a file's description of itself."""
    if source.head == "features":
        return f"{source.model} without its classifier, {source.width} features"
    return f"{source.model}, {source.num_classes} classes"


def embedding_of(source: SourceModel) -> str:
    """Say what features are."""
    if is_squeezenet(source.model):
        return meaning_of("features", source.activation)
    return "The embedding: what stands in front of the network's classifier. Not normalised in length."


def licence_of(weights: WeightsOrigin) -> str:
    """Say under which licence the weights in a file stand, as far as it is known."""
    match weights.kind:
        case "imagenet":
            return "Weights: BSD-3-Clause (torchvision); trained on ImageNet-1k"
        case "demo":
            return "Apache-2.0"
        case "random":
            return "None: random, untrained weights"
        case "module":
            return "That of the network's own weights; not known to squeeze-export"
        case "library":
            return f"That under which {weights.file_name} was published; not known to squeeze-export"
        case "file":
            return f"That of the weights in {weights.file_name or 'the given file'}; not known to squeeze-export"


def normalisation(preprocessing: PreprocessingSpec, spec: InputSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel (a, b) with `normalised = a * value + b`, for values in `spec`, in the preprocessing's channel order.

    All ones and zeros where the artifact already takes normalised values.
    """
    gains, offsets = [], []
    for channel in range(preprocessing.channels):
        own = channel if spec.color_order == preprocessing.color_order else 2 - channel
        per_pixel = preprocessing.scale / preprocessing.std[channel]
        gain = per_pixel / spec.scale[own]
        gains.append(gain)
        offsets.append(-preprocessing.mean[channel] / preprocessing.std[channel] - spec.bias[own] * gain)
    return tuple(gains), tuple(offsets)


def given(outputs: torch.Tensor, kind: OutputKind, activation: Activation) -> torch.Tensor:
    """What an artifact gives for the source model's outputs (1, width): of probabilities the one place that makes them."""
    import torch

    if kind != "probabilities":
        return outputs
    return torch.sigmoid(outputs) if activation == "sigmoid" else torch.softmax(outputs, dim=1)


def meaning_of(kind: OutputKind, activation: Activation) -> str:
    """Say what the numbers of an output are, for a file's description of itself."""
    match kind:
        case "probabilities" if activation == "sigmoid":
            return "The probability of each label, independent of the others: they do not sum to one."
        case "probabilities":
            return "The probability of each class."
        case "logits":
            return f"The logit of each class; {activation} gives probabilities."
        case "features":
            return "The embedding: each channel averaged over the whole picture. Not normalised in length."


def deployed(source: SourceModel, spec: InputSpec, kind: OutputKind) -> torch.nn.Module:
    """Wrap the source model so that it takes `spec` and gives `kind`; eval mode, batch 1, a copy that owns its weights.

    Channel order and normalisation are graph operations in front, the activation one behind; an exporter that can fold them does.
    """
    import copy

    import torch

    gains, offsets = normalisation(source.preprocessing, spec)
    identity = all(abs(gain - 1) < 1e-9 for gain in gains) and all(abs(offset) < 1e-9 for offset in offsets)

    class Deployed(torch.nn.Module):
        # TorchScript writes this name into the file: it stays where modules move, so that the same model gives the same bytes.
        __module__ = "squeeze_export.exporters.graph"

        gain: torch.Tensor
        offset: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = copy.deepcopy(source.module)
            self.register_buffer("gain", torch.tensor(gains, dtype=torch.float32).view(1, -1, 1, 1))
            self.register_buffer("offset", torch.tensor(offsets, dtype=torch.float32).view(1, -1, 1, 1))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if spec.layout == "NHWC":
                image = image.permute(0, 3, 1, 2)
            if spec.color_order != source.preprocessing.color_order:
                image = image.flip(1)
            if not identity:
                image = image * self.gain + self.offset
            return given(self.model(image), kind, source.activation)

    return Deployed().eval()


def beyond_fp16(name: str, largest: float) -> ConversionError:
    """The refusal of a weight that fp16 cannot hold; `largest`: of its magnitudes."""
    return ConversionError(f"{name} reaches {largest:.6g}, and fp16 ends at 65504. Export it with precision fp32.")


def check_fits_fp16(module: torch.nn.Module) -> None:
    """ConversionError naming the first parameter of `module` that has a number beyond fp16, and how large it is."""
    import torch

    for name, weight in module.named_parameters():
        if not bool(torch.isfinite(weight.half()).all()):
            raise beyond_fp16(name, float(weight.detach().abs().max()))
