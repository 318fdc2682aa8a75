"""Makes a `.tflite` file: NHWC, float32 (or uint8) in and out, one named signature, nothing that XNNPACK does not execute."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.artifact import PIXELS_IN, Artifact, ExportSettings, Precision, TfliteRoute
from squeeze_export.contracts.signature import InputSpec, OutputSpec, Signature
from squeeze_export.contracts.source import SourceModel, WeightDigest, is_squeezenet
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.deployed import check_fits_fp16, input_spec, output_spec
from squeeze_export.exporters.tflite import flatbuffer, int4, layout, onnx_tf, onnx_tf_compat, products
from squeeze_export.exporters.tflite import metadata as tflite_metadata
from squeeze_export.exporters.tflite import network as tflite_network
from squeeze_export.exporters.tflite import quantized as tflite_quantized
from squeeze_export.exporters.tflite.captured import making as captured
from squeeze_export.sdks import missing
from squeeze_export.sources.source import weight_digest

if TYPE_CHECKING:
    import torch

    from squeeze_export.compression.network import CodedLayer
    from squeeze_export.contracts.arrays import Array, PixelArray

SUFFIX: Final = ".tflite"
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8", "int8-uint8", "int8-dynamic", "int8-weights", "int4-mixed")
CAPTURED: Final[tuple[Precision, ...]] = ("fp32", "fp16")  # of networks other than SqueezeNet
CALIBRATED: Final[tuple[Precision, ...]] = ("int8", "int8-uint8", "int4-mixed")
NOTICE: Final = (
    "TFLite int8-uint8 takes pixels and gives scores as uint8; what a level of the output stands for is in the manifest. No "
    "starter holds it: the apps feed float32."
)
PACKAGES: Final = ("torch", "litert-torch", "litert-converter", "ai-edge-litert", "ai-edge-quantizer", "flatbuffers")
ROUTES: Final[Mapping[TfliteRoute, tuple[str, ...]]] = {"litert-torch": PACKAGES, "onnx-tf": onnx_tf.PACKAGES}

# Those whose first convolution computes in 8 bits; but int4-mixed, which does as well, is there for its size.
_PAIRED: Final[tuple[Precision, ...]] = ("int8", "int8-uint8", "int8-dynamic")
_FINISHING: Final = ("torch", "ai_edge_litert", "ai_edge_quantizer", "flatbuffers")
_MODULES: Final = (*_FINISHING, "litert_torch", "litert_converter")


def unavailable(route: TfliteRoute = "litert-torch") -> str | None:
    """Why nothing can be exported here on this route (naming the pip command), or None. Loads no SDK."""
    if route == "litert-torch":
        return missing(_MODULES)
    return missing(_FINISHING) or onnx_tf_compat.unavailable()


def export(
    source: SourceModel,
    settings: ExportSettings,
    destination: Path,
    calibration: PixelArray | None = None,
    told: Callable[[str], None] | None = None,
) -> Artifact:
    """Write the artifact at `destination`, which does not exist yet, and describe it.

    Image inputs take (pixel - 127.5) / 127.5 in RGB, or with int8-uint8 the pixels themselves, the source's own normalisation
    being folded into the first convolution; tensor inputs take what the source takes. Raises ConversionError; then nothing stands
    at `destination`.
    """
    spec = _input(source, settings)
    output = output_spec(source, settings.output_kind)
    with _quiet() as said:
        try:
            if is_squeezenet(source.model):
                made = _make(source, settings, spec, output, calibration, told)
            else:
                made = _make_captured(source, settings, spec, output)
        except ConversionError:
            raise
        except Exception as error:
            said.flush()
            said.seek(0)
            error.add_note("The converter's own output:\n" + said.read()[-4000:].decode(errors="replace"))
            raise ConversionError(
                f"{source.name} could not be converted to TFLite: {type(error).__name__}: {_first_line(error)}. Run again "
                "with --verbose for the converter's own messages, and compare its version with the one this release names."
            ) from error
    _write(made.content, destination)
    return Artifact(
        target="tflite",
        precision=settings.precision,
        path=destination,
        signature=Signature(input=spec, outputs=(made.output,)),
        operators=tuple(sorted(set(made.operators))),
        route=settings.tflite_route,
        transposes=made.operators.count("TRANSPOSE"),
        notice=NOTICE if settings.precision == PIXELS_IN else None,
        folded_weights=made.folded,
        chosen_weights=made.chosen,
    )


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A file's content, its output, its operations in order, the source weights that hold the normalisation, int8's choices."""

    content: bytes
    output: OutputSpec
    operators: tuple[str, ...]
    folded: tuple[str, ...]
    chosen: tuple[WeightDigest, ...]


