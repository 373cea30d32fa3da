// SPDX-License-Identifier: BSD-3-Clause
/* inspect, bench, bench-mmio and bench-move as a user runs them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <jansson.h>

#include "devices/models.h"
#include "forked.h"

static const char *command;
static char out[1 << 16];

/* Runs `outboard <args>` on the server's socket; the exit status. */
static int run(const char *verb, const struct forked *server, const char *args)
{
	char line[512];
	size_t len;
	FILE *f;

	snprintf(line, sizeof(line), "%s %s %s %s 2>&1", command, verb,
		 server->path, args);
	f = popen(line, "r");
	assert_non_null(f);
	len = fread(out, 1, sizeof(out) - 1, f);
	out[len] = 0;
	return WEXITSTATUS(pclose(f));
}

static void says(const char *words)
{
	if (!strstr(out, words))
		fail_msg("no '%s' in:\n%s", words, out);
}

static json_t *parse(void)
{
	json_t *tree = json_loads(out, 0, NULL);

	if (!tree)
		fail_msg("no JSON:\n%s", out);
	return tree;
}

static json_int_t number(json_t *tree, const char *a, const char *b)
{
	return json_integer_value(json_object_get(json_object_get(tree, a),
						  b));
}

static double real(json_t *tree, const char *a, const char *b)
{
	return json_number_value(json_object_get(json_object_get(tree, a), b));
}

static void inspect(void **state)
{
	struct ob_client *client;
	struct forked server;
	json_t *tree;

	(void)state;
	forked_start(&server, &ob_nvme_class, "nvme,drive=mem:1M");
	assert_int_equal(run("inspect", &server, ""), 0);
	says("NVM Express controller");
	says("BAR0: index=0 size=16 KiB");
	says("MSI-X");
	says("PCI Express");
	says("migration: state=RUNNING size=");
	assert_int_equal(run("inspect", &server, "--json"), 0);
	tree = parse();
	/* Its content, and its registers beside it. */
	assert_true(number(tree, "migration", "size") > 1 << 20);
	assert_true(json_array_size(json_object_get(tree, "interrupts")) > 2);
	json_decref(tree);

	assert_int_equal(run("inspect", &server, ">/dev/full"), 1);
	assert_int_equal(run("inspect", &server, "--json >/dev/full"), 1);

	/* It refuses clearly, and whoever is there does not notice. */
	client = forked_connect(&server, NULL);
	assert_int_equal(run("inspect", &server, ""), 1);
	says("another client");
	assert_int_equal(ob_client_reset(client, NULL), 0);
	ob_client_destroy(client);
	forked_stop(&server);
	assert_int_equal(run("inspect", &server, ""), 1);
	says("No such file");
	assert_int_equal(run("inspect", &server, "--nonsense"), 2);
	assert_int_equal(run("inspect", &server, "another"), 2);
}

static void good_disk(void **state)
{
	struct forked server;
	json_t *tree;

	(void)state;
	forked_start(&server, &ob_nvme_class, "nvme,drive=mem:4M");
	assert_int_equal(run("bench", &server, "--rw randrw --verify "
			     "--time 0.3 --qd 4 --json"), 0);
	tree = parse();
	assert_true(number(tree, "read", "ios") > 0);
	assert_true(number(tree, "write", "ios") > 0);
	assert_int_equal(number(tree, "write", "errors"), 0);
	assert_true(number(tree, "verify", "sectors_checked") > 0);
	json_decref(tree);
	/* What an earlier run wrote is whole and at its place. */
	assert_int_equal(run("bench", &server, "--verify --time 0.1 "
			     "--interrupts"), 0);
	says("Reading");
	assert_int_equal(run("bench", &server, "--rw write --time 0.1 "
			     "--bs 64k --queues 2"), 0);
	says("Overwriting");
	assert_int_equal(run("bench", &server, "--bs 1000"), 1);
	says("multiple");
	assert_int_equal(run("bench", &server, "--nsid 9"), 1);
	assert_int_equal(run("bench", &server, "--rw sideways"), 2);
	assert_int_equal(run("bench", &server, "--qd 0"), 2);
	forked_stop(&server);
}

