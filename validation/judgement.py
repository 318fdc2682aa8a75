"""One artifact before its judges: every executor of its target opens the file and is held against the golden pack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from squeeze_export.contracts.agreements import Agreement, Witness
from squeeze_export.contracts.artifact import Precision, Target
from squeeze_export.contracts.parity import ParityReport, Runner, Tolerance
from squeeze_export.contracts.signature import OutputKind, Signature
from squeeze_export.contracts.source import GoldenPack, Scores, WeightDigest
from squeeze_export.errors import ArtifactError, TargetUnavailableError, UnsupportedOperationError
from squeeze_export.validation import noise
from squeeze_export.validation.agreement import agreement
from squeeze_export.validation.overflow import explain
from squeeze_export.validation.parity import NOT_FINITE, answers, judge
from squeeze_export.validation.runners import RUNNERS, WITNESSES, RunnerModule
from squeeze_export.validation.tolerances import peak_of, tolerance_for

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array


def judge_file(
    target: Target,
    path: Path,
    signature: Signature,
    precision: Precision,
    pack: GoldenPack,
    *,
    labels: tuple[str, ...] | None,
    folded: tuple[str, ...],
    chosen: tuple[WeightDigest, ...] = (),
) -> tuple[ParityReport, ...]:
    """Judge the file by the target's executors, the deciding one first; those that cannot run here are left out.

    `labels`: those of the source in index order, which the file must hold. Raises TargetUnavailableError where the deciding one
    cannot run.
    """
    deciding, *others = _deciding(target), *RUNNERS[target][1:]
    opened: list[Runner] = []
    first = _judge(deciding, target, path, signature, precision, pack, folded, chosen, opened)
    if opened and first.verdict == "PASSED":
        told = _label_difference(opened[0].labels, labels, needed=target != "coreml" or signature.class_label is not None)
        if told is not None:
            first = replace(first, verdict="FAILED", reason=told)
    witnesses = [runner for runner in others if runner.unavailable() is None]
    return (first, *(_judge(module, target, path, signature, precision, pack, folded, chosen) for module in witnesses))


def tolerance_of(pack: GoldenPack, target: Target, precision: Precision, kind: OutputKind) -> Tolerance:
    """What an artifact is held to: by its target and precision, or of a captured network by the network's own noise floor."""
    if pack.noise_floor is not None:
        # Core ML computes in fp16, all others only store it.
        return noise.tolerance(pack.noise_floor, precision, stored=target != "coreml")
    classes = pack.reference.logits.shape[-1] if isinstance(pack.reference, Scores) else None
    return tolerance_for(target, precision, kind, classes=classes, peak=peak_of(pack))


def _label_difference(found: tuple[str, ...] | None, expected: tuple[str, ...] | None, *, needed: bool) -> str | None:
    """How the labels in a file differ from the source's, or None; a Core ML package that is no classifier has none."""
    if found == expected or (found is None and not needed):
        return None
    if found is None or expected is None:
        there, here = ("has no labels", "has them") if found is None else ("holds labels", "has none")
        return f"the file {there}, the source {here}: its classes would be named otherwise. Export it again."
    places = [index for index, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]]
    if not places:
        return f"the file holds {len(found)} labels, the source has {len(expected)}. Export it again."
    first = places[0]
    return (
        f"the file's label of class {first} is {found[first]!r}, the source's {expected[first]!r} ({len(places)} differ). "
        "Export it again."
    )


def _judge(
    module: RunnerModule,
    target: Target,
    path: Path,
    signature: Signature,
    precision: Precision,
    pack: GoldenPack,
    folded: tuple[str, ...],
    chosen: tuple[WeightDigest, ...],
    opened: list[Runner] | None = None,
) -> ParityReport:
    """Judge by one executor; the runner that it was done with is added to `opened`, with its answers in memory."""
    kind = signature.outputs[0].kind if signature.outputs else "probabilities"
    tolerance = tolerance_of(pack, target, precision, kind)
    try:
        runner = module.open(path, signature, precision)
    except ArtifactError as error:
        return ParityReport(
            verdict="FAILED", executor=module.NAME, reason=str(error), tolerance=tolerance, outputs=(), weights=None
        )
    except (UnsupportedOperationError, TargetUnavailableError) as error:
        return ParityReport(
            verdict="NOT_RUN", executor=module.NAME, reason=str(error), tolerance=tolerance, outputs=(), weights=None
        )
    direct = runner
    if opened is not None:
        runner = _Remembering(runner)
        opened.append(runner)
    report = judge(runner, signature, pack, tolerance, precision, exempt_weights=folded, chosen_weights=chosen)
    if report.verdict == "FAILED" and any(NOT_FINITE in problem for output in report.outputs for problem in output.problems):
        told = explain(direct, signature, pack)
        return report if told is None else replace(report, reason=f"{report.reason}. {told}")
    return report


def answers_of(
    target: Target, path: Path, signature: Signature, precision: Precision, pack: GoldenPack
) -> tuple[str, dict[str, Array]]:
    """Give what the deciding executor says to the golden pack, unjudged: its name, and the rows of each output.

    Raises TargetUnavailableError, UnsupportedOperationError or ArtifactError where it says nothing.
    """
    runner = _deciding(target).open(path, signature, precision)
    return runner.executor, answers(runner, signature, pack)


def witnesses_of(
    target: Target,
    path: Path,
    signature: Signature,
    precision: Precision,
    pack: GoldenPack,
    *,
    folded: tuple[str, ...],
    chosen: tuple[WeightDigest, ...] = (),
) -> tuple[Witness, ...]:
    """Judge the file by the target's witnesses, and compare each with the deciding executor: two differences, told apart."""
    found = []
    for module in WITNESSES.get(target, ()):
        reason = module.unavailable()
        if reason is not None:
            raise TargetUnavailableError(f"The witness for {target} is not available here: {reason}")
        opened: list[Runner] = []
        report = _judge(module, target, path, signature, precision, pack, folded, chosen, opened)
        together: Agreement | None = None
        if opened:
            try:
                executor, said = answers_of(target, path, signature, precision, pack)
                again = answers(opened[0], signature, pack)
            except (ArtifactError, UnsupportedOperationError, TargetUnavailableError) as error:
                executor = f"{RUNNERS[target][0].NAME}: {error}"
            else:
                (output,) = signature.outputs
                floor = tolerance_for(target, precision).probability_floor
                together = agreement(output.kind, said[output.name], again[output.name], floor=floor)
        else:
            executor = RUNNERS[target][0].NAME
        found.append(Witness(report=report, beside=executor, agreement=together))
    return tuple(found)


def _deciding(target: Target) -> RunnerModule:
    deciding = RUNNERS[target][0]
    reason = deciding.unavailable()
    if reason is not None:
        raise TargetUnavailableError(f"{target} cannot be executed here, so it cannot be proven: {reason}")
    return deciding


class _Remembering:
    """A runner that answers a question asked before from memory: reference kernels take seconds per image."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._known: dict[bytes, Mapping[str, Array]] = {}
        self.executor, self.labels = runner.executor, runner.labels

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """See contracts.parity.Runner."""
        key = b"".join(name.encode() + value.tobytes() for name, value in sorted(inputs.items()))
        if key not in self._known:
            self._known[key] = self._runner.run(inputs)
        return self._known[key]

    def stored_weights(self) -> tuple[Array, ...] | None:
        """See contracts.parity.Runner."""
        return self._runner.stored_weights()
