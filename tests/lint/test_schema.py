# SPDX-License-Identifier: BSD-3-Clause
"""docs/schema has the tables of every model, docs/control.json the methods of
the control channel, so that a change of what travels shows in a review."""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import tree

OUTBOARD = pathlib.Path(os.environ.get("OUTBOARD", tree.TOP / "build" / "outboard"))
FOLDER = tree.TOP / "docs" / "schema"
CONTROL = tree.TOP / "docs" / "control.json"


def schemas():
    made = subprocess.run([OUTBOARD, "state", "schema"], capture_output=True, text=True,
                          timeout=30, check=True)
    return json.loads(made.stdout)


def kept(model):
    path = FOLDER / f"{model}.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_schema_files_are_those_of_the_models():
    models = schemas()
    assert {"null", "edu", "nvme"} <= set(models)
    stale = [f"{model}: build/outboard state schema {model} >docs/schema/{model}.json"
             for model, schema in models.items() if kept(model) != schema]
    stale += [f"{path.name}: there is no such model" for path in FOLDER.iterdir()
              if path.stem not in models]
    tree.report(stale)


def tags(schema):
    return {(table["name"], row["tag"]): row["name"] for table in schema["tables"]
            for row in table["fields"] if "tag" in row}


def test_tags_are_named_once():
    for model, schema in schemas().items():
        rows = sum("tag" in row for table in schema["tables"] for row in table["fields"])
        assert len(tags(schema)) == rows, f"{model}: a tag or a table's name is there twice"


def test_the_page_is_made_of_the_schemas():
    path = str(tree.TOP / "scripts" / "state-page")
    loader = importlib.machinery.SourceFileLoader("state_page", path)
    page = importlib.util.module_from_spec(importlib.util.spec_from_loader("state_page", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(page)
    assert (tree.TOP / "docs/state-tables.md").read_text() == page.page(), "run scripts/state-page"


def control_methods():
    made = subprocess.run([OUTBOARD, "ctl", "--schema"], capture_output=True, text=True,
                          timeout=30, check=True)
    return json.loads(made.stdout)


def test_control_schema_is_that_of_the_server():
    assert json.loads(CONTROL.read_text()) == control_methods(), \
        "build/outboard ctl --schema >docs/control.json"


def test_every_method_is_described():
    page = (tree.TOP / "docs" / "control.md").read_text()
    tree.report([f"{method['name']} is not in docs/control.md"
                 for method in control_methods()["methods"]
                 if f"`{method['name']}`" not in page])
