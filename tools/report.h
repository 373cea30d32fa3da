/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One tree, two forms: a tool builds its result as JSON and prints it as that
 * or as indented text for people.
 */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include <outboard/error.h>

/*
 * Prints and releases the tree.  In text, booleans are Name+ or Name-, an
 * object of simple values takes one line, "size" is told in KiB and so on,
 * and an element of a list is headed by its name and simple members.  0 or -errno.
 */
int report_print(FILE *f, json_t *tree, bool as_json, struct ob_err *err);

/* "16 KiB": exact, or with one digit after the point.  Returns buf. */
#define REPORT_SIZE_MAX 32
char *report_size(unsigned long long bytes, char buf[REPORT_SIZE_MAX]);

#endif