/* What a run of so many says must add up, whatever the clock says. */
static void counted_disk(void **state)
{
	static const char *const names[] = { "read", "write" };
	uint64_t ios = 0, bins = 0, large = 0;
	struct forked server;
	json_t *tree, *value;
	const char *key;

	(void)state;
	forked_start(&server, &ob_nvme_class, "nvme,drive=mem:8M");
	assert_int_equal(run("bench", &server, "--rw randrw --mix 70 --verify "
			     "--bs 4k/70:64k/30 --ios 20k --ramp 0.02s "
			     "--threads 2 --queues 3 --qd 4 --json"), 0);
	tree = parse();
	for (unsigned i = 0; i < 2; i++) {
		json_t *dir = json_object_get(tree, names[i]);
		json_t *sizes = json_object_get(dir, "ios_by_size");
		uint64_t few = (uint64_t)number(dir, "ios_by_size", "4096");
		uint64_t many = (uint64_t)number(dir, "ios_by_size", "65536");

		assert_int_equal(json_object_size(sizes), 2);
		assert_int_equal(few + many, number(tree, names[i], "ios"));
		assert_int_equal(few * 4096 + many * 65536,
				 number(tree, names[i], "bytes"));
		ios += few + many;
		large += many;
		json_object_foreach(json_object_get(dir, "latency_bins_ns"),
				    key, value)
			bins += (uint64_t)json_integer_value(value);
	}
	assert_int_equal(ios, 20000);
	assert_int_equal(bins, 20000);
	/* Far beyond what chance would make of it. */
	assert_in_range(large, 5400, 6600);
	assert_in_range(number(tree, "read", "ios"), 13400, 14600);
	assert_int_equal(number(tree, "job", "threads"), 2);
	json_decref(tree);

	/* In order, one after the other, all of it, and no more. */
	assert_int_equal(run("bench", &server, "--rw write --verify --bs 64k "
			     "--ios 128 --json"), 0);
	tree = parse();
	assert_int_equal(number(tree, "write", "bytes"), 8 << 20);
	assert_int_equal(number(tree, "verify", "sectors_checked"), 16384);
	assert_int_equal(number(tree, "verify", "sectors_of_other_origin"), 0);
	json_decref(tree);
	forked_stop(&server);
}

/* Slower than asked for is no error, faster is. */
static void limited_disk(void **state)
{
	static const char *const ways[] = { "", "--interrupts", "--threads 2" };
	struct forked server;
	char words[120];
	double seconds;
	json_t *tree;

	(void)state;
	forked_start(&server, &ob_nvme_class, "nvme,drive=mem:4M");
	for (unsigned i = 0; i < 3; i++) {
		snprintf(words, sizeof(words), "--rate 2k --time 0.3 --ramp 0.1 "
			 "--json %s", ways[i]);
		assert_int_equal(run("bench", &server, words), 0);
		tree = parse();
		seconds = real(tree, "job", "seconds");
		assert_true(number(tree, "read", "ios") > 0);
		assert_true(real(tree, "read", "ios") <= 2000 * seconds);
		json_decref(tree);
	}
	assert_int_equal(run("bench", &server, "--ios 2k --rate 20k "
			     "--registers 1M --dirty-log --idle 0.05 --json"),
			 0);
	tree = parse();
	assert_true(number(tree, "registers", "count") > 0);
	assert_true(json_is_object(json_object_get(tree, "idle")));
	assert_true(real(tree, "idle", "seconds") > 0);
	json_decref(tree);
	forked_stop(&server);
}

static void floors(void **state)
{
	static const char *const names[] = { "client", "memcpy" };
	struct forked server = { .path = "" };
	char words[120];
	json_t *tree;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(words, sizeof(words), "--floor %s --size 1M --qd 7 "
			 "--bs 4k/50:8k/50 --rw randrw --ios 5000 --json",
			 names[i]);
		assert_int_equal(run("bench", &server, words), 0);
		tree = parse();
		assert_int_equal(number(tree, "read", "ios") +
				 number(tree, "write", "ios"), 5000);
		json_decref(tree);
	}
	assert_int_equal(run("bench", &server, "--floor client socket"), 2);
	says("no SOCKET");
	assert_int_equal(run("bench", &server, "--floor memcpy --verify"), 2);
	assert_int_equal(run("bench", &server, "--floor wood"), 2);
	assert_int_equal(run("bench", &server, ""), 2);
	says("one SOCKET");
}

