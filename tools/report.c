// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <string.h>

#include "report.h"

static void print_value(FILE *f, json_t *value, int indent);

char *report_size(unsigned long long bytes, char buf[REPORT_SIZE_MAX])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	unsigned unit = 0;
	double value = (double)bytes;

	while (value >= 1024 && unit < 6) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, REPORT_SIZE_MAX,
		 value == (double)(unsigned long long)value ? "%.0f %s"
							    : "%.1f %s",
		 value, units[unit]);
	return buf;
}

static bool is_simple(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

static bool is_flat(json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
		if (!is_simple(value))
			return false;
	return true;
}

static void print_simple(FILE *f, const char *key, const json_t *value)
{
	char size[REPORT_SIZE_MAX];

	if (json_is_string(value))
		fputs(json_string_value(value), f);
	else if (json_is_integer(value) && key && !strcmp(key, "size"))
		fputs(report_size((unsigned long long)json_integer_value(value),
				  size), f);
	else if (json_is_integer(value))
		fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		fprintf(f, "%.2f", json_real_value(value));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "yes" : "no", f);
	else
		fputs("none", f);
}

/* Flags as Name+ Name-, other values as name=value, on the same line. */
static void print_flat(FILE *f, json_t *object)
{
	const char *key, *separator = "";
	json_t *value;

	json_object_foreach(object, key, value) {
		if (json_is_boolean(value)) {
			fprintf(f, "%s%s%c", separator, key,
				json_is_true(value) ? '+' : '-');
		} else {
			fprintf(f, "%s%s=", separator, key);
			print_simple(f, key, value);
		}
		separator = " ";
	}
	fputc('\n', f);
}

static void print_member(FILE *f, const char *key, json_t *value, int indent)
{
	fprintf(f, "%*s%s:", indent, "", key);
	if (is_simple(value)) {
		fputc(' ', f);
		print_simple(f, key, value);
		fputc('\n', f);
	} else if (json_is_object(value) && is_flat(value)) {
		fputc(' ', f);
		print_flat(f, value);
	} else {
		fputc('\n', f);
		print_value(f, value, indent + 2);
	}
}

/* The name and the simple members on the first line, the others below it. */
static void print_element(FILE *f, json_t *object, int indent)
{
	json_t *head = json_object(), *rest = json_object(), *value;
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *key;

	json_object_foreach(object, key, value)
		if (!name || strcmp(key, "name"))
			json_object_set(is_simple(value) ? head : rest, key,
					value);
	fprintf(f, "%*s%s%s", indent, "", name ? name : "", name ? ": " : "");
	print_flat(f, head);
	json_object_foreach(rest, key, value)
		print_member(f, key, value, indent + 4);
	json_decref(head);
	json_decref(rest);
}

static void print_value(FILE *f, json_t *value, int indent)
{
	const char *key;
	json_t *item;
	size_t i;

	if (json_is_object(value)) {
		json_object_foreach(value, key, item)
			print_member(f, key, item, indent);
	} else if (json_is_array(value)) {
		if (!json_array_size(value))
			fprintf(f, "%*snone\n", indent, "");
		json_array_foreach(value, i, item) {
			if (json_is_object(item))
				print_element(f, item, indent);
			else
				print_value(f, item, indent);
		}
	} else {
		fprintf(f, "%*s", indent, "");
		print_simple(f, NULL, value);
		fputc('\n', f);
	}
}

int report_print(FILE *f, json_t *tree, bool as_json, struct ob_err *err)
{
	int r = 0;

	if (!tree)
		return ob_fail(err, ENOMEM, "out of memory");
	if (as_json) {
		r = json_dumpf(tree, f, JSON_INDENT(2)) ? -EIO : 0;
		fputc('\n', f);
	} else {
		print_value(f, tree, 0);
	}
	json_decref(tree);
	if (fflush(f) || ferror(f) || r)
		return ob_fail(err, EIO, "cannot write the report");
	return 0;
}
