# SPDX-License-Identifier: Apache-2.0
"""What the program and our own forward pass give, for the tests to compare."""
import os
import subprocess

import numpy
import torch


def streamline(*arguments):
    result = subprocess.run([os.environ["STREAMLINE_PROGRAM"], *map(str, arguments), "--threads", "1"],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result


def our_logits(folder, ids, tmp_path):
    """Logits of the ids [batch, seq]: [batch, seq, vocab]."""
    (tmp_path / "ids").write_text("\n".join(" ".join(map(str, row)) for row in ids.tolist()))
    subprocess.run([os.environ["STREAMLINE_LOGITS"], folder, tmp_path / "ids", tmp_path / "logits"], check=True)
    return torch.from_numpy(numpy.fromfile(tmp_path / "logits", dtype=numpy.float32)).reshape(*ids.shape, -1)