static void wrong_words(void **state)
{
	static const char *const words[] = {
		"--bs 4k/70:64k/40", "--bs 4k/50", "--bs 4k::8k", "--bs 4M",
		"--mix 101", "--rate 0", "--rate fast", "--rate 5kk",
		"--ios 1.5", "--threads 0", "--threads 3 --queues 2",
		"--threads 2 --ios 1", "--ramp soon",
	};
	struct forked server;

	(void)state;
	forked_start(&server, &ob_nvme_class, "nvme,drive=mem:1M");
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_int_equal(run("bench", &server, words[i]), 2);
	/* Right words, but not for this disk. */
	assert_int_equal(run("bench", &server, "--bs 4k/50:700/50"), 1);
	says("multiple");
	assert_int_equal(run("bench", &server, "--bs 128k --threads 9"), 1);
	says("not one I/O of each thread");
	forked_stop(&server);
}

static void moving_disk(void **state)
{
	struct forked server, other;
	char words[160];
	json_t *tree;

	(void)state;
	forked_start(&server, &ob_nvme_class, "nvme,drive=mem:4M");
	forked_start(&other, &ob_nvme_class, "nvme,drive=mem:4M,incoming=on");
	snprintf(words, sizeof(words), "%s --moves 6 --rounds 2 --json",
		 other.path);
	assert_int_equal(run("bench-move", &server, words), 0);
	tree = parse();
	assert_int_equal(number(tree, "pause", "moves"), 6);
	assert_int_equal(number(tree, "pause", "in flight"), 128);
	assert_true(number(tree, "read", "bytes") > 1000);
	json_decref(tree);
	assert_int_equal(run("bench-move", &server, ""), 2);
	says("two sockets");
	forked_stop(&other);
	assert_int_equal(run("bench-move", &server, other.path), 1);
	says("No such file");
	forked_stop(&server);
}

static void bad_disks(void **state)
{
	struct forked server;

	(void)state;
	forked_start(&server, &ob_nvme_class, "nvme,drive=mem:4M,readonly=on");
	assert_int_equal(run("bench", &server, "--rw randwrite --time 0.1"),
			 1);
	says("writes failed");
	forked_stop(&server);
	/* Writes vanish: the oracle must tell. */
	forked_start(&server, &ob_nvme_class, "nvme,drive=null:4M");
	assert_int_equal(run("bench", &server, "--rw randwrite --time 0.1 "
			     "--verify"), 1);
	says("holds none of our data");
	forked_stop(&server);
	forked_start(&server, &ob_edu_class, "edu");
	assert_int_equal(run("bench", &server, "--time 0.1"), 1);
	says("no NVMe controller");
	forked_stop(&server);
}

static void registers(void **state)
{
	struct forked server;
	json_t *tree, *row;
	size_t i;

	(void)state;
	forked_start(&server, &ob_edu_class, "edu");
	assert_int_equal(run("bench-mmio", &server, "--time 0.5 --rounds 5 "
			     "--json"), 0);
	tree = parse();
	assert_int_equal(json_array_size(json_object_get(tree, "rows")), 5);
	json_array_foreach(json_object_get(tree, "rows"), i, row) {
		json_t *ratio = json_object_get(row, "ratio");
		double low = json_real_value(json_object_get(ratio, "min"));
		double mid = json_real_value(json_object_get(ratio, "median"));
		double high = json_real_value(json_object_get(ratio, "max"));

		assert_true(low > 0 && low <= mid && mid <= high);
	}
	json_decref(tree);
	assert_int_equal(run("bench-mmio", &server, "--region 4"), 1);
	assert_int_equal(run("bench-mmio", &server, "--mode idle"), 2);
	assert_int_equal(run("bench-mmio", &server, "--rounds 4"), 2);
	forked_stop(&server);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inspect),
		cmocka_unit_test(good_disk),
		cmocka_unit_test(counted_disk),
		cmocka_unit_test(limited_disk),
		cmocka_unit_test(floors),
		cmocka_unit_test(wrong_words),
		cmocka_unit_test(moving_disk),
		cmocka_unit_test(bad_disks),
		cmocka_unit_test(registers),
	};

	if (argc != 2)
		return 1;
	command = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
