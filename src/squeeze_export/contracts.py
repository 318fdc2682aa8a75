"""The nouns of the project: frozen dataclasses over the standard library and numpy, shared by every room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from squeeze_export.request_types import check_types

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Array: TypeAlias = npt.NDArray[Any]
    FloatArray: TypeAlias = npt.NDArray[np.float32]
    PixelArray: TypeAlias = npt.NDArray[np.uint8]

Target = Literal["coreml", "tflite", "torchscript", "onnx"]
Precision = Literal[
    "fp32",
    "fp16",
    "int8",
    "int8-uint8",
    "int8-dynamic",
    "int8-weights",
    "int4-mixed",
    "pal8",
    "pal6",
    "pal4",
    "pal3",
    "pal2",
    "sparse",
    "sparse-pal6",
    "sparse-pal4",
    "auto",
]
ModelName = Literal["squeezenet1_1", "squeezenet1_0", "squeezenet1_0_bypass", "squeezenet1_0_complex_bypass"]
IosTarget = Literal["iOS15", "iOS16", "iOS17", "iOS18"]
Verdict = Literal["PASSED", "FAILED", "NOT_RUN"]
Layout = Literal["NCHW", "NHWC", "NC"]
ColorOrder = Literal["RGB", "BGR"]
InputKind = Literal["image", "tensor"]
Head = Literal["classifier", "features"]
ScoreKind = Literal["logits", "probabilities"]
OutputKind = Literal["logits", "probabilities", "features"]
TfliteRoute = Literal["litert-torch", "onnx-tf"]

Starter = Literal["android", "ios"]

STARTERS: Final[tuple[Starter, ...]] = ("android", "ios")
TARGETS: Final[tuple[Target, ...]] = ("coreml", "tflite", "torchscript", "onnx")
# What `--target all` means: the formats that a phone's own runtime takes and that every installation can write. ONNX needs an
# extra, and what "all" does must not depend on what happens to be installed.
PHONE_TARGETS: Final[tuple[Target, ...]] = ("coreml", "tflite", "torchscript")
MODELS: Final[tuple[ModelName, ...]] = (
    "squeezenet1_1",
    "squeezenet1_0",
    "squeezenet1_0_bypass",
    "squeezenet1_0_complex_bypass",
)
FEATURE_CHANNELS: Final = 512  # what the last fire module of every model gives
# Core ML is an fp16 runtime first (the Neural Engine computes nothing else); the others compute in fp32.
DEFAULT_PRECISION: Final[Mapping[Target, Precision]] = {"coreml": "fp16", "tflite": "fp32", "torchscript": "fp32", "onnx": "fp32"}
# int8 inside as well, but uint8 pixels go in and uint8 scores come out: neither a tensor input nor an app that feeds floats fits.
PIXELS_IN: Final[Precision] = "int8-uint8"
# The best within so many bytes: the one precision that may stand in a bundle several times, once per size.
AUTO: Final[Precision] = "auto"


def rung_name(precision: str, size_budget: int | None) -> str:
    """A precision as one asks for it: "fp16", "auto:490KB"."""
    if size_budget is None:
        return precision
    thousands, rest = divmod(size_budget, 1000)
    return f"{precision}:{size_budget if rest else f'{thousands}KB'}"


@dataclass(frozen=True, kw_only=True)
class ArtifactKey:
    """What tells the artifacts of one bundle apart: a target may stand there in several precisions, "auto" in several sizes."""

    target: Target
    precision: Precision
    size_budget: int | None = None

    @property
    def rung(self) -> str:
        """The precision as one asks for it."""
        return rung_name(self.precision, self.size_budget)

    @property
    def rung_in_names(self) -> str:
        """The rung where a colon cannot stand: "fp16", "auto-490KB"."""
        return self.rung.replace(":", "-")

    @property
    def name(self) -> str:
        """The key in files and file names: "coreml-fp16", "coreml-auto-490KB"."""
        return f"{self.target}-{self.rung_in_names}"

    def __str__(self) -> str:
        """The key on the screen: "coreml fp16", "coreml auto:490KB"."""
        return f"{self.target} {self.rung}"


@dataclass(frozen=True, kw_only=True)
class PreprocessingSpec:
    """How a picture becomes the tensor that the source model was trained on.

    The short side is resized to `resize` pixels (PIL bilinear, antialiased; the long side is
    `int(resize * long / short)`), a `height` x `width` crop is taken from the centre (offsets rounded half to even), the
    channels are put into `color_order`, and each becomes `(pixel * scale - mean) / std`, pixel in 0..255; mean and std
    follow `color_order`.
    """

    resize: int
    height: int
    width: int
    color_order: ColorOrder
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The one input of an artifact, and how 0..255 pixels become it: `value = pixel * scale + bias` per channel.

    `shape` has the batch dimension (1); `scale` and `bias` follow `color_order`. `dtype` is numpy's name; a "uint8" input takes
    the pixels as they are (scale 1, bias 0).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    color_order: ColorOrder
    scale: tuple[float, float, float]
    bias: tuple[float, float, float]

    def encode(self, pixels: PixelArray) -> Array:
        """Turn RGB pixels (N, H, W, 3), uint8, into this input's tensor (N, ...) in `layout` and `dtype`."""
        import numpy as np

        channels = pixels[..., ::-1] if self.color_order == "BGR" else pixels
        values = channels.astype(np.float32, order="C")
        # By whole rows: over the last axis alone, of 3 channels, numpy takes four times as long.
        rows = values.reshape(*values.shape[:2], -1)
        rows *= np.tile(np.asarray(self.scale, np.float32), values.shape[2])
        rows += np.tile(np.asarray(self.bias, np.float32), values.shape[2])
        ordered = values.transpose(0, 3, 1, 2) if self.layout == "NCHW" else values
        return np.ascontiguousarray(ordered, dtype=np.dtype(self.dtype))


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """What the integers of a tensor stand for: `value = (integer - zero_point) * scale`."""

    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output of an artifact: a score per class, shape (1, classes), or the features, shape (1, channels).

    In a "dictionary" the scores stand by label (a Core ML classifier); `shape` and `dtype` are those of the scores in index
    order. `quantisation`: of an integer `dtype`, what its values stand for; None of a float.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: OutputKind
    container: Literal["array", "dictionary"] = "array"
    quantisation: Quantisation | None = None

    def decode(self, values: Array) -> Array:
        """Turn what the artifact gives, in `dtype`, into scores: floats as they are, integers as what they stand for, float32."""
        import numpy as np

        if self.quantisation is None:
            return values
        shifted = values.astype(np.int64) - self.quantisation.zero_point
        decoded: Array = shifted.astype(np.float32) * np.float32(self.quantisation.scale)
        return decoded


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What an app must feed to an artifact and what it gets back.

    `class_label`: the name of a further output, a string: the most probable label (a Core ML classifier), or None.
    """

    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    class_label: str | None = None


@dataclass(frozen=True, kw_only=True)
class WeightsOrigin:
    """Where the weights came from.

    `sha256` is that of the canonical state dict (models.weights.combined_sha256), so the same weights in another container have
    the same digest. `file_name` has no folder: no absolute path is ever recorded.
    """

    kind: Literal["file", "imagenet", "random", "demo"]
    sha256: str
    file_name: str | None
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """The one model that every artifact is made from and judged against.

    `module` is an eval-mode fp32 module: normalised NCHW tensor (N, 3, H, W) -> (N, width): logits, or with the head
    "features" the averaged channels in front of the classifier, whose weights it then lacks. `num_classes` and `weights` are
    always those of the whole checkpoint. `labels` has num_classes entries in index order, or is None; features have none.
    `head_relu`: whether a ReLU stands behind the classifier's convolution: weights alone do not tell.
    `notes`: what the user must know of how weights and labels were read, a sentence each; they do not travel to workers.
    """

    name: str
    model: ModelName
    module: torch.nn.Module
    num_classes: int
    labels: tuple[str, ...] | None
    preprocessing: PreprocessingSpec
    weights: WeightsOrigin
    head: Head = "classifier"
    notes: tuple[str, ...] = ()
    head_relu: bool = True

    @property
    def width(self) -> int:
        """How many values `module` gives per image."""
        return self.num_classes if self.head == "classifier" else FEATURE_CHANNELS


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What one exporter is asked for. `ios_target` concerns Core ML only, `tflite_route` (the converter) TFLite only.

    `size_budget`: bytes, for the precision "auto".
    """

    precision: Precision
    input_kind: InputKind
    output_kind: OutputKind
    ios_target: IosTarget
    tflite_route: TfliteRoute = "litert-torch"
    size_budget: int | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file (or package directory) that an exporter wrote, and what is declared about it.

    `operators`: sorted names of the operations it holds. `notice`: a fact about the format the user must be told.
    `folded_weights`: source weights that were merged with the normalisation, so that they are not stored as they are.
    `chosen_weights`: where weights are compressed, the digests of what was chosen for each: it must decode to exactly that.
    `codings`: how each compressed weight is stored, such as "pal6" (see docs/compression.md).
    `uncompressed_weights`: where they are, the names of those that are stored in fp16 as before, each with the reason.
    `size_budget`: of the precision "auto", the bytes that were allowed.
    `route`: the converter, where a format has several.
    """

    target: Target
    precision: Precision
    path: Path
    signature: Signature
    operators: tuple[str, ...]
    route: str | None = None
    deployment_target: str | None = None
    bytecode_version: int | None = None
    notice: str | None = None
    folded_weights: tuple[str, ...] = ()
    chosen_weights: tuple[WeightDigest, ...] = ()
    codings: Mapping[str, str] = field(default_factory=dict)
    uncompressed_weights: Mapping[str, str] = field(default_factory=dict)
    size_budget: int | None = None

    @property
    def key(self) -> ArtifactKey:
        """Its place among the artifacts of a bundle."""
        return ArtifactKey(target=self.target, precision=self.precision, size_budget=self.size_budget)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a classifier answers, one row per image: `logits` and their softmax, `probabilities`, each (N, classes) float32."""

    logits: FloatArray
    probabilities: FloatArray


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
    """

    names: tuple[str, ...]
    pictures: tuple[PixelArray, ...]
    preprocessing: PreprocessingSpec
    pixels: PixelArray
    reference: Scores | Features
    weights: tuple[WeightDigest, ...]


@dataclass(frozen=True, kw_only=True)
class WeightDigest:
    """sha256 of one source weight's little-endian C-order bytes, as fp32 and rounded to fp16."""

    name: str
    shape: tuple[int, ...]
    fp32: str
    fp16: str


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The bar that an artifact of one precision must clear, and why it stands where it does.

    `max_error_of_peak`: largest absolute error of a logit (or feature) over the largest absolute reference one; parity.py says
    what follows from it for probabilities. SNRs in dB, on logits or features. `probability_floor`: below it the target's
    arithmetic has no full digits. `max_probability_error`: of few classes, the largest absolute error of any probability; None
    where only the others judge.
    """

    precision: Precision
    max_error_of_peak: float
    min_snr_db: float
    min_centred_snr_db: float
    reason: str
    probability_floor: float = 2.0**-126  # the smallest normal fp32
    max_probability_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class OutputParity:
    """The differences between the reference and one output of an artifact, over the whole golden pack.

    `observed`: the kind of quantity compared; "logits (tapped)" and "log-probabilities" are seen behind a softmax, those of an
    output of integers in front of their rounding.
    `smallest_passing_error_of_peak`: the smallest `max_error_of_peak` that would have passed. SNR, PSNR in dB (None: not
    finite or not defined). Agreements are fractions of the images (None: features rank nothing); `top1_ties` counts flips
    where the reference's margin is below the error.
    """

    name: str
    observed: str
    images: int
    max_abs_error: float | None
    worst_image: str | None
    snr_db: float | None
    centred_snr_db: float | None
    psnr_db: float | None
    cosine: float | None
    top1_agreement: float | None
    top1_ties: int
    top5_agreement: float | None
    smallest_passing_error_of_peak: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WeightsParity:
    """Exact comparison of stored weights with the source's, rounded to the stored precision.

    `compared` of `expected` source weights were found bit for bit; `problems` names the others. `exempt` names those that the
    exporter declares to have changed (by folding): they are not among the compared.
    """

    expected: int
    compared: int
    problems: tuple[str, ...]
    exempt: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """One executor's judgement of one artifact. `reason` is set where the verdict is not PASSED."""

    verdict: Verdict
    executor: str
    reason: str | None
    tolerance: Tolerance | None
    outputs: tuple[OutputParity, ...]
    weights: WeightsParity | None


