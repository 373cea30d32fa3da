# SPDX-License-Identifier: BSD-3-Clause
"""Every header compiles alone; the public ones in C++ too."""
import shutil
import subprocess

import pytest
import tree

FLAGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE",
         f"-I{tree.TOP}/include", f"-I{tree.TOP}/src"]


def compile_alone(compiler, language, header):
    """From a source that holds the one line, so that #pragma once and the
    like do not warn."""
    line = f'#include "{header}"\n#include "{header}"\n'
    made = subprocess.run([compiler, *language, *FLAGS, "-"], input=line, text=True,
                          capture_output=True, timeout=60)
    return made.stderr if made.returncode else ""


def check(compiler, language, headers):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    problems = [compile_alone(compiler, language, header) for header in headers]
    tree.report([problem for problem in problems if problem])


C = ["-x", "c", "-std=gnu11"]
CXX = ["-x", "c++", "-std=c++17"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_headers_compile_alone(compiler):
    check(compiler, C, tree.files(".h", under="include") + tree.files(".h", under="src"))


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_public_headers_compile_as_cxx(compiler):
    check(compiler, CXX, tree.files(".h", under="include"))
