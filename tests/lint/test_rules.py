# SPDX-License-Identifier: BSD-3-Clause
"""Every rule of docs/rules.md has a test that carries its number."""
import re

import tree

# Saving, upgrade and migration: rules 24 to 31 come with those parts.
RULES = [*range(1, 24), *range(32, 38)]

# Rules without a test of their own here, each with its reason.
EXCEPTIONS = {
}


def named_rules():
    found = set()
    for _, text in tree.text_files(".c", ".py"):
        found |= {int(number) for number in re.findall(r"\btest_r(\d+)_", text)}
    return found


def test_every_rule_has_a_test():
    missing = [rule for rule in RULES if rule not in EXCEPTIONS and rule not in named_rules()]
    tree.report([f"no test_r{rule}_..." for rule in missing])


def test_exceptions_are_still_needed():
    tree.report([f"rule {rule} has a test by now" for rule in EXCEPTIONS
                 if rule in named_rules()])
