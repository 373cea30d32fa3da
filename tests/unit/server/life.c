// SPDX-License-Identifier: BSD-3-Clause
#include "life.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The model */

static struct life_shared *shared;	/* the same in every life */

static const struct ob_field rows[] = {
	OB_U64(1, struct life_state, sum, "0.1"),
	OB_U64(2, struct life_state, raised, "0.1"),
	OB_U64(3, struct life_state, work, "0.1"),
	OB_U64(4, struct life_state, send, "0.1"),
	OB_BYTES(5, struct life_state, scratch, "0.1"),
	OB_END
};

static const struct ob_table table = {
	"life", sizeof(struct life_state), rows
};

static const struct ob_field hot_rows[] = {
	OB_U64(1, struct life_hot, value, "0.1"),
	OB_END
};

static const struct ob_table hot_table = {
	"life_hot", sizeof(struct life_hot), hot_rows
};

static const struct ob_pci pci = {
	.vendor = 0x1b36, .device = 0x4321, .class_code = 0xff0000,
	.bars = {
		[0] = { .size = 0x4000, .nr_areas = 1,
			.areas = { { 0x1000, 0x1000 } } },
		[2] = { .size = 0x8000 },
	},
	.intx = true, .pm = true, .express = true,
	.msi_vectors = 4, .msix_vectors = 8,
	.msix_table_bar = 2, .msix_pba_bar = 2, .msix_pba_offset = 0x1000,
};

struct runtime {
	struct ob_device *dev;
	struct ob_deferred work;
	struct ob_dma_op op;
	struct ob_seg seg;
	bool busy;
	uint8_t bytes[8];
};

static void die_if(enum die where)
{
	if (shared->die != where)
		return;
	shared->die = DIE_NOT;
	kill(getpid(), SIGKILL);
}

static void note(char call)
{
	size_t len = strlen(shared->calls);

	if (len < sizeof(shared->calls) - 1)
		shared->calls[len] = call;
}

static void do_work(struct ob_deferred *deferred)
{
	struct runtime *rt = (struct runtime *)
		((char *)deferred - offsetof(struct runtime, work));
	struct life_state *st = ob_dev_state(rt->dev);

	if (!st->work || ob_dev_is_halted(rt->dev))
		return;
	ob_dev_enter(rt->dev);
	ob_dev_protect(rt->dev, NULL, 0);
	st->sum += st->work;
	if (shared->poison_work)
		kill(getpid(), SIGSEGV);
	die_if(DIE_IN_WORK);
	st->work = 0;
	ob_dev_commit(rt->dev);
	ob_dev_leave(rt->dev);
}

static void sent(struct ob_dma_op *op, int rc)
{
	struct runtime *rt = (struct runtime *)
		((char *)op - offsetof(struct runtime, op));
	struct life_state *st = ob_dev_state(rt->dev);

	rt->busy = false;
	if (rc == 0 || rc == -EFAULT)
		st->send = 0;
	shared->sent++;
}

static void begin(struct ob_device *dev)
{
	struct runtime *rt = ob_dev_runtime(dev);
	struct life_state *st = ob_dev_state(dev);
	int r;

	if (st->work)
		ob_defer(ob_dev_loop(dev), &rt->work);
	if (!st->send || rt->busy)
		return;
	memcpy(rt->bytes, "written!", 8);
	rt->seg = (struct ob_seg){ st->send, 8 };
	rt->op.done = sent;
	r = ob_dma_write(dev, &rt->seg, 1, rt->bytes, &rt->op);
	rt->busy = r == -EINPROGRESS;
	shared->send_rc = (unsigned)-r;
}

static int life_init(struct ob_device *dev, struct ob_pci *own,
		     struct ob_err *err)
{
	struct runtime *rt = ob_dev_runtime(dev);

	(void)own;
	(void)err;
	rt->dev = dev;
	rt->work.run = do_work;
	return 0;
}

static void life_finish(struct ob_device *dev)
{
	struct runtime *rt = ob_dev_runtime(dev);

	ob_defer_cancel(ob_dev_loop(dev), &rt->work);
}

