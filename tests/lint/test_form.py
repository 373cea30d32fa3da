# SPDX-License-Identifier: BSD-3-Clause
"""What can be said about files without understanding them."""
import re

import tree

MAX_FILE = 1000
MAX_FUNCTION = 100
MAX_COLUMNS = 100


def code():
    for path in tree.files(".c", ".h", under=None):
        yield tree.name(path), path.read_text()


def columns(line):
    return len(line.expandtabs(8))


def test_licence_is_named():
    problems = []
    for name, text in tree.text_files(".c", ".h", ".py", ".build", ".sh", ""):
        if name in ("LICENSE", ".clang-format") or not text or name.startswith("tests/fuzz/seeds/"):
            continue
        head = "\n".join(text.splitlines()[:3])
        if name.startswith("docs/") or name in ("NEWS",):
            continue
        if "SPDX-License-Identifier: BSD-3-Clause" not in head:
            problems.append(name)
    tree.report(problems)


def test_files_are_short():
    tree.report([f"{name}: {text.count(chr(10))} lines" for name, text in code()
                 if text.count("\n") > MAX_FILE])


def test_lines_are_short():
    problems = []
    for name, text in tree.text_files(".c", ".h", ".py", ".build"):
        problems += [f"{name}:{number}: {columns(line)} columns"
                     for number, line in enumerate(text.splitlines(), 1)
                     if columns(line) > MAX_COLUMNS]
    tree.report(problems)


def functions(text):
    """(first line, length): a brace in the first column opens, one closes;
    the signature above counts."""
    lines = text.splitlines()
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
            while start > 0 and lines[start - 1].strip() and \
                    not lines[start - 1].startswith(("}", "#", "/", " *")):
                start -= 1
        elif line.startswith("}") and start is not None:
            yield start + 1, number - start + 1
            start = None


def test_functions_are_short():
    problems = []
    for name, text in code():
        problems += [f"{name}:{line}: {length} lines" for line, length in functions(text)
                     if length > MAX_FUNCTION]
    tree.report(problems)


def test_function_measure_measures():
    text = "int\nf(int a,\n  int b)\n{\n\treturn a;\n}\n\nint g(void)\n{\n}\n"
    assert list(functions(text)) == [(1, 6), (8, 3)]


def test_tabs_indent_code():
    """Spaces only after tabs, to align."""
    problems = []
    for name, text in code():
        problems += [f"{name}:{number}" for number, line in enumerate(text.splitlines(), 1)
                     if line.startswith("        ")]
    tree.report(problems)


def test_no_white_space_at_ends():
    problems = []
    for name, text in tree.text_files():
        if name.startswith("tests/fuzz/seeds/") or name == "LICENSE":
            continue
        problems += [f"{name}:{number}: white space at the end of the line"
                     for number, line in enumerate(text.splitlines(), 1)
                     if line != line.rstrip()]
        if text and not text.endswith("\n"):
            problems.append(f"{name}: no end of line at the end")
    tree.report(problems)


def test_nothing_is_left_to_do():
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    tree.report([f"{name}: {match[0]}" for name, text in tree.text_files()
                 if name != "tests/lint/test_form.py"
                 for match in word.finditer(text)])


def test_no_machine_is_named():
    """Archives and folders come from the machine that runs this."""
    word = re.compile(r"https?://[\w.-]*\b(debian|pypi|github|crates)\b[\w.-]*"
                      r"|(?<![\w.\"}])/(root|home|work)/\w", re.I)
    tree.report([f"{name}: {match[0]}" for name, text in tree.text_files()
                 if name != "tests/lint/test_form.py"
                 for match in word.finditer(text)])
