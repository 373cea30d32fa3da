// SPDX-License-Identifier: BSD-3-Clause
/*
 * fault:RULE:DRIVE fails chosen requests before the inner drive sees anything
 * of them.
 *
 *	RULE   = TERM { "+" TERM }
 *	TERM   = OP "=" ERROR [ "@" START "-" END ] [ "/" N ] [ "%" PERCENT ]
 *	OP     = read | write | flush | discard | zeroes | all
 *	ERROR  = EIO | ENOSPC | EROFS | EINVAL | EOPNOTSUPP | ECANCELED
 *
 * A term applies to requests of its operation that touch a byte of START up
 * to but not including END; of these to every Nth; of these to PERCENT in a
 * hundred, drawn from a generator with a fixed seed, so that a run can be
 * repeated.  The first term that applies decides.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/option.h>

#include "block/wrap.h"

#define MAX_TERMS 16
#define MAX_TERM_LEN 127

struct fault_term {
	unsigned ops;			/* bit per enum ob_block_op */
	int error;
	uint64_t start, end;
	uint32_t every, percent;
	uint32_t seen;
};

struct fault_drive {
	struct ob_drive drive;
	uint64_t seed;
	unsigned nr_terms;
	struct fault_term terms[MAX_TERMS];
};

struct fault_word {
	const char *word;
	int value;
};

static const struct fault_word ops[] = {
	{ "read", 1 << OB_BLOCK_READ },
	{ "write", 1 << OB_BLOCK_WRITE },
	{ "flush", 1 << OB_BLOCK_FLUSH },
	{ "discard", 1 << OB_BLOCK_DISCARD },
	{ "zeroes", 1 << OB_BLOCK_WRITE_ZEROES },
	{ "all", ~0 },
	{ NULL, 0 },
};

static const struct fault_word errors[] = {
	{ "EIO", EIO }, { "ENOSPC", ENOSPC }, { "EROFS", EROFS },
	{ "EINVAL", EINVAL }, { "EOPNOTSUPP", EOPNOTSUPP },
	{ "ECANCELED", ECANCELED }, { NULL, 0 },
};

/* What is wrong with a term; NULL when nothing is. */
typedef const char *complaint;

static complaint parse_word(const struct fault_word *known, const char *word,
			    int *value, complaint what)
{
	for (; known->word; known++) {
		if (!strcmp(known->word, word)) {
			*value = known->value;
			return NULL;
		}
	}
	return what;
}

static complaint parse_number(const char *text, uint32_t max, uint32_t *out,
			      complaint what)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || !n || n > max)
		return what;
	*out = n;
	return NULL;
}

static complaint parse_range(char *text, struct fault_term *term)
{
	static const char what[] = "a range is @START-END, sizes with START below END";
	char *dash = strchr(text, '-');

	if (!dash)
		return what;
	*dash = '\0';
	if (ob_parse_size(text, &term->start, NULL) ||
	    ob_parse_size(dash + 1, &term->end, NULL) ||
	    term->start >= term->end)
		return what;
	return NULL;
}

/* Cuts text at mark; what follows is the result, NULL when there is none. */
static char *cut(char *text, char mark)
{
	char *at = strchr(text, mark);

	if (at)
		*at++ = '\0';
	return at;
}

static complaint parse_term(char *text, struct fault_term *term)
{
	char *percent = cut(text, '%'), *every = cut(text, '/');
	char *range = cut(text, '@'), *error = cut(text, '=');
	int mask = 0;
	complaint bad;

	*term = (struct fault_term){ .end = UINT64_MAX, .every = 1,
				     .percent = 100 };
	if (!error)
		return "expected OP=ERROR";
	if ((bad = parse_word(ops, text, &mask,
			      "the operation is none of read, write, flush, "
			      "discard, zeroes, all")) ||
	    (bad = parse_word(errors, error, &term->error,
			      "the error is none of EIO, ENOSPC, EROFS, "
			      "EINVAL, EOPNOTSUPP, ECANCELED")) ||
	    (range && (bad = parse_range(range, term))) ||
	    (every && (bad = parse_number(every, UINT32_MAX, &term->every,
					  "/N takes a number from 1"))) ||
	    (percent && (bad = parse_number(percent, 100, &term->percent,
					    "%P takes a number from 1 to 100"))))
		return bad;
	term->ops = mask;
	return NULL;
}

