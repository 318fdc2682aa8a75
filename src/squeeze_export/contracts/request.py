"""What a user asks an export for, and what tells its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from squeeze_export.contracts.artifact import AUTO, DEFAULT_PRECISION, ArtifactKey, IosTarget, Precision, Target, TfliteRoute
from squeeze_export.contracts.heads import AskedActivation, ModelGives
from squeeze_export.contracts.in_memory import (
    GivenPictures,
    GivenScores,
    given_classes,
    given_pictures,
    given_scores,
    is_module,
    label_names,
    module_name,
)
from squeeze_export.contracts.options.types import check_types
from squeeze_export.contracts.signature import Head, InputKind, PreprocessingSpec, ScoreKind
from squeeze_export.contracts.source import is_published

if TYPE_CHECKING:
    import torch


Starter = Literal["android", "ios"]
STARTERS: Final[tuple[Starter, ...]] = ("android", "ios")
OWN_WEIGHTS: Final = "module"  # of a network that brings its own


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Everything a user can ask of one export. Paths may be strings; nothing has been read yet.

    The fields are the options of the command line, under the same headings. Only `targets` has no default.

    Source model

    - `model`: a SqueezeNet by its name, "timm:NAME", "torchvision:NAME", "hf:FOLDER", "package.module:factory", "FILE.pt2", or a
      torch.nn.Module itself.
    - `model_arguments`: what a factory is called with, by name.
    - `weights`: a checkpoint; "random"; "imagenet" or "demo" of a SqueezeNet; "pretrained" of timm, or a name such as
      "IMAGENET1K_V1" of torchvision. The default, "demo", means of other networks those that they come with.
    - `checkpoint_key`: which state dict of a file that holds several, dotted where nested; None takes averaged ones first.
    - `seed`: of random weights.
    - `labels`: a file or folder with a name per class, or a list of the names; None takes the checkpoint's own.
    - `model_output`: of a network that gives several, one by its name or place.
    - `model_gives`: what the network gives by itself; None finds it on the golden images.
    - `head_relu`: whether a ReLU stands behind SqueezeNet's classifier, as in torchvision.

    Input image

    - `preprocessing`: resize, crop, mean and deviation, whole: `spec_for("torchvision", input_size=160)` makes one. None takes
      what the network's library says of it, or else torchvision's at 224 pixels.
    - `preprocessing_changes`: arguments of spec_for that replace numbers of what a network's library says of it.

    What to export

    - `targets`: one or more of "coreml", "tflite", "torchscript", "onnx".
    - `precisions`: of the targets that leave their default, such as {"tflite": ("fp16", "int8")}; several give an artifact each.
    - `best`: the targets of whose precisions only the smallest artifact within `max_accuracy_drop` is kept.
    - `size_budgets`: the bytes that a Core ML package of the precision "auto" may have; several give an artifact each.
    - `input_kind`: "image" has the normalisation inside the artifact, "tensor" leaves it to the app.
    - `output_kind`: "probabilities", which None means, or "logits"; features have none.
    - `activation`: what makes probabilities of the scores: "softmax", "sigmoid", or "none"; None finds it on the golden images.
    - `head`: "classifier", or "features", which leaves the classifier away.
    - `features_at`: the dotted path of the module whose output the features are, averaged over space; None takes what the
      classifier takes.
    - `ios_target`: the least iOS of a Core ML package.
    - `tflite_route`: the converter of TFLite files.

    Checks and limits

    - `images`: what artifacts are compared on, at most 8 of them: a folder, or pictures before resize and normalisation, as an
      array or tensor (N, H, W, 3) or (N, 3, H, W) of levels in 0..255, or these divided by 255; or a list of pictures of any
      size. None takes the demo images.
    - `classes`: of pictures in memory the index of each one's class, for the limits of accuracy.
    - `reference`: a file with your own scores of some of `images`, which the source must give; of pictures in memory an array
      (N, classes).
    - `calibration`: a folder of images for the precisions that need some; None generates the demo's.
    - `max_accuracy_drop`: how many points an artifact may be right less often than the reference, on labelled `images`; on
      others the reference's best class counts as right. None measures nothing.
    - `min_accuracy`: on how many percent of labelled `images` reference and artifacts must be right; None measures nothing.

    Bundle

    - `output`: the folder that the bundle's own is put into.
    - `name`: of the bundle; None makes it of model, weights and head.
    - `starters`: the app projects to make; None makes those that the targets allow.
    - `force`: replace a bundle of that name.
    - `keep_going`: write the artifacts that passed although others did not; the manifest names those as missing.
    - `allow_unproven`: write a bundle although an artifact could not be executed here (NOT_RUN).
    - `notes`: sentences with which the bundle's notes begin.

    Raises UsageError for a value of another type than these.
    """

    targets: tuple[Target, ...]
    preprocessing: PreprocessingSpec | None = None
    model: str | torch.nn.Module = "squeezenet1_1"
    weights: Path | str = "demo"
    checkpoint_key: str | None = None
    seed: int = 0
    labels: Path | tuple[str, ...] | None = None
    precisions: Mapping[Target, tuple[Precision, ...]] = field(default_factory=dict)
    input_kind: InputKind = "image"
    head: Head = "classifier"
    output_kind: ScoreKind | None = None
    images: Path | GivenPictures | None = None
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
    reference: Path | GivenScores | None = None
    model_arguments: Mapping[str, object] = field(default_factory=dict)
    preprocessing_changes: Mapping[str, Any] = field(default_factory=dict)
    features_at: str | None = None
    activation: AskedActivation | None = None
    model_gives: ModelGives | None = None
    best: tuple[Target, ...] = ()
    model_output: str | None = None
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Take strings for paths, and lists and arrays for files; the fields are typed for what is read from them."""
        object.__setattr__(self, "labels", label_names(self.labels))
        object.__setattr__(self, "images", given_pictures(self.images))
        object.__setattr__(self, "classes", given_classes(self.classes, self.images))
        object.__setattr__(self, "reference", given_scores(self.reference, self.images))
        check_types(self)
        for name in ("labels", "images", "output", "calibration", "reference"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, Path(value))
        words = ("imagenet", "random", "demo", OWN_WEIGHTS)
        if isinstance(self.weights, str) and self.weights not in words and not is_published(self.model_name, self.weights):
            object.__setattr__(self, "weights", Path(self.weights))

    @property
    def model_name(self) -> str:
        """The model as it is named, on the screen and in the manifest; of a module in memory, by its class."""
        return module_name(self.model) if is_module(self.model) else str(self.model)

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
