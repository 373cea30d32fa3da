/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does a test that compares a restored structure notice a forgotten field?
 * For tables of models as well as for samples.
 */
#ifndef TEST_STATE_MUTATE_H
#define TEST_STATE_MUTATE_H

#include <stdint.h>

#include <outboard/state.h>

/*
 * Fills a structure so that no field has its default, saves and loads it, and
 * compares byte by byte: equal with the table as it is; different when any
 * one row of it, or of a table inside it, is taken for padding.  Fails the
 * running test by the name of a row that nobody would miss.  Returns the rows.
 */
unsigned mutate_every_field(const struct ob_table *table, uint64_t seed);

#endif