static void life_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		      void *buf, size_t len)
{
	struct life_state *st = ob_dev_state(dev);
	struct life_hot *hot = ob_dev_hot(dev);

	memset(buf, 0, len);
	if (bar || len > 64)
		return;
	if (offset == LIFE_ADD)
		memcpy(buf, &st->sum, len);
	else if (offset == LIFE_HOT)
		memcpy(buf, &hot->value, len);
	else if (offset >= LIFE_SCRATCH && offset + len <= LIFE_SCRATCH + 64)
		memcpy(buf, st->scratch + offset - LIFE_SCRATCH, len);
	else if (offset >= 0x1000 && offset + len <= 0x2000)
		memcpy(buf, (uint8_t *)ob_dev_bar_memory(dev, 0) + offset, len);
}

static void write_register(struct ob_device *dev, uint64_t offset,
			   uint64_t value)
{
	struct life_state *st = ob_dev_state(dev);
	struct life_hot *hot = ob_dev_hot(dev);

	switch (offset) {
	case LIFE_ADD:
		die_if(DIE_BEFORE_WRITE);
		st->sum += value;
		die_if(DIE_AFTER_WRITE);
		break;
	case LIFE_RAISE:
		st->raised++;
		if (ob_irq_mode(dev) == OB_IRQ_INTX)
			ob_irq_level(dev, value);
		else
			ob_irq_raise(dev, (unsigned)value);
		die_if(DIE_AFTER_RAISE);
		break;
	case LIFE_POISON:
		st->sum += 1000;
		if (shared->poison)
			kill(getpid(), SIGKILL);
		break;
	case LIFE_HOT:
		hot->value = value;
		die_if(DIE_AFTER_WRITE);
		break;
	case LIFE_WORK:
		st->work = value;
		begin(dev);
		break;
	case LIFE_SEND:
		st->send = value;
		begin(dev);
		break;
	}
}

static void life_write(struct ob_device *dev, unsigned bar, uint64_t offset,
		       const void *buf, size_t len)
{
	struct life_state *st = ob_dev_state(dev);
	uint64_t value = 0;

	if (bar)
		return;
	if (offset >= LIFE_SCRATCH && offset + len <= LIFE_SCRATCH + 64) {
		memcpy(st->scratch + offset - LIFE_SCRATCH, buf, len);
		return;
	}
	memcpy(&value, buf, len < 8 ? len : 8);
	write_register(dev, offset, value);
}

static bool life_is_hot(struct ob_device *dev, unsigned bar, uint64_t offset,
			bool write)
{
	(void)dev;
	(void)write;
	return bar == 0 && offset == LIFE_HOT;
}

static void life_reset(struct ob_device *dev, enum ob_reset kind)
{
	struct runtime *rt = ob_dev_runtime(dev);
	struct life_hot *hot = ob_dev_hot(dev);

	/* No more than it has to: what is untouched is as it should be. */
	if (hot->value)
		ob_dev_protect(dev, hot, sizeof(*hot));
	memset(ob_dev_state(dev), 0, sizeof(struct life_state));
	hot->value = 0;
	rt->busy = false;
	if (kind != OB_RESET_INIT)
		die_if(DIE_IN_RESET);
}

static void life_memory_changed(struct ob_device *dev)
{
	(void)dev;
	die_if(DIE_IN_MEMORY_CHANGED);
}

static void life_run(struct ob_device *dev)
{
	assert_false(ob_dev_is_halted(dev));
	shared->runs++;
	note('r');
	begin(dev);
}

static void life_halt(struct ob_device *dev)
{
	(void)dev;
	shared->halts++;
	note('h');
	die_if(DIE_IN_HALT);
}

static int life_check(struct ob_device *dev, const void *plain,
		      const void *hot, struct ob_err *err)
{
	(void)dev;
	(void)err;
	note('c');
	if (shared->poison_taking)
		kill(getpid(), shared->poison_taking == TAKING_CRASHES ?
		     SIGSEGV : SIGKILL);
	return plain && hot ? 0 : -EINVAL;
}

static void life_loaded(struct ob_device *dev)
{
	assert_true(ob_dev_is_halted(dev));
	die_if(DIE_IN_LOADED);
	ob_dev_protect(dev, ob_dev_hot(dev), sizeof(struct life_hot));
	note('l');
}

const struct ob_device_class life_class = {
	.size = sizeof(struct ob_device_class), .abi = OB_DEVICE_ABI,
	.name = "life", .summary = "a device that dies", .pci = &pci,
	.state = &table, .hot = &hot_table,
	.runtime_size = sizeof(struct runtime),
	.init = life_init, .finish = life_finish,
	.region_read = life_read, .region_write = life_write,
	.is_hot = life_is_hot, .reset = life_reset,
	.memory_changed = life_memory_changed,
	.run = life_run, .halt = life_halt,
	.check = life_check, .loaded = life_loaded,
};

