# SPDX-License-Identifier: BSD-3-Clause
"""What scripts/bench is made of: harness (processes, CPUs, rounds), parts
(what each part does and prints), table (the parts of the table of targets),
guest (a Linux guest with fio), report and plot (the page and its pictures)."""