def _input(source: SourceModel, settings: ExportSettings) -> InputSpec:
    """Declare the input. One of uint8 takes pixels as they are: then nobody can get a scale or a zero point wrong."""
    take = partial(input_spec, source.preprocessing, settings.input_kind, name="image", layout="NHWC")
    if settings.precision != PIXELS_IN:
        return take(image_scale=1 / 127.5, image_bias=-1.0)
    if settings.input_kind != "image":
        raise ConversionError(
            "TFLite int8-uint8 takes the pixels of an image: a tensor that the app has normalised has no such levels. "
            "Leave --input-kind tensor out, or export int8."
        )
    return replace(take(image_scale=1.0, image_bias=0.0), dtype="uint8")


def _make(
    source: SourceModel,
    settings: ExportSettings,
    spec: InputSpec,
    output: OutputSpec,
    calibration: PixelArray | None,
    told: Callable[[str], None] | None,
) -> _Made:
    half = settings.precision == "fp16"
    network, folded = tflite_network.prepare(source, spec)
    if half:
        check_fits_fp16(network)
    coded: dict[str, CodedLayer] = {}
    if settings.precision == "int4-mixed":
        network, coded = _coded(network, spec, calibration, told)
    if settings.tflite_route == "onnx-tf":
        content = onnx_tf.convert(network, replace(spec, dtype="float32"), output)
    else:
        content = _convert(tflite_network.as_signature(network, output.kind), spec)
    model = flatbuffer.parse(_halve(content) if half else content)
    flatbuffer.mean_over_one_position(model)
    operators = flatbuffer.require_operators(model, tflite_network.expected_operators(network, output.kind, half=half))
    quantised = settings.precision not in ("fp32", "fp16")
    if quantised:
        flatbuffer.separate_constants(model)
    flatbuffer.name_tensors(model, _as_stored(tflite_network.convolutions(network), half=half))
    if quantised:  # the others stay as the converter wrote them
        layout.pool_before_joining(model)
    chosen, output = _quantise(model, settings, spec, output, calibration, coded)
    if settings.precision in _PAIRED:
        layout.pair_pixels(model)
    if chosen:
        operators = flatbuffer.operators(model)
    written = _finished(model, source, spec, output, {})
    digests = tuple(weight_digest(name, chosen[name]) for name in network.state_dict() if name in chosen)
    return _Made(content=written, output=output, operators=tuple(operators), folded=folded, chosen=digests)


def _make_captured(source: SourceModel, settings: ExportSettings, spec: InputSpec, output: OutputSpec) -> _Made:
    """A network other than SqueezeNet, as it was captured: the normalisation in front of it, no weight changed."""
    if settings.precision not in CAPTURED:
        raise ConversionError(f"TFLite {settings.precision} is made of SqueezeNet only; others have {', '.join(CAPTURED)}.")
    model = captured.make(source, settings, spec, output.kind, _convert)
    operators = tuple(flatbuffer.operators(model))
    said = {captured.RECORD: captured.record(source, settings.precision)}
    written = _finished(model, source, spec, output, said)
    return _Made(content=written, output=output, operators=operators, folded=(), chosen=())


def _finished(model: Any, source: SourceModel, spec: InputSpec, output: OutputSpec, said: Mapping[str, bytes]) -> bytes:
    """The whole file: the model, its metadata with `said` beside them, and the labels behind; the model is used up."""
    labels = None if output.kind == "features" else source.labels
    card = tflite_metadata.model_card(source, spec)
    metadata = {tflite_metadata.BUFFER_NAME: tflite_metadata.encode(card, spec, output, labels, source.activation), **said}
    written = flatbuffer.serialise(model, description=card.description, metadata=metadata)
    if labels:
        written = tflite_metadata.append_files(written, {tflite_metadata.LABELS_FILE: "".join(f"{n}\n" for n in labels).encode()})
    return written


def _coded(
    network: torch.nn.Module, spec: InputSpec, calibration: PixelArray | None, told: Callable[[str], None] | None
) -> tuple[torch.nn.Module, dict[str, CodedLayer]]:
    """Choose integers for a prepared network's weights; with them a copy of it that holds what they decode to."""
    import numpy as np

    from squeeze_export.compression.network import decoded

    if calibration is None:
        raise ConversionError("TFLite int4-mixed needs calibration images: pass --calibration-data.")
    images = np.concatenate([spec.encode(crop[None]) for crop in calibration])
    coded = int4.choose(network, np.ascontiguousarray(images.transpose(0, 3, 1, 2)), told)
    return decoded(network, coded), coded


