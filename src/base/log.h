/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines go to standard error as "LEVEL who: text", one write each; with
 * the journal's <N> prefix when it reads us (JOURNAL_STREAM is set).
 * OB_LOG_GUEST lines share a token bucket per source, so that no peer can
 * flood the log; what was held back is counted and told.
 */
#ifndef OB_BASE_LOG_H
#define OB_BASE_LOG_H

#include <stdarg.h>
#include <stdint.h>

enum ob_log_level {
	OB_LOG_ERROR, OB_LOG_WARN, OB_LOG_INFO, OB_LOG_DEBUG, OB_LOG_GUEST
};

/* One per device; zeroed, then `who` set (borrowed). */
struct ob_log {
	const char *who;
	uint64_t refill_ns;
	uint32_t tokens, held_back;
};

/* Highest level that is printed; the default is OB_LOG_INFO. */
void ob_log_set_level(enum ob_log_level level);
/* "error" ... "debug"; -EINVAL. */
int ob_log_parse_level(const char *word, enum ob_log_level *level);

/* From now on a line that would wait for its reader is lost, and counted. */
void ob_log_never_wait(void);

/* log may be NULL: the program speaks. */
void ob_log(struct ob_log *log, enum ob_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void ob_vlog(struct ob_log *log, enum ob_log_level level, const char *fmt,
	     va_list ap);

#endif
