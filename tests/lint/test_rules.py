# SPDX-License-Identifier: BSD-3-Clause
"""Every rule of docs/rules.md has a test that carries its number."""
import re

import tree

RULES = range(1, 38)

# Rules without a test of their own here, each with its reason.
EXCEPTIONS = {}


# test_r7_..., or a comment /* R6, R35: ... */ on a test that keeps several.
NAME = re.compile(r"\btest_[rR](\d+)_|(?<=/\* )((?:R\d+, )+R\d+):")


def named_rules():
    found = set()
    for name, text in tree.text_files(".c", ".py"):
        if name.startswith("tests/") and not name.startswith("tests/lint/"):
            for match in NAME.finditer(text):
                found |= {int(number) for number in re.findall(r"\d+", match[0])}
    return found


def test_every_rule_has_a_test():
    missing = [rule for rule in RULES if rule not in EXCEPTIONS and rule not in named_rules()]
    tree.report([f"no test_r{rule}_..." for rule in missing])


def test_exceptions_are_still_needed():
    tree.report([f"rule {rule} has a test by now" for rule in EXCEPTIONS
                 if rule in named_rules()])
