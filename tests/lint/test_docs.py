# SPDX-License-Identifier: BSD-3-Clause
"""What the pages tell people to type or to open is there."""
import re

import pytest
import tree

PAGES = [path for path in tree.files(".md")] + [tree.TOP / "NEWS"]


@pytest.mark.parametrize("page", PAGES, ids=tree.name)
def test_links_lead_somewhere(page):
    problems = []
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target and not (page.parent / target).exists():
            problems.append(f"{tree.name(page)}: {target}")
    tree.report(problems)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z ]+):", (tree.TOP / "Makefile").read_text(), re.M))
    targets = {word for line in targets for word in line.split()}
    problems = []
    for page in PAGES:
        for target in re.findall(r"(?:`|^    |\$ )make ([a-z]+)", page.read_text(), re.M):
            if target not in targets:
                problems.append(f"{tree.name(page)}: make {target}")
    tree.report(problems)


def test_named_files_exist():
    """`src/...` and the like in a page is a file or folder of ours; capitals
    stand for a name."""
    problems = []
    pattern = r"`((?:src|include|tools|tests|scripts|man)/[a-z0-9_./-]+)`"
    for page in PAGES:
        for path in re.findall(pattern, page.read_text()):
            if not (tree.TOP / path).exists():
                problems.append(f"{tree.name(page)}: {path}")
    tree.report(problems)


def test_the_embedding_example_is_the_one_that_is_tested():
    code = (tree.TOP / "tests/unit/client/embedding_example.c").read_text().split("\n\n", 1)[1]
    assert f"```c\n{code}```" in (tree.TOP / "docs/embedding.md").read_text()
