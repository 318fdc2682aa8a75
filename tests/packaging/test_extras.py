"""Where every extra must be here, a check that is skipped for want of one is a failure."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from squeeze_export import sdks
from squeeze_export.exporters.tflite import onnx_tf_compat

pytestmark = pytest.mark.skipif(
    not os.environ.get("SQUEEZE_EXPORT_REQUIRE_EXTRAS"), reason="SQUEEZE_EXPORT_REQUIRE_EXTRAS is not set: extras may be missing"
)


def test_all_of_them_are_installed_together():
    assert sdks.lacking_extras() == ()
    assert sys.version_info >= (3, 12) or onnx_tf_compat.unavailable() is None
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
