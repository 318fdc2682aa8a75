"""What is left out where an export keeps going, and types and words of a request that a program made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jsonschema
import msgspec
import pytest

from squeeze_export.api.in_python import in_python
from squeeze_export.bundle.manifest import encode
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.errors import UsageError
from squeeze_export.pipeline import incomplete
from squeeze_export.processes import failure
from squeeze_export.processes.jobs import Failure, Result

PASSED, NOT_RUN, WRONG = (
    ParityReport(verdict=verdict, executor="it", reason=reason, tolerance=None, outputs=(), weights=None)
    for verdict, reason in (("PASSED", None), ("NOT_RUN", "not installed."), ("FAILED", "21 dB instead of 40"))
)
REQUEST = ExportRequest(targets=("coreml", "tflite"), precisions={"tflite": ("fp32", "int8")})


def results(request=REQUEST, **reports):
    return tuple(
        Result(key=key, artifact=None, reports=(reports.get(key.precision, PASSED),), failure=None, seconds=1.0)
        for key in request.keys
    )


def test_what_failed_is_missing_with_its_verdict_reason_and_exit_code():
    assert incomplete.missing_of(results(), allow_unproven=False) == ()
    (one,) = incomplete.missing_of(results(int8=WRONG), allow_unproven=False)
    assert (str(one.key), one.verdict, one.exit_code) == ("tflite int8", "FAILED", 5)
    assert "parity FAILED, executed by it: 21 dB instead of 40" in one.reason
    two = incomplete.missing_of(results(int8=WRONG, fp32=NOT_RUN), allow_unproven=False)
    assert [(record.verdict, record.exit_code) for record in two] == [("NOT_RUN", 6), ("FAILED", 5)]
    assert len(incomplete.missing_of(results(int8=WRONG, fp32=NOT_RUN), allow_unproven=True)) == 1


def test_the_request_without_what_failed():
    keys = REQUEST.keys
    assert [str(key) for key in incomplete.without(REQUEST, {keys[2]}).keys] == ["coreml fp16", "tflite fp32"]
    assert incomplete.without(REQUEST, set(keys[1:])).targets == ("coreml",)
    assert incomplete.without(REQUEST, set(keys)) is None
    # Of two sizes the one that cannot be met is left out, and named.
    sized = replace(REQUEST, precisions={"coreml": ("auto", "fp16")}, size_budgets=(50_000, 490_000))
    small = Failure(error="UsageError", message="the smallest reachable has 183,220", traceback="")
    lost = incomplete.missing_of([replace(results(sized)[0], failure=small)], allow_unproven=False)
    assert [(str(record.key), record.verdict, record.exit_code) for record in lost] == [("coreml auto:50KB", "ERROR", 2)]
    rest = incomplete.without(sized, {record.key for record in lost})
    assert [str(key) for key in rest.keys] == ["coreml auto:490KB", "coreml fp16", "tflite fp32"]


def test_a_failure_is_told_with_every_artifact_by_its_schema():
    told = failure.attempts(results(int8=WRONG), {REQUEST.keys[0]: 1234})
    assert [(one.target, one.verdict, one.exit_code, one.size_bytes) for one in told] == [
        ("coreml", "PASSED", 0, 1234), ("tflite", "PASSED", 0, None), ("tflite", "FAILED", 5, None),
    ]  # fmt: skip
    error = failure.ErrorRecord(kind="ExportFailed", message="Nothing was written.", exit_code=5)
    document = msgspec.json.decode(encode(failure.FailureRecord(error=error, artifacts=told)))
    assert document["error"] == {"class": "ExportFailed", "message": "Nothing was written.", "exit_code": 5}
    jsonschema.validate(document, failure.schema())
    del document["error"]["exit_code"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, failure.schema())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"precisions": {"tflite": "fp16"}},
            r"""precisions\['tflite'\] is 'fp16'\. Write precisions=\{"tflite": \("fp16", "int8"\)\}""",
        ),
        ({"precisions": {"onnx": ("fp16",)}}, "names 'onnx', which is not among the targets"),
        (
            {"model_arguments": "n=3"},
            r"""model_arguments is 'n=3', a str\. Write model_arguments=\{"width": 0\.5\}""",
        ),
        ({"precisions": ("fp16",)}, "precisions is .* a tuple. Write precisions="),
        ({"labels": {"cat", "dog"}}, r"""labels is .*, a set\. Write labels="labels\.txt\""""),
        ({"targets": "tflite"}, r"""targets is 'tflite', a str\. Write targets=\("coreml", "tflite"\)"""),
        ({"images": ["a.png"]}, r'images\[0\] is a \w+\. Write images="photos"'),
        ({"starters": "android"}, r"starters is .*Write starters=\(\"android\",\)"),
        ({"size_budgets": 490}, r"size_budgets is 490, a int\. Write size_budgets=\(490_000,\)"),
        ({"force": "yes"}, "force is 'yes', a str. Write force=True"),
        ({"seed": True}, "seed is True, a bool. Write seed=0"),
        ({"model": None}, 'model is None, a NoneType. Write model="squeezenet1_1"'),
        ({"max_accuracy_drop": "1"}, "max_accuracy_drop is '1', a str. Write max_accuracy_drop=1.0"),
    ],
)
def test_a_field_of_another_type_is_told_with_the_right_form(fields, told):
    with pytest.raises(UsageError, match=told):
        ExportRequest(**{"targets": ("tflite",), **fields})


def test_lists_and_strings_are_taken_where_they_can_mean_one_thing_only():
    made = ExportRequest(targets=["tflite"], precisions={"tflite": ["fp16"]}, labels="labels.txt")
    assert (made.targets, made.precisions, made.labels) == (("tflite",), {"tflite": ("fp16",)}, Path("labels.txt"))


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("Pass --allow-unproven to write it.", "Pass allow_unproven=True to write it."),
        ("write --precision coreml=fp16,fp32.", "write precisions={'coreml': ('fp16', 'fp32',)}."),
        ("write --precision coreml=auto:490KB.", "write precisions={'coreml': ('auto',)} with size_budgets=(490000,)."),
        ("Add --target coreml.", "Add targets=('coreml',)."),
        ("Give --model-arg classes=VALUE", 'Give model_arguments={"classes": VALUE}'),
        ("Pass --calibration-data with pictures", "Pass calibration with pictures"),
        ("--max-accuracy-drop 0.5 cannot be measured", "max_accuracy_drop=0.5 cannot be measured"),
        ("--images DIR: with labels", "images=DIR: with labels"),
        ("pass --weights random.", 'pass weights="random".'),
        ("check --labels", "check labels"),
        (
            "--head features cannot be combined with --labels x.txt: why",
            'head="features" cannot be combined with labels="x.txt": why',
        ),
        ("Report what --verbose prints.", "Report what the traceback prints."),
        ("choose another --output or --name.", "choose another output or name."),
        ("squeeze-export verify dist/a-b", "squeeze-export verify dist/a-b"),
    ],
)
def test_options_become_fields(option, field):
    assert in_python(option) == field
