# SPDX-License-Identifier: BSD-3-Clause
"""Manual pages: well formed, and one for every verb and model."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import tree

OUTBOARD = pathlib.Path(os.environ.get("OUTBOARD", tree.TOP / "build" / "outboard"))
PAGES = tree.files(".1", ".7", under="man")


def output(*words):
    made = subprocess.run([OUTBOARD, *words], capture_output=True, text=True,
                          timeout=30, check=True)
    return made.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_well_formed(page):
    if not shutil.which("mandoc"):
        pytest.skip("no mandoc")
    made = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page],
                          capture_output=True, text=True, timeout=30)
    # A page that is not installed yet cannot be found, and mandoc takes the
    # page of a verb for the page of the command.
    harmless = ("referenced manual not found", "cross reference to self: Xr outboard 1")
    lines = [line for line in made.stdout.splitlines() if not line.endswith(harmless)]
    tree.report(lines)


def all_verbs():
    verbs = set(re.findall(r"^  ([a-z][a-z-]+) ", output("help"), re.M)) - {"help"}
    assert {"serve", "devices", "inspect", "bench"} <= verbs
    return sorted(verbs)


def text_of(name):
    return (tree.TOP / "man" / name).read_text()


def test_every_verb_has_a_page():
    pages = {page.name for page in PAGES}
    first = text_of("outboard.1")
    tree.report([f"no page for outboard {verb}" for verb in all_verbs()
                 if f"outboard-{verb}.1" not in pages])
    tree.report([f"outboard.1 does not tell of {verb}" for verb in all_verbs()
                 if f"See\n.Xr outboard-{verb} 1" not in first
                 and f"and\n.Xr outboard-{verb} 1" not in first])


def test_every_option_is_on_its_page():
    problems = []
    for verb in all_verbs():
        page = text_of(f"outboard-{verb}.1")
        helped = set(re.findall(r"^  --([a-z-]+)", output(verb, "--help"), re.M))
        told = set(re.findall(r"Fl -([a-z-]+)", page))
        problems += [f"outboard-{verb}.1 has no --{name}" for name in sorted(helped - told)]
    tree.report(problems)


def test_every_model_has_a_page():
    pages = {page.name for page in PAGES}
    models = [model["name"] for model in json.loads(output("devices", "--json"))["models"]]
    assert {"null", "edu", "nvme"} <= set(models)
    tree.report([f"no page for the model {model}" for model in models
                 if f"outboard-{model}.7" not in pages])


def test_references_lead_somewhere():
    """outboard-x(1) in a page is a page of ours."""
    pages = {page.name for page in PAGES}
    problems = []
    for page in PAGES:
        for name, section in re.findall(r"^\.Xr (outboard\S*) (\d)", page.read_text(), re.M):
            if f"{name}.{section}" not in pages:
                problems.append(f"{page.name} refers to {name}({section})")
    tree.report(problems)
