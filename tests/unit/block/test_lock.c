// SPDX-License-Identifier: BSD-3-Clause
/* Locks, between drives of our own and against QEMU's programs. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"

static void start_with_image(struct rig *rig, void **state, char *spec,
			     size_t size)
{
	rig_start(rig, state);
	rig_make_image(rig, rig_disk(), MIB);
	snprintf(spec, size, "file:%s", rig->path);
}

static void two_drives_on_one_image_conflict(void **state)
{
	struct ob_drive *second;
	struct ob_err err;
	char spec[160];
	struct rig rig;

	start_with_image(&rig, state, spec, sizeof(spec));
	rig_open(&rig, spec, false);
	assert_non_null(strstr(rig_open_fails(&rig, spec, false, EBUSY),
			       ": in use by another drive of this server: "
			       "it holds a lock on \"write\""));
	assert_non_null(strstr(rig_open_fails(&rig, spec, true, EBUSY),
			       "it holds a lock on \"write\""));
	rig_close(&rig);

	rig_open(&rig, spec, true);
	assert_non_null(strstr(rig_open_fails(&rig, spec, false, EBUSY),
			       "it does not share \"write\""));
	assert_int_equal(ob_drive_open(rig.loop, spec, OB_DRIVE_READONLY,
				       &second, &err), 0);
	ob_drive_close(second);
	/* Closing one must not release the other's lock. */
	rig_open_fails(&rig, spec, false, EBUSY);
	rig_close(&rig);
	rig_open(&rig, spec, false);
	rig_stop(&rig);
}

/* Runs a shell command; its output, errors included, in out. */
static int run(char *out, size_t size, const char *fmt, const char *path)
{
	char command[1000];
	size_t n;
	FILE *pipe;

	snprintf(command, sizeof(command), fmt, path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	n = fread(out, 1, size - 1, pipe);
	out[n] = '\0';
	return pclose(pipe);
}

static bool have_qemu(void)
{
	char out[512];

	return !run(out, sizeof(out), "qemu-img --version 2>&1 %s", "") &&
	       !run(out, sizeof(out), "qemu-io --version 2>&1 %s", "");
}

static void refused(const char *fmt, const char *path, const char *complaint)
{
	char out[2048];

	assert_int_not_equal(run(out, sizeof(out), fmt, path), 0);
	if (!strstr(out, complaint))
		fail_msg("expected \"%s\" in: %s", complaint, out);
}

static void accepted(const char *fmt, const char *path)
{
	char out[2048];

	if (run(out, sizeof(out), fmt, path))
		fail_msg("%s", out);
}

/*
 * Of a raw image qemu-img info asks for nothing and is never refused, while
 * qemu-img convert insists that nobody writes to its source.
 */
#define QEMU_COPY_WITH(flag) \
	"qemu-img convert " flag " -f raw -O raw %1$s %1$s.copy 2>&1; " \
	"r=$?; rm -f %1$s.copy; exit $r"
#define QEMU_COPY QEMU_COPY_WITH("")
#define QEMU_WRITE "qemu-io -f raw -c 'write 0 4k' %s 2>&1"

static void qemu_refuses_an_image_in_use(void **state)
{
	char spec[160];
	struct rig rig;

	if (!have_qemu())
		skip();
	start_with_image(&rig, state, spec, sizeof(spec));
	accepted(QEMU_COPY, rig.path);

	rig_open(&rig, spec, false);
	refused(QEMU_COPY, rig.path, "Failed to get shared \"write\" lock");
	refused(QEMU_WRITE, rig.path, "Failed to get \"write\" lock");
	refused("qemu-img resize -f raw %s 2M 2>&1", rig.path,
		"Failed to get \"write\" lock");
	accepted(QEMU_COPY_WITH("-U"), rig.path);
	rig_close(&rig);

	rig_open(&rig, spec, true);
	accepted(QEMU_COPY, rig.path);
	refused(QEMU_WRITE, rig.path, "Failed to get \"write\" lock");
	rig_close(&rig);
	accepted(QEMU_WRITE, rig.path);
	rig_stop(&rig);
}

/* A disk whose drive was handed over is QEMU's to use, until it comes back. */
static void qemu_takes_a_released_image(void **state)
{
	char spec[160];
	struct rig rig;

	if (!have_qemu())
		skip();
	start_with_image(&rig, state, spec, sizeof(spec));
	rig_open(&rig, spec, false);
	refused(QEMU_WRITE, rig.path, "Failed to get \"write\" lock");
	assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
	accepted(QEMU_WRITE, rig.path);
	accepted(QEMU_COPY, rig.path);
	assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
	refused(QEMU_WRITE, rig.path, "Failed to get \"write\" lock");
	rig_stop(&rig);
}

/* qemu-io that has the image open and waits for its standard input. */
static pid_t start_qemu_io(const char *path, bool readonly, int *input)
{
	int in[2], out[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (!pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		execlp("qemu-io", "qemu-io", "-f", "raw", path,
		       readonly ? "-r" : (char *)NULL, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	/* The prompt comes when the image is open. */
	assert_int_equal(read(out[0], &c, 1), 1);
	close(out[0]);
	*input = in[1];
	return pid;
}

static void an_image_open_in_qemu_is_refused_with_its_pid(void **state)
{
	char spec[160], expected[300];
	struct ob_err err = { 0 };
	struct rig rig;
	pid_t pid;
	int input;

	if (!have_qemu())
		skip();
	start_with_image(&rig, state, spec, sizeof(spec));
	pid = start_qemu_io(rig.path, false, &input);
	snprintf(expected, sizeof(expected),
		 "%s: in use by pid %d (qemu-io): it holds a lock on \"write\"",
		 spec, (int)pid);
	assert_string_equal(rig_open_fails(&rig, spec, false, EBUSY),
			    expected);
	assert_string_equal(rig_open_fails(&rig, spec, true, EBUSY),
			    expected);

	/* The same for a drive that was opened before and asks now. */
	assert_int_equal(ob_drive_open(rig.loop, spec, OB_DRIVE_INCOMING,
				       &rig.drive, NULL), 0);
	assert_int_equal(ob_drive_acquire(rig.drive, &err), -EBUSY);
	assert_string_equal(err.msg, expected);
	close(input);
	waitpid(pid, NULL, 0);
	assert_int_equal(ob_drive_acquire(rig.drive, &err), 0);
	rig_close(&rig);

	/* Readers get along. */
	pid = start_qemu_io(rig.path, true, &input);
	rig_open(&rig, spec, true);
	close(input);
	waitpid(pid, NULL, 0);
	rig_stop(&rig);
}

/* A program that locks in its own way, and is no QEMU. */
static void a_plain_lock_on_the_whole_file_is_respected(void **state)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char spec[160];
	struct rig rig;
	int fd;

	start_with_image(&rig, state, spec, sizeof(spec));
	fd = open(rig.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	assert_non_null(strstr(rig_open_fails(&rig, spec, false, EBUSY),
			       "in use by another drive of this server: "
			       "it holds an exclusive lock on"));
	close(fd);
	rig_open(&rig, spec, false);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(two_drives_on_one_image_conflict),
		ON_BOTH_ENGINES(qemu_refuses_an_image_in_use),
		ON_BOTH_ENGINES(qemu_takes_a_released_image),
		ON_BOTH_ENGINES(an_image_open_in_qemu_is_refused_with_its_pid),
		ON_BOTH_ENGINES(a_plain_lock_on_the_whole_file_is_respected),
	};

	return cmocka_run_group_tests_name("block locks", tests, NULL, NULL);
}