/* A life */

static void keeper_called(void)
{
	if (shared->die_at_call && --shared->die_at_call == 0)
		kill(getpid(), SIGKILL);
}

static void over(void *arg)
{
	bool *is_over = arg;

	*is_over = true;
}

static struct ob_loop *make_loop(struct life *life)
{
	struct ob_loop_params params = {
		.engine = getenv("OB_TEST_POOL") ? OB_LOOP_POOL : OB_LOOP_AUTO,
	};
	struct ob_err err = { "" };
	struct ob_loop *loop;

	if (ob_loop_create_on(&params, &life->rings[life->nr], &loop, &err)) {
		fprintf(stderr, "loop: %s\n", err.msg);
		_exit(3);
	}
	ob_loop_set_keep(loop, &life->keep.keep);
	return loop;
}

struct ob_options *life_options(const struct life *life)
{
	const struct ob_option *const tables[] = {
		ob_device_common_options, life->cls->options, NULL
	};
	struct ob_options *opts;
	char text[256];

	snprintf(text, sizeof(text), "%s,id=dev,socket=%s%s", life->cls->name,
		 life->path, life->options ? life->options : "");
	assert_int_equal(ob_options_parse(text, tables, &opts, NULL), 0);
	return opts;
}

static struct ob_device *make_device(struct life *life, struct ob_loop *loop,
				     const struct ob_past *past)
{
	struct ob_device *dev;
	struct ob_err err = { "" };

	if (life->born)
		life->born();
	if (ob_device_prepare(life->cls, life_options(life), &dev, &err) ||
	    rig_begin(&dev, loop, past, &err) ||
	    ob_device_listen(dev, &err)) {
		fprintf(stderr, "life %u: %s\n", life->nr, err.msg);
		_exit(3);
	}
	return dev;
}

static _Noreturn void live(struct life *life)
{
	const struct ob_old_rings *const *rings;
	struct ob_old_rings *old[LIVES];
	struct ob_loop *loop = make_loop(life);
	struct ob_device *dev;
	bool is_over[LIVES] = { false };
	unsigned i, n = life->nr, left = n;
	struct ob_past past = { .signal = life->signal, .generation = n + 1,
				.last_try = life->last_try };

	for (i = 0; i < n; i++)
		if (ob_old_rings_open(loop, &life->rings[i], over, &is_over[i],
				      &old[i], NULL))
			_exit(4);
	rings = (const struct ob_old_rings *const *)old;
	past.rings = rings;
	past.nr_rings = n;
	dev = make_device(life, loop, &past);
	for (;;) {
		for (left = 0, i = 0; i < n; i++)
			left += !is_over[i];
		if (n && !left && !life->hold_rings) {
			ob_device_old_rings_over(dev);
			n = 0;
		}
		if (ob_loop_turn(loop, true))
			_exit(5);
		if (life->shared->copy && ob_device_copy(dev, NULL))
			_exit(6);
		life->shared->copy = false;
	}
}

void life_comes(struct life *life, unsigned place, int fd)
{
	char name[40];

	snprintf(name, sizeof(name), "dev/listen/new/%u", place);
	assert_int_equal(fake_keep_enter(&life->keep, name, fd), 0);
}

void life_begin(struct life *life)
{
	unsigned n = life->nr;

	fake_keep_drain(&life->keep, life->told);
	if (life->peer >= 0)
		life_comes(life, 0, life->peer);
	life->peer = -1;
	assert_true(n < LIVES);
	if (getenv("OB_TEST_POOL") || ob_rings_create(n + 1, &life->rings[n]))
		life->rings[n] = (struct ob_rings){ -1, -1, -1, n + 1, 0 };
	fflush(stdout);
	life->pid = fork();
	assert_true(life->pid >= 0);
	if (life->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGSEGV, SIG_DFL);	/* cmocka's would go on */
		life->keep.channel = life->given;
		life->keep.called = keeper_called;
		close(life->told);
		if (life->client >= 0)
			close(life->client);
		live(life);
	}
	life->nr++;
}

