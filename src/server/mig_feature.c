// SPDX-License-Identifier: BSD-3-Clause
/*
 * Migration's rows of DEVICE_FEATURE.  Every model can be moved, so all
 * states are offered by every device.  The answer to SET is the request again,
 * as the protocol wants it.
 */
#include <errno.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/feature.h"
#include "server/session.h"

static int get_migration(struct ob_session *s, const struct ob_feature *ask,
			 struct ob_reader *rd)
{
	(void)ask;
	(void)rd;
	return ob_put_u64(&s->reply.wr, OB_MIG_STOP_COPY | OB_MIG_P2P |
			  OB_MIG_PRE_COPY);
}

static int get_state(struct ob_session *s, const struct ob_feature *ask,
		     struct ob_reader *rd)
{
	struct ob_mig_device_state answer = { s->dev->mig.state, -1 };

	(void)ask;
	(void)rd;
	return ob_put_mig_device_state(&s->reply.wr, &answer);
}

static int set_state(struct ob_session *s, const struct ob_feature *ask,
		     struct ob_reader *rd)
{
	struct ob_mig_device_state want;
	int r = ob_get_mig_device_state(rd, &want);

	(void)ask;
	if (r)
		return ob_fail(&s->err, EINVAL, "the request is too short");
	r = ob_put_mig_device_state(&s->reply.wr, &want);
	return r ? r : ob_mig_request(s->dev, OB_MIG_CLIENT, want.state,
				      &s->err);
}

static int get_size(struct ob_session *s, const struct ob_feature *ask,
		    struct ob_reader *rd)
{
	(void)ask;
	(void)rd;
	return ob_put_u64(&s->reply.wr, ob_mig_save_size(s->dev));
}

static bool precopy_agreed(const struct ob_session *s)
{
	return s->caps.precopy_info;
}

static int get_precopy(struct ob_session *s, const struct ob_feature *ask,
		       struct ob_reader *rd)
{
	enum ob_mig_state state = s->dev->mig.state;
	struct ob_precopy_info info;
	int r = ob_mig_claim(s->dev, OB_MIG_CLIENT, &s->err);

	(void)ask;
	(void)rd;
	if (r)
		return r;
	if (state != OB_MIG_PRECOPY && state != OB_MIG_PRECOPY_P2P)
		return ob_fail(&s->err, EINVAL, "the state is %s",
			       ob_mig_state_name(state));
	if (s->dev->mig.broken)
		return ob_fail(&s->err, EIO, "the stream has ended with its process");
	ob_mig_precopy_info(s->dev, &info.initial_bytes, &info.dirty_bytes);
	return ob_put_precopy_info(&s->reply.wr, &info);
}

static bool text_agreed(const struct ob_session *s)
{
	return s->caps.error_text;
}

static int get_text(struct ob_session *s, const struct ob_feature *ask,
		    struct ob_reader *rd)
{
	char text[OB_ERROR_TEXT_SIZE] = { 0 };

	_Static_assert(sizeof(s->why.msg) <= sizeof(text), "it fits");
	(void)ask;
	(void)rd;
	memcpy(text, s->why.msg, strnlen(s->why.msg, sizeof(s->why.msg) - 1));
	return ob_put_bytes(&s->reply.wr, text, sizeof(text));
}

const struct ob_feature_row ob_feature_migration = {
	OB_FEATURE_MIGRATION, "MIGRATION", NULL, get_migration, NULL
};
const struct ob_feature_row ob_feature_mig_state = {
	OB_FEATURE_MIG_DEVICE_STATE, "MIG_DEVICE_STATE", NULL,
	get_state, set_state
};
const struct ob_feature_row ob_feature_mig_size = {
	OB_FEATURE_MIG_DATA_SIZE, "MIG_DATA_SIZE", NULL, get_size, NULL
};
const struct ob_feature_row ob_feature_precopy_info = {
	OB_FEATURE_PRECOPY_INFO, "PRECOPY_INFO", precopy_agreed,
	get_precopy, NULL
};
const struct ob_feature_row ob_feature_error_text = {
	OB_FEATURE_ERROR_TEXT, "ERROR_TEXT", text_agreed, get_text, NULL
};
