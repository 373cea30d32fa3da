# SPDX-License-Identifier: BSD-3-Clause
"""The page of `make bench`, from results that a run left: whole, and honest
about what is not there."""
import copy
import json
import re
import sys
import xml.etree.ElementTree as xml

import pytest
import tree

sys.path.insert(0, str(tree.TOP / "scripts"))

from benchlib import plot, report      # noqa: E402

RECORDED = json.loads((tree.TOP / "tests/bench/recorded.json").read_text())
PARTS = sorted({part for part, _, _ in report.ROWS} | {"depth"})


def page(results, folder):
    report.render(results, folder)
    return (folder / "REPORT.md").read_text()


def pictures_of(text):
    return re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)


def test_whole_page(tmp_path):
    text = page(RECORDED, tmp_path)
    assert report.ABSENT not in text
    for words in ("memcpy", "client alone", "`null:`, depth 32", "depth 1", "CPU at rest",
                  "io_uring", "both spin", "saturates", "dirty log", "keeper", "QEMU's own nvme",
                  "memory of each more device", *RECORDED["machine"].values()):
        assert words in text
    for row in re.findall(r"^\|.*", text, re.M):
        assert "nan" not in row and "None" not in row
    names = pictures_of(text)
    assert len(names) == 5
    for name in names:
        assert xml.parse(tmp_path / name).getroot().tag.endswith("svg")


def test_the_machines_part_of_a_register(tmp_path):
    results = copy.deepcopy(RECORDED)
    results["parts"]["registers"]["beside copies"] = [{"p50": 11.5, "p99": 123.5}] * 3
    assert "a message to a process that only copies" not in page(RECORDED, tmp_path)
    assert "123.5" in page(results, tmp_path)


@pytest.mark.parametrize("part", PARTS)
def test_missing_part_is_told(tmp_path, part):
    """Also when an earlier page had it: its pictures go."""
    page(RECORDED, tmp_path)
    results = copy.deepcopy(RECORDED)
    del results["parts"][part]
    text = page(results, tmp_path)
    assert f"part `{part}`" in text and report.ABSENT in text
    assert set(pictures_of(text)) == {path.name for path in tmp_path.glob("*.svg")}


def test_nothing_measured(tmp_path):
    text = page({}, tmp_path)
    assert text.count(report.ABSENT) >= len(report.ROWS)
    assert not pictures_of(text)


def test_without_fio(tmp_path):
    results = copy.deepcopy(RECORDED)
    results["parts"]["depth"]["fio"] = {depth: [] for depth in results["parts"]["depth"]["fio"]}
    text = page(results, tmp_path)
    assert "| `mem` | k/s |" in text and "| `fio` |" not in text


def test_targets_are_judged():
    """By the median of the ratios, at the border too."""
    assert report.at_least("", 0.9, [0.5, 0.9, 0.9]).met
    assert not report.at_least("", 0.9, [0.89, 0.89, 2]).met
    assert report.at_most("", 50, [49, 50, 900]).met
    assert not report.at_most("", 50, [1, 51, 52]).met
    slow = copy.deepcopy(RECORDED["parts"]["idle"])
    slow["null, adaptive"]["server_cpus"] = 0.01
    assert any(row.met is False for row in report.idle(slow) if "CPU at rest" in row.title)


@pytest.mark.parametrize("values", [{}, {"a": {1: 0}}, {"a": {1: 5, 256: 5e6}, "b": {8: 0.1}}])
def test_pictures_of_odd_values(values):
    for logarithmic in (False, True):
        xml.fromstring(plot.lines("t <&>", "u", values, logarithmic))
    xml.fromstring(plot.bars("t", "u", {name: max(line.values(), default=0)
                                        for name, line in values.items()}))