class Runner(Protocol):
    """An artifact opened from its file, ready to be executed. One image per call.

    `executor` names what computes, with its version. `labels` are those inside the file, in index order, or None.
    """

    @property
    def executor(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Execute once. Inputs and outputs by their names in the file; an input not in the file is an ArtifactError.

        A runner that can see the logits in front of a final softmax adds them under LOGITS_TAP.
        """
        ...

    def stored_weights(self) -> tuple[Array, ...] | None:
        """Every conv weight (O, I, H, W) and bias (O,) as stored (decoded, own dtype), or None if the format hides them."""
        ...


LOGITS_TAP: Final = "logits (tapped)"


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Everything a user can ask of one export. Paths are as given; nothing has been read yet.

    `checkpoint_key`: which state dict of a file that holds several, dotted where nested; None takes averaged ones before others.
    `weights`: a file, or "imagenet", "random" or "demo"; paths may be strings. `preprocessing`: None takes torchvision's at the
    model's usual size. `precisions` names only the targets that leave their default; several give an artifact each.
    `images`: a folder of pictures for the golden pack; None takes the demo images. `head` "features" leaves the classifier
    away; then there are neither labels nor an `output_kind`, which None makes probabilities otherwise. `name`: the bundle's
    folder in `output`; None derives it from model, weights and head. `allow_unproven`: write a bundle although an artifact
    could not be executed here (NOT_RUN). `calibration`: a folder of pictures for the precisions that need some; None draws the
    demo's. `size_budgets`: the bytes that a package of the precision "auto" may have; several give an artifact each.
    `starters`: the app projects to make; None makes those that the targets allow. `max_accuracy_drop`: how many points an
    artifact may be right less often than the reference, on the labels of `images` or, where they have none, taking the
    reference's best class for right; `min_accuracy`: on how many percent reference and artifacts must be right, by labels; None
    measures nothing. `notes`: what the user must know of how
    the wish was understood; the bundle's notes begin with them. `keep_going`: write the artifacts that passed although others did
    not; the manifest names those as missing. `head_relu`: whether a ReLU stands behind the classifier's convolution, as in
    torchvision. `reference`: a file with the user's own scores of some of `images`, which the source must give. Raises UsageError
    for a value of another type than these.
    """

    targets: tuple[Target, ...]
    preprocessing: PreprocessingSpec | None = None
    model: ModelName = "squeezenet1_1"
    weights: Path | Literal["imagenet", "random", "demo"] = "demo"
    checkpoint_key: str | None = None
    seed: int = 0
    labels: Path | None = None
    precisions: Mapping[Target, tuple[Precision, ...]] = field(default_factory=dict)
    input_kind: InputKind = "image"
    head: Head = "classifier"
    output_kind: ScoreKind | None = None
    images: Path | None = None
    ios_target: IosTarget = "iOS16"
    tflite_route: TfliteRoute = "litert-torch"
    output: Path = Path("dist")
    name: str | None = None
    force: bool = False
    allow_unproven: bool = False
    calibration: Path | None = None
    size_budgets: tuple[int, ...] = ()
    starters: tuple[Starter, ...] | None = None
    max_accuracy_drop: float | None = None
    min_accuracy: float | None = None
    notes: tuple[str, ...] = ()
    keep_going: bool = False
    head_relu: bool = True
    reference: Path | None = None

    def __post_init__(self) -> None:
        """Take strings for paths, as every library does; the fields are typed for what is read from them."""
        check_types(self)
        for name in ("labels", "images", "output", "calibration", "reference"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, Path(value))
        if isinstance(self.weights, str) and self.weights not in ("imagenet", "random", "demo"):
            object.__setattr__(self, "weights", Path(self.weights))

    @property
    def keys(self) -> tuple[ArtifactKey, ...]:
        """The artifacts that are asked for, target after target, each target's in the order asked; all sizes of "auto" together.

        Without a size "auto" has a key all the same, which `pipeline.plan` refuses.
        """
        return tuple(
            ArtifactKey(target=target, precision=precision, size_budget=size)
            for target in self.targets
            for precision in self.precisions.get(target, (DEFAULT_PRECISION[target],))
            for size in (self.size_budgets or (None,) if precision == AUTO else (None,))
        )


class Progress(Protocol):
    """Is told what an export is doing; the screen draws it, a program may ignore it."""

    def stage(self, subject: str, stage: str) -> None:
        """`subject` (an artifact's key, or "source") entered `stage`, a few words such as "converting"."""
        ...

    def count(self, subject: str, done: int, total: int) -> None:
        """`subject` (such as "tflite int8 accuracy") has done `done` of `total` images; told often."""
        ...

    def done(self, subject: str, outcome: str, seconds: float) -> None:
        """`subject` ended after `seconds` with `outcome`: a verdict, or "error"."""
        ...

    def published(self, path: Path) -> None:
        """The bundle stands at `path`, whole; what follows can no longer fail."""
        ...
