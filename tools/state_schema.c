// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard state schema: what the files in docs/schema hold, so that a change
 * of a model's state shows in a review.
 */
#include <errno.h>

#include "report.h"
#include "state.h"
#include "state/schema.h"

static json_t *schema_of(const struct ob_models *models, const char *name,
			 struct ob_err *err)
{
	struct ob_schema_root roots[OB_PARTS_MAX];
	struct ob_part parts[OB_PARTS_MAX];
	unsigned count, i;

	if (ob_models_parts(models, name, parts, &count, err))
		return NULL;
	for (i = 0; i < count; i++)
		roots[i] = (struct ob_schema_root){
			parts[i].name, parts[i].table
		};
	return ob_schema_json(roots, count);
}

static json_t *schema_of_all(const struct ob_models *models,
			     struct ob_err *err)
{
	json_t *all = json_object(), *one;
	const char *name;
	size_t i;

	for (i = 0; (name = ob_models_name(models, i)); i++) {
		one = schema_of(models, name, err);
		if (json_object_set_new(all, name, one)) {
			json_decref(all);
			return NULL;
		}
	}
	return all;
}

int state_schema(const struct state_options *opts, struct ob_err *err)
{
	json_t *tree = opts->nr_words ?
		schema_of(opts->models, opts->words[0], err) :
		schema_of_all(opts->models, err);

	if (!tree && err->msg[0])
		return TOOL_FAILED;
	return report_print(stdout, tree, true, err) ? TOOL_FAILED : TOOL_OK;
}
