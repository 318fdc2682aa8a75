"""Workers that are ended while they still say what they do."""

from __future__ import annotations

import threading

from squeeze_export.contracts.artifact import ArtifactKey
from squeeze_export.pipeline.results import Silent
from squeeze_export.processes import workers


def test_the_end_of_a_worker_in_the_middle_of_a_line_is_no_error(tmp_path, monkeypatch):
    talker = tmp_path / "python"
    talker.write_text('#!/bin/sh\nwhile :; do echo \'{"stage": "converting"}\'; done\n')
    talker.chmod(0o755)
    monkeypatch.setattr(workers.sys, "executable", str(talker))
    failed = []
    monkeypatch.setattr(threading, "excepthook", lambda told: failed.append(told.exc_value))
    keys = [ArtifactKey(target="coreml", precision="fp16"), ArtifactKey(target="tflite", precision="fp32")]
    for number in range(10):
        with workers.workers(tmp_path / str(number), "export", keys, Silent()) as crew:
            assert crew._events.get(timeout=30)[1] == "converting"
        assert not [one for one in crew._followers if one.is_alive()]
    assert failed == []
