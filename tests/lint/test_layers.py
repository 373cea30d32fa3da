# SPDX-License-Identifier: BSD-3-Clause
"""Who may include whom, see docs/architecture.md."""
import re

import tree

# A folder may include its own headers and those to the right.
MAY_INCLUDE = {
    "base": {"outboard"},
    "proto": {"base", "outboard"},
    "transport": {"proto", "base", "outboard"},
    "state": {"outboard", "base"},
    "server": {"proto", "transport", "state", "outboard", "base"},
    "block": {"outboard", "base"},
    "devices": {"outboard"},
    "keeper": {"base", "outboard"},
    # A worker's end of the keeper's channel, and the table that both have.
    "link": {"keeper/held.h", "keeper/msg.h", "keeper/wire.h", "base", "outboard"},
    "client": {"proto", "transport", "outboard", "base"},
    "vmm": {"outboard", "base"},
    # The daemon is where the parts meet: it sees the server's two public
    # headers, the two registries, and the keeper.
    "daemon": {"outboard", "server/server.h", "server/operator.h",
               "devices/registry.h", "keeper", "link", "base"},
    "tools": {"outboard", "state", "client", "vmm", "daemon", "base/fd.h"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<(outboard/[^>]+)>)', re.M)


def folder_of(path):
    parts = path.relative_to(tree.TOP).parts
    return parts[1] if parts[0] == "src" else parts[0]


def includes(path):
    for quoted, public in INCLUDE.findall(path.read_text()):
        yield quoted or public


def allowed(folder, header):
    if header == "ob_config.h":     # made by meson: the version
        return True
    if "/" not in header:           # the tools have no folder of headers
        return folder == "tools"
    target = header.split("/")[0]
    return (target == folder or target in MAY_INCLUDE[folder]
            or header in MAY_INCLUDE[folder])


def sources():
    return tree.files(".c", ".h", under="src") + tree.files(".c", ".h", under="tools")


def test_every_folder_is_in_the_table():
    assert {folder_of(path) for path in sources()} <= set(MAY_INCLUDE)


def test_includes_follow_the_layers():
    problems = []
    for path in sources():
        for header in includes(path):
            if not allowed(folder_of(path), header):
                problems.append(f"{tree.name(path)} includes {header}")
    tree.report(problems)


def test_quoted_includes_are_written_from_the_top():
    """As folder/name.h, so that the layer shows in every line."""
    problems = []
    for path in sources():
        for header in includes(path):
            if header == "ob_config.h":
                continue
            if not ((tree.TOP / "src" / header).exists()
                    or (tree.TOP / "include" / header).exists()
                    or (folder_of(path) == "tools" and (path.parent / header).exists())):
                problems.append(f"{tree.name(path)} includes {header}")
    tree.report(problems)


def test_public_headers_need_only_public_headers():
    problems = []
    for path in tree.files(".h", under="include"):
        problems += [f"{tree.name(path)} includes {header}" for header in includes(path)
                     if not header.startswith("outboard/")]
    tree.report(problems)
