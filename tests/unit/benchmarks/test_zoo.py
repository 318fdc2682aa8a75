"""benchmarks/zoo: what is kept is read again, what is missing is found, and the tables say what the cells say."""

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.marked import with_between
from benchmarks.noise.networks import Scaled
from benchmarks.zoo import cells, tables
from benchmarks.zoo.cells import Cell, Measured
from benchmarks.zoo.network import unscaled
from torch import nn

from squeeze_export.exporters import EXPORTERS

PASSED = Cell(
    verdict="PASSED", state="aaaaaaaaaaaa", executor="LiteRT 2.3.0 (XNNPACK)", snr_db=101.26, floor_db=104.0, operations=66,
    xnnpack="XNNPACK takes 3 parts of the graph, not 2 PADV2", size_bytes=1234567, seconds=14.2, ms=2.0, eager_ms=8.0,
)  # fmt: skip
LOST = Cell(verdict="ERROR", state="bbbbbbbbbbbb", reason="it fell\n over in /home/some.one/lib/site-packages/lite/rt.py | twice")


def measured(name="timm:net", **found):
    known = {key.replace("_", " "): cell for key, cell in found.items()}
    return Measured(name=name, side=96, machine="Linux x86_64, 2 cores", cells=known)


def test_what_is_kept_is_read_again(tmp_path):
    known = measured(tflite_fp32=PASSED, coreml_fp32=LOST)
    cells.write(tmp_path, known)
    assert cells.read(tmp_path, "timm:net") == known
    assert [path.name for path in tmp_path.iterdir()] == ["timm-net.json"]
    assert cells.read(tmp_path, "timm:other").cells == {}


def test_the_program_says_which_precisions_there_are():
    found = cells.wanted(EXPORTERS, cells.offered())
    assert sorted(found) == sorted((target, one) for target, module in EXPORTERS.items() for one in module.CAPTURED)
    assert found[:4] == [(target, "fp32") for target in EXPORTERS]


def test_the_state_follows_every_source(tmp_path):
    (tmp_path / "exporters").mkdir()
    (tmp_path / "exporters" / "a.py").write_text("one")
    first = cells.state(tmp_path)
    (tmp_path / "exporters" / "notes.txt").write_text("no source")
    assert cells.state(tmp_path) == first
    (tmp_path / "exporters" / "a.py").write_text("two")
    assert cells.state(tmp_path) != first


def test_the_tables_say_what_was_measured():
    networks = [measured(tflite_fp32=PASSED), measured("timm:lost", tflite_fp32=LOST, coreml_fp32=replace(PASSED, xnnpack=None))]
    assert "| TFLite | 1 of 2 | – |" in tables.counts(networks) and "| Core ML | 1 of 1 | – |" in tables.counts(networks)
    rows = tables.figures(networks, "tflite", "fp32").splitlines()
    assert rows[2] == "| timm:net (96) | PASSED | 101.3 | -2.7 | 66 | 3 parts, not 2 PADV2 | 1,234,567 | 14 | 2.0 | 8.0 | 0.25 |"
    assert rows[3] == "| timm:lost (96) | ERROR | – | – | – | – | – | – | – | – | – |"
    assert tables.lost(networks).splitlines()[2:] == ["| timm:lost | TFLite fp32 | ERROR | it fell over in rt.py \\| twice |"]
    assert "`aaaaaaaaaaaa` (2 cells), `bbbbbbbbbbbb` (1)" in " ".join(tables.measured_on(networks).split())


def test_the_page_has_a_place_for_each_table():
    page = tables.PAGE.read_text(encoding="utf-8")
    for name in ("zoo counts", "zoo lost", "zoo figures"):
        assert "planted" in with_between(page, name, "planted")


def test_the_factor_stands_in_the_last_layer_where_that_is_the_same_network():
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for last, same in ((nn.Identity(), True), (nn.Softmax(1), False)):
        scaled = Scaled(nn.Sequential(nn.Flatten(), nn.Linear(48, 5), last))
        scaled.factor = 3.0
        expected = scaled(images)
        found = unscaled(scaled, images)
        assert (found is scaled.inner) == same
        assert torch.allclose(found(images), expected, atol=1e-5)
