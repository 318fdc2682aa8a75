"""What a user asks an export for, and what tells its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from squeeze_export.contracts.artifact import AUTO, DEFAULT_PRECISION, ArtifactKey, IosTarget, Precision, Target, TfliteRoute
from squeeze_export.contracts.heads import AskedActivation, ModelGives
from squeeze_export.contracts.request_types import check_types
from squeeze_export.contracts.signature import Head, InputKind, PreprocessingSpec, ScoreKind

if TYPE_CHECKING:
    pass


Starter = Literal["android", "ios"]
STARTERS: Final[tuple[Starter, ...]] = ("android", "ios")
OWN_WEIGHTS: Final = "module"  # of a network that brings its own


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Everything a user can ask of one export. Paths are as given; nothing has been read yet.

    The fields are the options of the command line, in docs/reference/options.md with their values. Size of the input, resize,
    mean and deviation are in `preprocessing`: `spec_for("torchvision", input_size=160)` makes one; None takes torchvision's at
    224 pixels.

    `model`: a SqueezeNet by its name, or any other network: "timm:NAME", "torchvision:NAME", "package.module:factory" with
    `model_arguments`, or "FILE.pt2". `weights` "demo" then means those that the network comes with. `preprocessing_changes`:
    arguments of spec_for that replace numbers of what such a network says of its own preprocessing.

    `checkpoint_key`: which state dict of a file that holds several, dotted where nested; None takes averaged ones before
    others. `weights`: a file, or "imagenet", "random" or "demo"; paths may be strings. `precisions` names only the targets
    that leave their default; several give an artifact each. `images`: a folder of images for the golden pack; None takes the
    demo images. `head` "features" leaves the classifier away; then there are neither labels nor an `output_kind`, which None
    makes probabilities otherwise. `name`: the bundle's folder in `output`; None derives it from model, weights and head.
    `allow_unproven`: write a bundle although an artifact could not be executed here (NOT_RUN). `calibration`: a folder of
    images for the precisions that need some; None generates the demo's. `size_budgets`: the bytes that a package of the
    precision "auto" may have; several give an artifact each. `starters`: the app projects to make; None makes those that the
    targets allow. `max_accuracy_drop`: how many points an artifact may be right less often than the reference, on the labels
    of `images` or, where they have none, taking the reference's best class for right; `min_accuracy`: on how many percent
    reference and artifacts must be right, by labels; None measures nothing. `notes`: sentences with which the bundle's notes
    begin. `keep_going`: write the artifacts that passed although others did not; the manifest names those as missing.
    `head_relu`: whether a ReLU stands behind the classifier's convolution, as in torchvision. `reference`: a file with the
    user's own scores of some of `images`, which the source must give. `activation`: what makes probabilities of the scores,
    "none" for nothing; `model_gives`: what the network gives by itself; None finds both on the golden images. `model_output`:
    of a network that gives several, one by its name or place. Raises UsageError for a value of another type than these.
    """

    targets: tuple[Target, ...]
    preprocessing: PreprocessingSpec | None = None
    model: str = "squeezenet1_1"
    weights: Path | Literal["imagenet", "random", "demo", "module"] = "demo"
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
    model_arguments: Mapping[str, object] = field(default_factory=dict)
    preprocessing_changes: Mapping[str, Any] = field(default_factory=dict)
    activation: AskedActivation | None = None
    model_gives: ModelGives | None = None
    model_output: str | None = None

    def __post_init__(self) -> None:
        """Take strings for paths, as every library does; the fields are typed for what is read from them."""
        check_types(self)
        for name in ("labels", "images", "output", "calibration", "reference"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, Path(value))
        if isinstance(self.weights, str) and self.weights not in ("imagenet", "random", "demo", OWN_WEIGHTS):
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