static int add_term(struct fault_drive *fault, const char *text, size_t len,
		    struct ob_err *err)
{
	char copy[MAX_TERM_LEN + 1];
	complaint bad = NULL;

	if (fault->nr_terms == MAX_TERMS)
		bad = "too many terms";
	else if (len > MAX_TERM_LEN)
		bad = "too long";
	if (!bad) {
		memcpy(copy, text, len);
		copy[len] = '\0';
		bad = parse_term(copy, &fault->terms[fault->nr_terms]);
	}
	if (bad)
		return ob_drive_fail(&fault->drive, err, EINVAL,
				     "bad rule \"%.*s\": %s",
				     len > 40 ? 40 : (int)len, text, bad);
	fault->nr_terms++;
	return 0;
}

static int parse_rule(struct fault_drive *fault, const char *rule, size_t len,
		      struct ob_err *err)
{
	const char *end = rule + len, *plus;
	int r;

	for (;; rule = plus + 1) {
		plus = memchr(rule, '+', end - rule);
		r = add_term(fault, rule, (plus ? plus : end) - rule, err);
		if (r || !plus)
			return r;
	}
}

static int fault_open(struct ob_drive *drive, const char *arg, unsigned flags,
		      struct ob_err *err)
{
	struct fault_drive *fault = (struct fault_drive *)drive;
	size_t len;
	int r;

	fault->seed = 0x9e3779b97f4a7c15;
	if ((r = ob_wrap_split(drive, arg, &len, err)) ||
	    (r = parse_rule(fault, arg, len, err)))
		return r;
	return ob_wrap_open(drive, arg + len + 1, flags, 0, err);
}

/* xorshift64 (Marsaglia, 2003). */
static uint64_t draw(struct fault_drive *fault)
{
	uint64_t x = fault->seed;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return fault->seed = x;
}

static bool touches(const struct fault_term *term,
		    const struct ob_block_request *req)
{
	if (req->op == OB_BLOCK_FLUSH)
		return true;
	return req->offset < term->end &&
	       req->offset + req->length > term->start;
}

static bool applies(struct fault_drive *fault, struct fault_term *term,
		    const struct ob_block_request *req)
{
	if (!(term->ops & 1u << req->op) || !touches(term, req))
		return false;
	if (++term->seen < term->every)
		return false;
	term->seen = 0;
	return term->percent == 100 || draw(fault) % 100 < term->percent;
}

static void fault_submit(struct ob_drive *drive, struct ob_block_request *req)
{
	struct fault_drive *fault = (struct fault_drive *)drive;
	struct ob_wrap_request *part = (struct ob_wrap_request *)req->priv;

	for (unsigned i = 0; i < fault->nr_terms; i++) {
		if (applies(fault, &fault->terms[i], req)) {
			ob_drive_done(drive, req, -fault->terms[i].error);
			return;
		}
	}
	ob_wrap_pass(drive, part, req);
}

static void fault_cancel(struct ob_drive *drive, struct ob_block_request *req)
{
	struct ob_wrap_request *part = (struct ob_wrap_request *)req->priv;

	/* What a rule failed is done already and never gets here. */
	ob_drive_cancel(drive->inner, &part->inner);
}

const struct ob_drive_type ob_drive_fault = {
	.size = sizeof(struct ob_drive_type),
	.abi = OB_DRIVE_ABI,
	.name = "fault",
	.syntax = "fault:RULE:DRIVE",
	.summary = "fails the requests that a rule describes",
	.instance_size = sizeof(struct fault_drive),
	.open = fault_open,
	.close = ob_wrap_close,
	.submit = fault_submit,
	.cancel = fault_cancel,
	.refresh = ob_wrap_refresh,
};