static void reap(struct life *life)
{
	int status;

	assert_int_equal(waitpid(life->pid, &status, 0), life->pid);
	if (WIFEXITED(status))
		fail_msg("life %u exited with %d", life->nr,
			 WEXITSTATUS(status));
	life->signal = WTERMSIG(status);
	life->pid = 0;
	fake_keep_drain(&life->keep, life->told);
}

/*
 * Without io_uring it is in doubt whether the call happened in which a worker died
 * (sure.h), so there it is killed while it waits.
 */
static void let_it_rest(const struct life *life)
{
	char path[64], text[256], *state;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)life->pid);
	do {
		f = fopen(path, "re");
		assert_non_null(f);
		assert_non_null(fgets(text, sizeof(text), f));
		fclose(f);
		state = strrchr(text, ')');
	} while (state[2] == 'R' && poll(NULL, 0, 1) == 0);
}

static void end_by(struct life *life, int signal)
{
	if (getenv("OB_TEST_POOL"))
		let_it_rest(life);
	kill(life->pid, signal);
	reap(life);
	assert_int_equal(life->signal, signal);
}

void life_kill(struct life *life)
{
	end_by(life, SIGKILL);
}

void life_crash(struct life *life)
{
	end_by(life, SIGSEGV);
}

bool life_is_dead(const struct life *life)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)life->pid, &info,
		      WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
}

bool life_is_up(struct life *life)
{
	struct pollfd p = { .fd = life->client, .events = POLLIN };

	while (poll(&p, 1, 1) == 0)
		if (life_is_dead(life))
			return false;
	return true;
}

bool life_goes_on(struct life *life)
{
	bool up = life_is_up(life);

	if (!up)
		life_wait(life);
	life->shared->die_at_call = 0;
	if (!up)
		life_begin(life);
	return up;
}

void life_judge(struct life *life)
{
	int status;

	usleep(20000);
	kill(life->pid, SIGKILL);
	assert_int_equal(waitpid(life->pid, &status, 0), life->pid);
	life->pid = 0;
	fake_keep_drain(&life->keep, life->told);
	if (WIFEXITED(status))
		assert_int_equal(WEXITSTATUS(status), 3);
	else
		assert_int_equal(WTERMSIG(status), SIGKILL);
}

void life_wait(struct life *life)
{
	reap(life);
}

void life_again(struct life *life)
{
	life_kill(life);
	life_begin(life);
}

void life_connect(struct life *life)
{
	struct timeval patience = { .tv_sec = 20 };
	int pair[2];

	if (life->client >= 0)
		close(life->client);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	life->client = pair[0];
	life->peer = pair[1];
	life->rig.fd = pair[0];
}

struct life *life_start(const struct ob_device_class *cls)
{
	struct life *life = calloc(1, sizeof(*life));
	int pair[2];

	assert_non_null(life);
	life->cls = cls;
	life->client = life->peer = -1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    pair), 0);
	life->told = pair[0];
	life->given = pair[1];
	fake_keep_init(&life->keep, -1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	life->shared = shared;
	strcpy(life->dir, "/tmp/ob-life-XXXXXX");
	assert_non_null(mkdtemp(life->dir));
	snprintf(life->path, sizeof(life->path), "%s/s", life->dir);
	life->rig.is_alien = true;
	life->rig.reply = malloc(REPLY_MAX);
	assert_non_null(life->rig.reply);
	life_connect(life);
	return life;
}

struct life *life_served(void)
{
	struct life *life = life_start(&life_class);

	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	return life;
}

uint64_t life_get(struct life *life, uint64_t offset)
{
	uint64_t value = 0;

	assert_int_equal(rig_read(&life->rig, 0, offset, &value, 8), 0);
	return value;
}

int life_put(struct life *life, uint64_t offset, uint64_t value)
{
	return rig_write(&life->rig, 0, offset, &value, 8);
}

void life_end(struct life *life)
{
	if (life->pid)
		life_kill(life);
	for (unsigned i = 0; i < life->nr; i++)
		ob_rings_close(&life->rings[i]);
	fake_keep_finish(&life->keep);
	close(life->told);
	close(life->given);
	close(life->client);
	while (life->rig.nr_fds)
		close(life->rig.fds[--life->rig.nr_fds]);
	unlink(life->path);
	rmdir(life->dir);
	munmap(life->shared, sizeof(*life->shared));
	free(life->rig.reply);
	free(life);
}
