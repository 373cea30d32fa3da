// SPDX-License-Identifier: BSD-3-Clause
#include "conduct_args.h"

#include <errno.h>
#include <string.h>

#include "conduct.h"

static int add(const char **list, unsigned *count, unsigned max,
	       const char *value, struct ob_err *err)
{
	if (*count == max)
		return ob_fail(err, EINVAL, "more than %u of them", max);
	list[(*count)++] = value;
	return 0;
}

static int set_qmp(struct conduct_params *p, enum conduct_side side,
		   const char *value)
{
	p->qmp[side] = value;
	return 0;
}

static int add_control(struct conduct_params *p, enum conduct_side side,
		       const char *value, struct ob_err *err)
{
	return add(p->controls[side], &p->nr_controls[side], CONDUCT_CONTROLS,
		   value, err);
}

int conduct_set_from_qmp(void *into, const char *value, struct ob_err *err)
{
	(void)err;
	return set_qmp(into, CONDUCT_FROM, value);
}

int conduct_set_to_qmp(void *into, const char *value, struct ob_err *err)
{
	(void)err;
	return set_qmp(into, CONDUCT_TO, value);
}

int conduct_set_from_control(void *into, const char *value, struct ob_err *err)
{
	return add_control(into, CONDUCT_FROM, value, err);
}

int conduct_set_to_control(void *into, const char *value, struct ob_err *err)
{
	return add_control(into, CONDUCT_TO, value, err);
}

int conduct_set_device(void *into, const char *value, struct ob_err *err)
{
	struct conduct_params *p = into;

	if (!strchr(value, '='))
		return ob_fail(err, EINVAL, "SOURCE=DESTINATION, not '%s'",
			       value);
	return add(p->pairs, &p->nr_pairs, CONDUCT_DEVICES, value, err);
}

int conduct_set_json(void *into, const char *value, struct ob_err *err)
{
	(void)value;
	(void)err;
	((struct conduct_params *)into)->json = true;
	return 0;
}
