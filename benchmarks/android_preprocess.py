"""Time the Android app's preprocessing of a 12-megapixel picture on the JVM, and Pillow's on the same size.

    python -m benchmarks.android_preprocess [--runs 60]

Milliseconds of the thread's own time beside those on the clock: the first do not depend on what else the machine does. The first
third of the runs warms the JIT and is left out. Needs what .ci/install-starter-tools brings.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.android import toolchain

WIDTH, HEIGHT = 4000, 3000
_CORE = toolchain.ROOT / "mobile_templates/android/project/app/src/main/kotlin/__app_path__/core"
_FILES = ("Preprocess.kt", "Resampling.kt", "PixelSource.kt", "ModelContract.kt")


def kotlin(runs: int) -> tuple[float, float]:
    """Median milliseconds of one preprocessing in Kotlin: on the clock, and of the thread."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in ("classes", "stubs"):  # the compiler warns of a class path with nothing there
            (out / name).mkdir()
        for path in (*(_CORE / name for name in _FILES), toolchain.HERE / "Bench.kt"):
            text = path.read_text(encoding="utf-8").replace("«app_id | kotlin_package»", "bench").replace("PACKAGE", "bench")
            (out / path.name).write_text(text, encoding="utf-8")
        done = toolchain.kotlinc(sorted(out.glob("*.kt")), toolchain.classpath(out), out / "classes")
        if done.code:
            sys.exit(done.said)
        # With the whole JIT, as a server has it; ART compiles ahead of time.
        said = toolchain.must(
            "java", "-Xmx1g", "-cp", toolchain.classpath(out), "bench.core.Bench", str(WIDTH), str(HEIGHT), str(runs)
        )
    rows = [tuple(map(float, line.split())) for line in said.splitlines()][runs // 3 :]
    return statistics.median(row[0] for row in rows), statistics.median(row[1] for row in rows)


def pillow(runs: int) -> tuple[float, float]:
    """Median milliseconds of the same in Pillow."""
    import numpy as np
    from PIL import Image

    from squeeze_export.preprocessing.pixels import pixels
    from squeeze_export.preprocessing.spec import spec_for

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    spec = spec_for("torchvision", model="squeezenet1_1")
    clock, thread = [], []
    for _ in range(runs // 2):
        began, used = time.perf_counter(), time.thread_time()
        pixels(picture, spec)
        clock.append((time.perf_counter() - began) * 1e3)
        thread.append((time.thread_time() - used) * 1e3)
    return statistics.median(clock), statistics.median(thread)


def main() -> None:
    """Print both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    runs = parser.parse_args().runs
    absent = toolchain.missing()
    if absent:
        sys.exit(f"not installed: {', '.join(absent)}; .ci/install-starter-tools brings them")
    ours, reference = kotlin(runs), pillow(runs)
    print(f"picture of {WIDTH}x{HEIGHT}, to 224x224      clock ms   thread ms")
    print(f"Kotlin on the JVM                   {ours[0]:9.1f} {ours[1]:11.1f}")
    print(f"Pillow                              {reference[0]:9.1f} {reference[1]:11.1f}")
    print(f"ratio                               {ours[0] / reference[0]:9.2f} {ours[1] / reference[1]:11.2f}")


if __name__ == "__main__":
    main()
