"""What rounding alone costs on one network with these images, and the bars for fp32 and fp16 artifacts that follow from it.

Networks amplify rounding by very different amounts: a sound converter ends at 90 dB on one and at 130 dB on another. So a bar
that fits all of them is measured on the network itself, in eager PyTorch, without any converter:

    fp32            eager fp32 against the same network in fp64
    fp16            weights rounded to fp16, and every floating result after each operation, against eager fp32
    fp16-stored     weights rounded to fp16 and nothing else, against eager fp32: for files that compute in fp32

Errors and SNRs are those of metrics.py, on logits, over all images together, as parity.py judges an artifact. How far below its
floor a sound artifact may end was measured by benchmarks/noise; docs/explanation/parity.md has the table.
"""

from squeeze_export.validation.noise.bars import excused_db, tolerance
from squeeze_export.validation.noise.floor import measure

__all__ = ["excused_db", "measure", "tolerance"]
