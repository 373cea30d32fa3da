// SPDX-License-Identifier: BSD-3-Clause
/*
 * Single fields in memory.  Everything goes through memcpy by offset: tables
 * of a stranger describe structures that no compiler laid out.
 */
#include "state/field.h"

#include <stdio.h>

static size_t path_text(const struct ob_field_path *path, char *buf,
			size_t size)
{
	size_t len = path->up ? path_text(path->up, buf, size) : 0;
	int n;

	if (len >= size)
		return len;
	if (path->array)
		n = snprintf(buf + len, size - len, "%s%s[%llu]",
			     path->up ? "." : "", path->name,
			     (unsigned long long)path->index);
	else
		n = snprintf(buf + len, size - len, "%s%s",
			     path->up ? "." : "", path->name);
	return len + (size_t)n;
}

const char *ob_field_path(const struct ob_field_path *path, char *buf,
			  size_t size)
{
	path_text(path, buf, size);
	return buf;
}

uint64_t ob_int_load(const void *at, uint32_t size)
{
	uint64_t v8;
	uint32_t v4;
	uint16_t v2;

	switch (size) {
	case 1:
		return *(const uint8_t *)at;
	case 2:
		memcpy(&v2, at, sizeof(v2));
		return v2;
	case 4:
		memcpy(&v4, at, sizeof(v4));
		return v4;
	default:
		memcpy(&v8, at, sizeof(v8));
		return v8;
	}
}

void ob_int_store(void *at, uint64_t v, uint32_t size)
{
	uint32_t v4 = (uint32_t)v;
	uint16_t v2 = (uint16_t)v;

	switch (size) {
	case 1:
		*(uint8_t *)at = (uint8_t)v;
		break;
	case 2:
		memcpy(at, &v2, sizeof(v2));
		break;
	case 4:
		memcpy(at, &v4, sizeof(v4));
		break;
	default:
		memcpy(at, &v, sizeof(v));
	}
}

bool ob_int_fits(uint64_t v, uint32_t size)
{
	return size >= 8 || v >> (8 * size) == 0;
}

bool ob_all_zero(const void *at, size_t len)
{
	const uint8_t *bytes = at;

	return len == 0 || (bytes[0] == 0 && !memcmp(bytes, bytes + 1, len - 1));
}

static bool table_default_is_zero(const struct ob_table *table)
{
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if (!ob_field_default_is_zero(f))
			return false;
	return true;
}

bool ob_field_default_is_zero(const struct ob_field *f)
{
	return f->type == OB_FIELD_STRUCT ? table_default_is_zero(f->sub) :
		f->def == 0;
}

static bool struct_is_default(const struct ob_table *table, const void *base)
{
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if (f->type != OB_FIELD_RESERVED &&
		    ob_field_next(f, base, 0, false) < f->count)
			return false;
	return true;
}

bool ob_element_is_default(const struct ob_field *f, const void *element)
{
	if (f->type == OB_FIELD_STRUCT)
		return struct_is_default(f->sub, element);
	return ob_int_load(element, f->size) == f->def;
}

/*
 * Most of a device's state is zeros: they are passed over in steps as long as
 * a compare is fast.  A reserved byte that is not 0 only costs time.
 */
static uint32_t skip_zeros(const struct ob_field *f, const void *base,
			   uint32_t i)
{
	uint32_t step = 4096 / f->size ? 4096 / f->size : 1;

	while (i + step <= f->count &&
	       ob_all_zero(ob_element(f, base, i), (size_t)step * f->size))
		i += step;
	for (step = 64 / f->size; step && i + step <= f->count &&
	     ob_all_zero(ob_element(f, base, i), (size_t)step * f->size);)
		i += step;
	while (i < f->count && ob_all_zero(ob_element(f, base, i), f->size))
		i++;
	return i;
}

uint32_t ob_field_next(const struct ob_field *f, const void *base,
		       uint32_t i, bool zero)
{
	while (i < f->count) {
		if (zero)
			i = skip_zeros(f, base, i);
		if (i < f->count &&
		    !ob_element_is_default(f, ob_element(f, base, i)))
			break;
		if (i < f->count)
			i++;
	}
	return i;
}

void ob_element_set_default(const struct ob_field *f, void *element)
{
	const struct ob_field *sub;
	uint32_t i;

	if (f->type != OB_FIELD_STRUCT) {
		ob_int_store(element, f->def, f->size);
		return;
	}
	memset(element, 0, f->size);
	for (sub = f->sub->fields; sub->type != OB_FIELD_END; sub++)
		for (i = 0; !ob_field_default_is_zero(sub) && i < sub->count; i++)
			ob_element_set_default(sub, ob_element_mut(sub, element, i));
}

const struct ob_field *ob_field_by_tag(const struct ob_table *table,
				       uint64_t tag)
{
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if (f->type != OB_FIELD_RESERVED && f->tag == tag)
			return f;
	return NULL;
}

/*
 * Runs are joined where that is not longer than a new record, so one record
 * with the whole array is the worst case.
 */
uint64_t ob_table_worst(const struct ob_table *table)
{
	const struct ob_field *f;
	uint64_t sum = 0;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if (f->type == OB_FIELD_STRUCT)
			sum += f->count * (OB_STREAM_RECORD + ob_table_worst(f->sub));
		else if (f->type != OB_FIELD_RESERVED)
			sum += OB_STREAM_RECORD + (uint64_t)f->size * f->count;
	return sum;
}
