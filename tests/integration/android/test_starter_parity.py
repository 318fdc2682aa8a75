"""The app's judge is the export's: the same scores give the same numbers and the same verdict in Kotlin and in Python."""

from __future__ import annotations

import numpy as np
import pytest

from squeeze_export.contracts import Scores, Tolerance
from squeeze_export.golden import read_golden
from squeeze_export.manifest import read_manifest
from squeeze_export.validation.parity import judge
from tests.integration.android import toolchain
from tests.integration.android.rendered import APP_IDS


class Replay:
    """A runner that gives prepared scores, picture after picture, and for the negative of the first something else."""

    executor = "replay"

    def __init__(self, name, scores):
        self._name, self._rows = name, [*scores, scores[0][::-1]]

    def run(self, inputs):
        return {self._name: self._rows.pop(0)[None]}

    def stored_weights(self):
        return None


# How wrong the scores are made: not at all, as other kernels round, near the bar, far beyond it, and in another order.
DAMAGES = {"none": 0.0, "rounding": 1e-7, "near": 1e-5, "far": 1e-2, "order": None}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("target", APP_IDS)
def test_the_app_measures_and_judges_as_the_export_does(compiled, projects, tmp_path, target, damage):
    made, project = compiled("characters", target), projects["characters", target]
    folder = project.parent / "bundles" / "characters"
    pack = read_golden(folder / "golden")
    assert isinstance(pack.reference, Scores)
    reference = pack.reference.logits
    (record,) = (record for record in read_manifest(folder).artifacts if record.target == target)
    assert isinstance(record.parity.tolerance, Tolerance)
    error = DAMAGES[damage]
    noise = np.random.default_rng(1).uniform(-1, 1, reference.shape) * np.abs(reference).max()
    logits = reference[:, ::-1] if error is None else reference + error * noise
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted = logits if target == "torchscript" else powers / powers.sum(axis=1, keepdims=True)
    scores = np.ascontiguousarray(wanted, np.float32)
    runner = Replay(record.signature.outputs[0].name, scores)
    report = judge(runner, record.signature, pack, record.parity.tolerance, "fp32")

    scores.astype("<f4").tofile(tmp_path / "scores.bin")
    dump = f"{toolchain.app_id(project)}.core.ParityDump"
    path = toolchain.classpath(made.out)
    said = toolchain.must("java", "-cp", path, dump, tmp_path / "scores.bin", cwd=project / "app")
    lines = [line.split(";") for line in said.splitlines()]
    assert [line[0] for line in lines] == [output.observed for output in report.outputs]
    for line, output in zip(lines, report.outputs, strict=True):
        largest, allowed, snr, centred = map(float, line[1:5])
        assert largest == pytest.approx(output.max_abs_error, rel=1e-9, abs=1e-15)
        assert pack.names[int(line[5])] == output.worst_image
        for found, expected in ((snr, output.snr_db), (centred, output.centred_snr_db)):
            assert (None if found == float("inf") else pytest.approx(found, abs=1e-6)) == expected
        assert (largest <= allowed) == (output.smallest_passing_error_of_peak <= record.parity.tolerance.max_error_of_peak)
        assert int(line[7]) == len(output.problems)
    if damage != "near":  # on either side of the bar, as long as both judges see it there
        assert (report.verdict == "PASSED") == (damage in ("none", "rounding")), report.reason
