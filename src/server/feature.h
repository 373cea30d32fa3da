/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_FEATURE: what a feature is to the dispatcher; rows in their files. */
#ifndef OB_SERVER_FEATURE_H
#define OB_SERVER_FEATURE_H

#include "proto/proto.h"

struct ob_session;

/*
 * rd holds the request's data: too little is -EINVAL, more is ignored.  The
 * data of the answer is appended to s->reply (wr; bulk or more for what is
 * large).
 * ask->argsz bounds the whole answer: a handler that takes something away
 * looks first whether its answer fits; it is not called at all when nobody
 * wants to hear it.  -EINPROGRESS: answered later, see
 * is_held in session.h.
 */
typedef int (*ob_feature_fn)(struct ob_session *s,
			     const struct ob_feature *ask,
			     struct ob_reader *rd);

struct ob_feature_row {
	uint16_t number;		/* enum ob_feature_number */
	const char *name;
	bool (*offered)(const struct ob_session *s);	/* NULL: always */
	ob_feature_fn get, set;		/* NULL: cannot be done */
};

/* mig_feature.c */
extern const struct ob_feature_row ob_feature_migration, ob_feature_mig_state,
	ob_feature_mig_size, ob_feature_precopy_info, ob_feature_error_text;
/* dirty_feature.c */
extern const struct ob_feature_row ob_feature_log_start, ob_feature_log_stop,
	ob_feature_log_report;

#endif
