# SPDX-License-Identifier: BSD-3-Clause
"""outboard torture --vm: the public proof, in a guest that knows nothing."""
import json
import os
import subprocess


def test_r29_torture_in_a_real_guest(outboard, lab, tmp_path):
    made = subprocess.run(
        [outboard, "torture", "--vm", lab.folder, "--kills", "20", "--every", "200ms",
         "--for", "10m", "--upgrade", "--json"],
        env=dict(os.environ, OUTBOARD_ACCEL=lab.accel, TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["kills"] + told["upgrades"] >= 20
    assert told["reads"] > 0 and told["writes"] > 0
    assert told["errors"] == told["damaged"] == 0
    assert list(tmp_path.iterdir()) == []
