// SPDX-License-Identifier: BSD-3-Clause
/*
 * A structure as JSON.  Integers are integers, and from 2^63 on hexadecimal
 * text, since JSON's readers have no such numbers.  Bytes are hexadecimal text
 * that begins with 0x; text with zeros behind it is shown as text.
 */
#include "state/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "state/table_io.h"

json_t *ob_json_u64(uint64_t v)
{
	return v <= INT64_MAX ? json_integer((json_int_t)v) :
		json_sprintf("0x%" PRIx64, v);
}

bool ob_bytes_are_text(const uint8_t *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size && bytes[i]; i++)
		if (bytes[i] < ' ' || bytes[i] > '~')
			return false;
	return i > 0 && i < size && ob_all_zero(bytes + i, size - i) &&
	       !(bytes[0] == '0' && bytes[1] == 'x');
}

void ob_bytes_hex(const uint8_t *bytes, size_t size, char *text)
{
	size_t i;

	text += sprintf(text, "0x");
	for (i = 0; i < size; i++)
		text += sprintf(text, "%02x", bytes[i]);
}

static json_t *bytes_json(const struct ob_field *f, const void *base)
{
	const uint8_t *bytes = ob_element(f, base, 0);
	json_t *json = NULL;
	char *text;

	if (ob_bytes_are_text(bytes, f->count))
		return json_string((const char *)bytes);
	text = malloc(2 * (size_t)f->count + 3);
	if (text) {
		ob_bytes_hex(bytes, f->count, text);
		json = json_string(text);
	}
	free(text);
	return json;
}

static json_t *element_json(const struct ob_field *f, const void *base,
			    uint32_t i, bool all)
{
	const void *element = ob_element(f, base, i);

	if (f->type == OB_FIELD_STRUCT)
		return ob_table_json(f->sub, element, all);
	return ob_json_u64(ob_int_load(element, f->size));
}

static json_t *structs_json(const struct ob_field *f, const void *base, bool all)
{
	json_t *array = json_array(), *object, *element;
	uint32_t i;

	for (i = 0; i < f->count; i++) {
		if (!all && ob_element_is_default(f, ob_element(f, base, i)))
			continue;
		object = json_pack("{s:I}", "index", (json_int_t)i);
		element = element_json(f, base, i, all);
		json_object_update(object, element);
		json_decref(element);
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *field_json(const struct ob_field *f, const void *base, bool all)
{
	json_t *array;
	uint32_t i;

	if (f->type == OB_FIELD_BYTES)
		return bytes_json(f, base);
	if (f->count == 1)
		return element_json(f, base, 0, all);
	if (f->type == OB_FIELD_STRUCT)
		return structs_json(f, base, all);
	array = json_array();
	for (i = 0; i < f->count; i++)
		json_array_append_new(array, element_json(f, base, i, all));
	return array;
}

json_t *ob_table_json(const struct ob_table *table, const void *base, bool all)
{
	json_t *object = json_object();
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++) {
		if (f->type == OB_FIELD_RESERVED ||
		    (!all && ob_field_next(f, base, 0,
					   ob_field_default_is_zero(f)) == f->count))
			continue;
		json_object_set_new(object, f->name, field_json(f, base, all));
	}
	return object;
}
