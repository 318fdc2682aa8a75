"""The reference of an evaluation: made again from the bundle's own weights, or NOT_RUN and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from squeeze_export.bundle import manifest
from squeeze_export.errors import SourceError, UsageError
from squeeze_export.sources.weights import load_weights
from tests.unit.evaluation.evaluations import CLASSES, NO_WORKER, make_bundle, make_pictures, run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Not to be changed: copy them."""
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def random_sha256(seed: int) -> str:
    return load_weights("squeezenet1_1", "random", seed=seed, random_classes=CLASSES).origin.sha256


def test_the_reference_is_made_again_and_held_beside_unless_its_weights_are_others(tmp_path, pictures):
    bundle = make_bundle(tmp_path / "net", {}, {"do": {"3": "last"}}, kind="random", sha256=random_sha256(5), seed=5)
    cache = tmp_path / "cache.sqlite3"
    found = run(bundle, pictures, reference=True, cache=cache)
    assert found.reference.status == "MEASURED"
    assert found.reference.executor.startswith("eager PyTorch 2.13")
    reference = found.reference.accuracy.top1
    for row in found.artifacts:
        difference = row.comparison.top1_difference
        assert difference.value == pytest.approx(row.accuracy.top1.value - reference.value)
        assert difference.gained - difference.lost == row.accuracy.top1.hits - reference.hits
        assert 0 <= row.comparison.agreement.value < 1
    assert found.exit_code == 0
    # Every answer is known now; weights that the user names are held against the manifest all the same.
    record = manifest.read_manifest(bundle)
    other = replace(record, source=replace(record.source, weights_kind="file", weights_seed=6))
    (bundle / "manifest.json").write_bytes(manifest.encode(other))
    with pytest.raises(SourceError, match="not those that the bundle was made from"):
        run(bundle, pictures, reference=True, weights="random", cache=cache)


def test_a_reference_from_a_file_that_is_not_given_is_told_before_any_work(tmp_path, pictures):
    with pytest.raises(UsageError, match=r"mine\.pth.* Pass it with --weights PATH, or --no-reference"):
        run(make_bundle(tmp_path / "net", {}), pictures, reference=True, command=NO_WORKER)


def test_weights_that_cannot_be_loaded_are_a_source_error(tmp_path, pictures):
    with pytest.raises(SourceError, match=r"nowhere\.pth does not exist"):
        run(make_bundle(tmp_path / "net", {}), pictures, reference=True, weights=str(tmp_path / "nowhere.pth"))


def test_a_reference_that_the_manifest_names_wrongly_is_not_run(tmp_path, pictures):
    found = run(make_bundle(tmp_path / "net", {}, kind="random", seed=5), pictures, reference=True)
    assert (found.reference.status, found.exit_code) == ("NOT_RUN", 6)
    assert "not those that the bundle was made from" in found.reference.reason


def test_demo_pictures_are_refused_for_a_bundle_of_other_classes(tmp_path):
    with pytest.raises(UsageError, match=r"34 classes; this bundle has 7 labels \(a, b, c, …\)"):
        run(make_bundle(tmp_path / "net", {}), "demo", command=NO_WORKER)


def test_of_several_weights_in_a_checkpoint_those_of_the_bundle_are_found_again(tmp_path, pictures):
    plain, averaged = (load_weights("squeezenet1_1", "random", seed=seed, random_classes=CLASSES) for seed in (5, 6))
    path = tmp_path / "last.pth.tar"
    torch.save({"state_dict": plain.state, "state_dict_ema": averaged.state}, path)
    assert load_weights("squeezenet1_1", path, seed=0).origin.sha256 == averaged.origin.sha256  # what an export takes
    found = run(make_bundle(tmp_path / "net", {}, sha256=plain.origin.sha256), pictures, reference=True, weights=str(path))
    assert found.reference.status == "MEASURED"
