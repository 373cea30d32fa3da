# SPDX-License-Identifier: BSD-3-Clause
"""The files of the project, as text."""
import pathlib

TOP = pathlib.Path(__file__).resolve().parents[2]
CACHES = {"__pycache__", ".pytest_cache"}
FOLDERS = ["include", "src", "tools", "tests", "scripts", "docs", "man", ".ci"]


def files(*suffixes, under=None):
    """Paths below the top, sorted; every kind when no suffix is named."""
    found = []
    for folder in [under] if under else FOLDERS:
        for path in (TOP / folder).rglob("*"):
            if path.is_file() and not CACHES & set(path.parts) and (
                    not suffixes or path.suffix in suffixes):
                found.append(path)
    if not under:
        found += [p for p in TOP.iterdir() if p.is_file() and not p.name.startswith(".git")
                  and (not suffixes or p.suffix in suffixes)]
    return sorted(found)


def name(path):
    return str(path.relative_to(TOP))


def text_files(*suffixes):
    """(name, text) of everything that is text: seeds and images are not."""
    for path in files(*suffixes):
        try:
            yield name(path), path.read_text()
        except UnicodeDecodeError:
            continue


def report(problems):
    assert not problems, "\n" + "\n".join(problems)
