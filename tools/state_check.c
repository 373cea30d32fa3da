// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard state check: would it load?  Without a device the stream is judged
 * by itself: whole, in order, of a model that is known here, every value in
 * its bounds.  With one the model has its say, too, and the drives' sizes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "state.h"
#include "state_load.h"

/* What of memory does not travel: judged by its writer's own bounds. */
static int check_section(const struct ob_old_state *old, enum ob_section which,
			 struct ob_err *err)
{
	const struct ob_table *table = ob_schema_find(ob_old_state_schema(old),
						      ob_state_section_name(which));
	void *base = table ? calloc(1, table->size) : NULL;
	int r = table && !base ? ob_fail(err, ENOMEM, "out of memory") :
		ob_old_state_read(old, which, table, base, err);

	free(base);
	return r;
}

static int check_memory(struct state_source *src, struct ob_err *err)
{
	const struct ob_old_state *old = state_source_memory(src);
	int r = old ? check_section(old, OB_SECTION_DMA, err) : 0;

	if (old && !r)
		r = check_section(old, OB_SECTION_SESSION, err);
	if (r)
		ob_err_prefix(err, "%.80s", state_source_name(src));
	return r;
}

static int check_alone(const struct state_options *opts,
		       struct state_source *src, struct ob_err *err)
{
	struct state_load load = { .models = opts->models };
	int r = state_load_read(&load, src, err);

	if (!r)
		printf("%s: a device of the model %s would go on with it\n",
		       state_source_name(src), load.model);
	state_load_finish(&load);
	return r ? TOOL_FAILED : TOOL_OK;
}

static int check_device(const struct state_options *opts,
			struct state_source *src, struct ob_err *err)
{
	bool usage = false;
	int r = ob_models_check(opts->models, opts->device, state_source_read,
				src, &usage, err);

	if (r && !usage)
		ob_err_prefix(err, "%.80s", state_source_name(src));
	if (r)
		return usage ? TOOL_USAGE : TOOL_FAILED;
	printf("%s: this device would go on with it\n", state_source_name(src));
	return TOOL_OK;
}

int state_check(const struct state_options *opts, struct ob_err *err)
{
	struct state_source *src;
	int r = state_source_open(opts->words[0], opts->models, &src, err);

	if (r)
		return TOOL_FAILED;
	if (check_memory(src, err))
		r = TOOL_FAILED;
	else
		r = opts->device ? check_device(opts, src, err)
				 : check_alone(opts, src, err);
	state_source_close(src);
	return r;
}
