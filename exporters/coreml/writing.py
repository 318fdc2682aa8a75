"""Core ML: one ML Program package (.mlpackage) with a named input and output, normalisation and softmax inside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import Artifact, ExportSettings
from squeeze_export.contracts.signature import InputSpec, OutputSpec, Signature
from squeeze_export.contracts.source import SourceModel, is_squeezenet
from squeeze_export.errors import ConversionError
from squeeze_export.exporters import deployed
from squeeze_export.exporters.coreml import compressed, package, sdk, slim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from squeeze_export.compression.codings import AnyWeight


INPUT_NAME: Final = "image"


# The string output that coremltools gives a classifier beside the dictionary of scores; Xcode and Vision know it by this name.
CLASS_LABEL_NAME: Final = "classLabel"


def write(
    source: SourceModel, settings: ExportSettings, destination: Path, *, coded: Mapping[str, AnyWeight] | None = None
) -> Artifact:
    """Write the package at `destination`, which does not exist yet, and describe it.

    An image input takes 0..255 pixels in the preprocessing's colour order; a tensor input takes what the source model takes. With
    labels and probabilities the package is a classifier. `coded`: every kernel of the source, which must hold it decoded, as it
    is to be stored in an fp16 program; the program is then written as small as it can be. Raises ConversionError; then nothing
    stands at `destination`.
    """
    signature = _signature(source, settings)
    _refuse_duplicates(source, signature)
    try:
        with sdk.quiet() as ct:
            model = _convert(ct, source, settings, signature)
            spec = model.get_spec()
            if signature.class_label is not None:
                package.rename_output(spec, f"{CLASS_LABEL_NAME}_probs", signature.outputs[0].name)
            _describe(spec, source, settings, signature)
            package.remove_circumstances(spec)
            weights = Path(model.weights_dir) if model.weights_dir else None
            if coded is not None:
                assert weights is not None
                compressed.replace_weights(spec, weights, coded, ios18=settings.ios_target == "iOS18")
                slim.slim(spec)
            package.write(spec, weights, destination)
    except ConversionError:
        raise
    except OSError as error:
        raise ConversionError(
            f"The Core ML package could not be written at {destination}: {error}. "
            "Free some disk space or choose another output folder, and run the export again."
        ) from error
    except Exception as error:
        raise ConversionError(
            f"coremltools could not convert {source.name} ({source.model}, {settings.precision}, {settings.ios_target}): "
            f"{type(error).__name__}: {_first_line(error)}. Compare the installed versions of coremltools and torch with those "
            "this project pins (pip install -e . restores them); --verbose shows where coremltools stopped."
        ) from error
    return Artifact(
        target="coreml",
        precision=settings.precision,
        path=destination,
        signature=signature,
        operators=package.operators(spec),
        deployment_target=settings.ios_target,
    )


def _signature(source: SourceModel, settings: ExportSettings) -> Signature:
    declared = deployed.input_spec(
        source.preprocessing, settings.input_kind, name=INPUT_NAME, layout="NCHW", image_scale=1.0, image_bias=0.0
    )
    # Core ML hands a picture's channels over in either order, so a BGR model needs no operation (and no changed weights) for it.
    declared = replace(declared, color_order=source.preprocessing.color_order)
    output = deployed.output_spec(source, settings.output_kind)
    # A classifier names the best label: of a single score it would always be the same.
    if settings.output_kind != "probabilities" or source.labels is None or source.num_classes == 1:
        return Signature(input=declared, outputs=(output,))
    return Signature(input=declared, outputs=(replace(output, container="dictionary"),), class_label=CLASS_LABEL_NAME)


def _refuse_duplicates(source: SourceModel, signature: Signature) -> None:
    if signature.class_label is None or source.labels is None:
        return
    if len(source.labels) != source.num_classes:
        raise ConversionError(
            f"A Core ML classifier needs one label per class, but {source.name} has {source.num_classes} classes and "
            f"{len(source.labels)} labels. Correct the labels, or export logits."
        )
    first: dict[str, int] = {}
    for index, label in enumerate(source.labels):
        if label in first:
            raise ConversionError(
                f"A Core ML classifier keeps its scores in a dictionary by label, but classes {first[label]} and {index} are "
                f"both {label!r}: one would hide the other. Rename one of them, or export logits."
            )
        first[label] = index


def _wrapped(source: SourceModel, declared: InputSpec, settings: ExportSettings) -> torch.nn.Module:
    """The source model behind normalisation `(pixel - centre) * gain` and in front of its activation; may share its weights.

    How the form was chosen: SNR of SqueezeNet 1.1's logits (torchvision weights, 64 photographs) with every operation rounded to
    fp16, in dB, against eager fp32; 70.8 is what remains with an unrounded input, 69.2 with a normalisation in fp32 in front:
      x * a + b                               66.4    (what graph.deployed does; b eats the low bits)
      (x / 255 - mean) / std                  66.4    (the same with ImageType(scale=1/255): that adds an operation too)
      (x / 255 - mean) * (1 / std)            66.9
      (x - mean) * a                          67.4    mean in pixels, rounded to fp16
      (x - mean8) * a                         68.4    mean in pixels, rounded to 1/8: then the difference is exact in fp16
      folded into the first convolution       65.6    (and the stored weights are no longer the source's)
    fp32 in front would gain 0.7 dB more and would keep the graph's head off the Neural Engine, which computes in fp16 only.
    """
    import torch

    gains, offsets = deployed.normalisation(source.preprocessing, declared)
    exact = [-offset / gain for gain, offset in zip(gains, offsets, strict=True)]
    centres = [_exactly_subtractable(value) for value in exact] if settings.precision == "fp16" else exact
    subtract = any(abs(centre) > 1e-9 for centre in centres)
    multiply = any(abs(gain - 1) > 1e-9 for gain in gains)

    class Wrapped(torch.nn.Module):
        centre: torch.Tensor
        gain: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = _rounded(source) if settings.precision == "fp16" else source.module
            self.register_buffer("centre", torch.tensor(centres, dtype=torch.float32).view(1, -1, 1, 1))
            self.register_buffer("gain", torch.tensor(gains, dtype=torch.float32).view(1, -1, 1, 1))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            values = image - self.centre if subtract else image
            values = values * self.gain if multiply else values
            return deployed.given(self.model(values), settings.output_kind, source.activation)

    return Wrapped().eval()


def _rounded(source: SourceModel) -> torch.nn.Module:
    """A copy with weights already rounded to fp16, so that coremltools stores exactly these.

    By itself it turns weights that round to zero into the smallest fp16 number (6e-8), though only in arrays of fewer than 400;
    and it leaves a convolution with weights above fp16's range in fp32 without a word.
    """
    import copy

    deployed.check_fits_fp16(source.module)
    return copy.deepcopy(source.module).half().float()


def _exactly_subtractable(pixels: float) -> float:
    """The nearest value whose difference to any whole pixel value 0..255 fp16 holds exactly (its step below 256 is 1/8)."""
    return round(pixels * 8) / 8 if 0 <= pixels <= 255 else pixels


def _convert(ct: Any, source: SourceModel, settings: ExportSettings, signature: Signature) -> Any:
    import numpy as np
    import torch

    declared = signature.input
    module = _wrapped(source, declared, settings)
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(declared.shape))
    if settings.input_kind == "image":
        layouts = {"RGB": ct.colorlayout.RGB, "BGR": ct.colorlayout.BGR, "GRAY": ct.colorlayout.GRAYSCALE}
        feature = ct.ImageType(name=declared.name, shape=declared.shape, color_layout=layouts[declared.color_order])
    else:
        feature = ct.TensorType(name=declared.name, shape=declared.shape, dtype=np.float32)
    classifier = None
    output = signature.outputs[0].name
    if signature.class_label is not None and source.labels is not None:
        classifier = ct.ClassifierConfig(list(source.labels), predicted_feature_name=signature.class_label)
        output = f"{output}_vector"  # the dictionary made of it takes the name
    precision = ct.precision.FLOAT32
    if settings.precision == "fp16":
        # In fp16 a fifth of 1000 ImageNet probabilities are 0 (the smallest positive number is 6e-8) and log-probabilities are
        # lost; one softmax in fp32 at the very end costs nothing and leaves them as exact as the logits (70 dB).
        precision = ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_type != "softmax" and not _ends(op))
    return ct.convert(
        traced,
        convert_to="mlprogram",
        inputs=[feature],
        # fp32 also where iOS 16 and later allow fp16: same values; iOS 15 has no fp16 arrays and Swift on Intel Macs no Float16.
        outputs=[ct.TensorType(name=output, dtype=np.float32)],
        classifier_config=classifier,
        minimum_deployment_target=getattr(ct.target, settings.ios_target),
        compute_precision=precision,
        pass_pipeline=_passes(ct, source),
        skip_model_load=True,  # on a Mac, loading compiles the model; the proof opens the saved file instead
    )


def _ends(operation: Any) -> bool:
    """Whether it is the sigmoid that makes the probabilities; those inside a network compute in fp16 like all else."""
    if operation.op_type != "sigmoid":
        return False
    (result,) = operation.outputs
    return result in operation.enclosing_block.outputs or any(user.op_type == "classify" for user in result.child_ops)


def _passes(ct: Any, source: SourceModel) -> Any:
    """coremltools' own passes; of captured networks without one that changes numbers.

    `x * a + b` becomes a batch_norm of variance 1 in which coremltools 9.0 leaves the default epsilon: every such product is off
    by 5e-6, and MobileViTv2, with 21 of them, by 16 dB.
    """
    pipeline = ct.PassPipeline.DEFAULT
    if not is_squeezenet(source.model):
        pipeline.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    return pipeline


def _describe(spec: Any, source: SourceModel, settings: ExportSettings, signature: Signature) -> None:
    """Fill in what Xcode shows: author, license, version, description, and one line per input and output."""
    how = source.preprocessing
    size = f"{how.width} x {how.height}"
    origin = source.weights
    metadata = spec.description.metadata
    metadata.author = "squeeze-export"
    metadata.license = deployed.licence_of(origin)
    metadata.versionString = f"weights {origin.sha256[:12]}"
    metadata.shortDescription = (
        f"{deployed.said_of(source)}, exported from PyTorch as {settings.precision} ML Program for "
        f"{settings.ios_target} or later. sha256 of the source's weights: {origin.sha256}"
    )
    formula = f"(pixel * {how.scale:.9g} - mean) / std, mean {_triple(how.mean)}, std {_triple(how.std)} ({how.color_order})"
    prepared = how.told()
    if settings.input_kind == "image":
        text = f"Photograph, {size} pixels: {prepared}. Do not normalise: {formula} is inside the model."
    else:
        text = (
            f"{how.color_order} values of a photograph, 1 x {how.channels} x height x width: {prepared}; each value is {formula}."
        )
    spec.description.input[0].shortDescription = text
    texts = dict(_output_texts(source, signature))
    for feature in spec.description.output:
        feature.shortDescription = texts[feature.name]
    for key, value in (
        ("squeeze_export.model", source.model),
        ("squeeze_export.weights_sha256", origin.sha256),
        ("squeeze_export.precision", settings.precision),
        ("squeeze_export.output_kind", settings.output_kind),
        ("squeeze_export.preprocessing", json.dumps(source.preprocessing.record(), sort_keys=True)),
    ):
        metadata.userDefined[key] = value


def _output_texts(source: SourceModel, signature: Signature) -> Iterator[tuple[str, str]]:
    output: OutputSpec = signature.outputs[0]
    inside = "softmax is inside the model"
    if source.activation == "sigmoid":
        inside = "sigmoid is inside the model: each is independent of the others"
    if signature.class_label is not None:
        yield signature.class_label, "The most probable label."
        yield output.name, f"The probability of each of the {source.num_classes} labels ({inside})."
    elif output.kind == "probabilities":
        yield output.name, f"The probabilities of {source.num_classes} classes in index order ({inside})."
    elif output.kind == "features":
        averaged = f"{source.width} channels, each averaged over the whole picture"
        which = averaged if is_squeezenet(source.model) else f"{source.width} numbers in front of the network's classifier"
        yield output.name, f"The embedding: {which}. Not normalised in length."
    else:
        yield output.name, f"The logits of {source.num_classes} classes in index order, before {source.activation}."


def _triple(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.6g}" for value in values)


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), "no message")