def _quantise(
    model: Any,
    settings: ExportSettings,
    spec: InputSpec,
    output: OutputSpec,
    calibration: PixelArray | None,
    coded: Mapping[str, CodedLayer] | None = None,
) -> tuple[dict[str, Array], OutputSpec]:
    """Quantise a named fp32 model as asked for, in place; what each weight of the source decodes to, in the source's layout.

    Beside it the output as it then is. `coded`: for int4-mixed, the integers whose decoded values the model holds.
    """
    import numpy as np

    match settings.precision:
        case "int8-dynamic" | "int8-weights":
            chosen = tflite_quantized.quantise_filters(model, widen=settings.precision == "int8-weights")
        case "int8" | "int8-uint8":
            if calibration is None:
                raise ConversionError(f"TFLite {settings.precision} needs calibration images: pass --calibration-data.")
            measured = flatbuffer.serialise(copy.deepcopy(model), description="", metadata={})
            ranges = tflite_quantized.measure(measured, [spec.encode(crop[None]).astype(np.float32) for crop in calibration])
            chosen = tflite_quantized.quantise_all(model, ranges, pixels=settings.precision == PIXELS_IN)
            if settings.precision == PIXELS_IN:
                levels = tflite_quantized.give_uint8(model, output.kind, ranges)
                output = replace(output, dtype="uint8", quantisation=levels)
        case "int4-mixed":
            from squeeze_export.compression.codings import UniformWeight

            layers = coded or {}
            weights = {name: layer.weight for name, layer in layers.items() if isinstance(layer.weight, UniformWeight)}
            int4.replace_filters(model, weights)
            products.as_products(model)
            kernels: dict[str, Array] = {f"{name}.weight": weight.decoded() for name, weight in weights.items()}
            return kernels | {f"{name}.bias": layer.bias for name, layer in layers.items()}, output
        case _:
            return {}, output
    return {name: np.ascontiguousarray(w.transpose(0, 3, 1, 2)) if w.ndim == 4 else w for name, w in chosen.items()}, output


def _convert(network: torch.nn.Module, spec: InputSpec) -> bytes:
    import litert_torch
    import torch

    edge = litert_torch.convert(network, sample_kwargs={spec.name: torch.zeros(spec.shape)})
    return bytes(edge.model_content())


def _halve(content: bytes) -> bytes:
    """Store the filters as fp16, each widened by a DEQUANTIZE that XNNPACK folds away; biases stay fp32."""
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    caster = quantizer.Quantizer(content)
    caster.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.CONV_2D,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    return bytes(caster.quantize().quantized_model)


def _as_stored(convolutions: dict[str, torch.nn.Conv2d], *, half: bool) -> dict[str, tuple[Array, Array]]:
    import numpy as np

    return {
        name: (
            np.ascontiguousarray(module.weight.detach().numpy().transpose(0, 2, 3, 1)).astype(np.float16 if half else np.float32),
            module.bias.detach().numpy() if module.bias is not None else np.zeros(module.out_channels, np.float32),
        )
        for name, module in convolutions.items()
    }


def _write(content: bytes, destination: Path) -> None:
    """Write beside `destination` and rename: whoever looks finds the whole file or none."""
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(destination)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConversionError(
            f"{destination.name} ({len(content)} bytes) could not be written: {error.strerror}. Make room in the output folder "
            "or choose another with --output."
        ) from error
    except BaseException:  # Ctrl-C
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Send what the SDKs print to a scratch file, Python's and their native code's alike, and yield that file.

    They speak through file descriptors 1 and 2, so those are what is redirected: an exporter runs in a process of its own.
    """
    previous = os.environ.get("LITERT_TORCH_SHOW_PROGRESS")
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as scratch, warnings.catch_warnings():
        # litert-torch calls what torch has deprecated; nothing a user of ours could change.
        warnings.simplefilter("ignore")
        os.dup2(scratch.fileno(), 1)
        os.dup2(scratch.fileno(), 2)
        try:
            yield scratch
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in enumerate(saved, start=1):
                os.dup2(original, descriptor)
                os.close(original)
            if previous is None:
                del os.environ["LITERT_TORCH_SHOW_PROGRESS"]
            else:
                os.environ["LITERT_TORCH_SHOW_PROGRESS"] = previous


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message").rstrip(".")
