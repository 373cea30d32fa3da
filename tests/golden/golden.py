# SPDX-License-Identifier: BSD-3-Clause
"""The shown state of a device, made small enough to keep and to read.

Of `outboard state show --json` the schema and the form are left out; of lists
the numbers of the elements, and equal neighbours become one with a count; of
bytes in hexadecimal, long runs of zeros.
"""
import itertools
import json
import re

# Byte by byte, so that a run begins where a byte does.
ZEROS = re.compile("((?:00){16,})|..")
LEFT_OUT = ("schema", "form")


def small(value):
    if isinstance(value, dict):
        return {name: small(member) for name, member in value.items() if name != "index"}
    if isinstance(value, str) and value.startswith("0x"):
        return "0x" + ZEROS.sub(lambda run: f"[{len(run[1]) // 2} zeros]" if run[1] else run[0],
                                value[2:])
    if not isinstance(value, list):
        return value
    runs = [(one, len(list(many))) for one, many in itertools.groupby(map(small, value))]
    return [one if count == 1 else {"times": count, "of": one} for one, count in runs]


def fold(shown):
    parts = small(shown["parts"])
    rest = {name: value for name, value in shown.items() if name not in LEFT_OUT}
    return dict(rest, parts=parts)


def write(path, folded):
    path.write_text(json.dumps(folded, indent=1) + "\n")
