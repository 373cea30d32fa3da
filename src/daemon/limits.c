// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "daemon/limits.h"

#define KEEP_BYTES (4 << 20)

void ob_keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, KEEP_BYTES);
	mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
}

void ob_raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		ob_log(NULL, OB_LOG_WARN, "limit of open files stays: %s",
		       strerror(errno));
}
