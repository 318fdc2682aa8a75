"""Requests by the names of their fields, without a request of one's own; and a module or a bundle alone."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

import pytest
import torch

import squeeze_export
from squeeze_export import EvaluationRequest, ExportRequest, LadderRequest
from squeeze_export.api.by_fields import evaluation_request, export_request, ladder_request
from squeeze_export.contracts.options import OPTIONS, headings
from squeeze_export.errors import UsageError

RUNGS = {"tflite": ("fp32", "int8")}


def test_fields_make_the_request():
    assert export_request(None, {"targets": ("tflite",), "model": "timm:resnet18"}) == ExportRequest(
        targets=("tflite",), model="timm:resnet18"
    )
    assert export_request("timm:resnet18", {"targets": ("tflite",)}).model == "timm:resnet18"
    module = torch.nn.Linear(3, 2)
    assert export_request(module, {"targets": ("tflite",)}).model is module
    given = ExportRequest(targets=("tflite",))
    assert export_request(given, {}) is given and export_request(given, {"force": True}).force
    found = evaluation_request("dist/net", {"images": "demo", "limit": 20})
    assert found == EvaluationRequest(bundle="dist/net", images="demo", limit=20)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: ladder_request(None, {"targets": ("tflite",), "precisions": RUNGS, "images": "demo", "runs": 3}),
        lambda: ladder_request(ExportRequest(targets=("tflite",), precisions=RUNGS), {"images": "demo", "runs": 3}),
        lambda: ladder_request(
            None, {"export": ExportRequest(targets=("tflite",), precisions=RUNGS), "images": "demo", "runs": 3}
        ),
        lambda: ladder_request(
            LadderRequest(export=ExportRequest(targets=("tflite",)), images="photos", runs=3),
            {"images": "demo", "precisions": RUNGS},
        ),
    ],
)
def test_a_ladders_fields_are_its_own_and_its_exports(request_of):
    wanted = ExportRequest(targets=("tflite",), precisions=RUNGS)
    assert request_of() == LadderRequest(export=wanted, images="demo", runs=3)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: squeeze_export.export(), r'export needs targets\. Write targets=\("coreml", "tflite"\)'),
        (lambda: squeeze_export.export(target=("tflite",)), r"export takes no target\. Did you mean targets\?"),
        (lambda: squeeze_export.export(3, targets=("tflite",)), r"export is given 3, a int\. Pass an ExportRequest, a torch"),
        (lambda: squeeze_export.export("a", model="b", targets=("tflite",)), "export is given model twice"),
        (lambda: squeeze_export.evaluate("dist/net", image="demo"), r"evaluate takes no image\. Did you mean images\?"),
        (lambda: squeeze_export.evaluate("dist/net"), "evaluate needs images"),
        (lambda: squeeze_export.ladder(targets=("tflite",)), "ladder needs images"),
        (lambda: squeeze_export.ladder(images="demo"), "ladder needs targets"),
        (lambda: squeeze_export.ladder(targets=("tflite",), images="demo", limitt=3), "Did you mean limit"),
        (lambda: squeeze_export.export(model=torch.nn.Linear, targets=("tflite",)), "model is .*or a torch.nn.Module"),
    ],
)
def test_what_is_missing_or_unknown_is_told(call, told):
    with pytest.raises(UsageError, match=told):
        call()


def test_a_notebook_shows_the_fields():
    known = inspect.signature(squeeze_export.export).parameters
    assert list(known)[:2] == ["request", "progress"]
    assert {each.name for each in fields(ExportRequest)} <= {*known} and known["seed"].default == 0
    assert {"images", "bundle", "limit"} <= {*inspect.signature(squeeze_export.evaluate).parameters}
    assert {"runs", "targets", "images"} <= {*inspect.signature(squeeze_export.ladder).parameters}


def test_the_docstring_lists_each_field_once_under_the_heading_of_its_option():
    told = inspect.getdoc(ExportRequest)
    listed = re.findall(r"^- `(\w+)`:", told, re.MULTILINE)
    assert sorted(listed) == sorted(each.name for each in fields(ExportRequest))
    places = [told.index(f"\n\n{heading}\n\n") for heading in (headings.MODEL, headings.INPUT, headings.WHAT, headings.LIMITS)]
    places.append(told.index(f"\n\n{headings.OUTPUT}\n\n"))
    assert places == sorted(places)
    for option in OPTIONS:
        name = option.request_field or option.name
        if "export" in option.help and name in listed and option.heading != headings.INPUT:
            part = told.index(f"\n\n{option.heading}\n\n")
            end = min((place for place in places if place > part), default=len(told))
            assert part < told.index(f"- `{name}`:") < end, name
