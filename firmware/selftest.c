/* Tests of the board by itself. See selftest.h. */

#include <litepress_spec.h>

#include "hal.h"
#include "runner.h"
#include "selftest.h"

/* DRAM --------------------------------------------------------------------------------------------*/

/* No two words of a DRAM are alike: both steps can be undone. */
static uint32_t word_of(uint32_t offset)
{
	uint32_t x = offset / 4 * 0x9e3779b1u;

	return x ^ x >> 15;
}

/* A word that is not the one expected. */
static void wrong(struct memtest *result, uint32_t offset, uint32_t expected, uint32_t found)
{
	if (!result->wrong++) {
		result->address = offset;
		result->expected = expected;
		result->found = found;
	}
	result->bits |= found ^ expected;
}

static void data_lines(uint32_t offset, struct memtest *result)
{
	uint32_t i, j;

	for (i = 0; i < 64; i++) {
		uint32_t word = 1u << (i & 31);
		if (i >= 32)
			word = ~word;
		/* The other one follows, lest an open line keep what was written. */
		hal_region_write(offset, word);
		hal_region_write(offset + 4, ~word);
		hal_region_sync();
		for (j = 0; j < 8; j += 4, word = ~word) {
			uint32_t found = hal_region_word(offset + j);
			if (found != word)
				wrong(result, offset + j, word, found);
		}
	}
}

/* 0, and the powers of two below ``bytes``. */
#define EACH_LINE(at, bytes) (at = 0; at < (bytes); at = at ? 2 * at : 4)

static void address_lines(uint32_t offset, uint32_t bytes, struct memtest *result)
{
	uint32_t a, b, lines = 0;

	for EACH_LINE(a, bytes)
		hal_region_write(offset + a, word_of(a));
	hal_region_sync();
	for EACH_LINE(a, bytes) {
		uint32_t found = hal_region_word(offset + a);
		if (found == word_of(a))
			continue;
		wrong(result, offset + a, word_of(a), found);
		for EACH_LINE(b, bytes)
			if (found == word_of(b))
				lines |= a | b;
	}
	result->bits = lines;
}

void memtest(uint32_t what, uint32_t offset, uint32_t bytes, uint32_t flip, struct memtest *result)
{
	uint32_t end = offset + bytes;

	result->wrong = result->address = result->expected = result->found = result->bits = 0;
	if (what == LP_MEM_DATA) {
		data_lines(offset, result);
	} else if (what == LP_MEM_LINES) {
		address_lines(offset, bytes, result);
	} else if (what == LP_MEM_FILL) {
		for (; offset != end; offset += 4)
			hal_region_write(offset, word_of(offset) ^ flip);
	} else {
		hal_region_sync();
		for (; offset != end; offset += 4) {
			uint32_t word = word_of(offset) ^ flip, found = hal_region_word(offset);
			if (found != word)
				wrong(result, offset, word, found);
		}
	}
}

/* Accelerator -------------------------------------------------------------------------------------*/

static int inside(uint32_t offset, uint32_t words)
{
	uint32_t limit = hal_region_bytes();

	return !(offset & 3) && offset <= limit && words <= (limit - offset) / 4;
}

/* Start the entry's program and wait for its end: it comes soon, or the program is stopped. */
static uint32_t run(const struct lp_image_selftest *entry, struct selftest *result)
{
	struct hal_accel accel;
	uint64_t start = hal_cycles();
	uint32_t clocks;

	hal_accel_start(entry->program_offset, entry->program_words, hal_region_bytes());
	do {
		clocks = hal_cycles() - start;
		hal_accel_status(&accel);
		if (!accel.busy && (accel.done || accel.error)) {
			result->found = accel.error;
			result->expected = accel.detail;
			return accel.error ? LP_TEST_STOPPED : LP_TEST_PASSED;
		}
	} while (clocks <= entry->clocks);
	hal_accel_abort();
	result->found = clocks;
	result->expected = entry->clocks;
	return LP_TEST_TIMEOUT;
}

int selftest(uint32_t index, struct selftest *result, uint32_t *detail)
{
	struct lp_image_selftest entry;
	const struct lp_image_section *table;
	uint32_t at;
	int error = runner_ready(detail);

	if (error)
		return error;
	table = runner_section(LP_IMAGE_SELFTEST);
	if (!table || table->dram == LP_IMAGE_NOT_LOADED ||
	    index >= table->size / sizeof(entry)) {
		*detail = index;
		return LP_E_NO_TEST;
	}
	hal_region_read(table->dram + index * sizeof(entry), (uint32_t *)&entry, sizeof(entry) / 4);
	if (!inside(entry.program_offset, entry.program_words) || (entry.output_bytes & 3) ||
	    !inside(entry.output_offset, entry.output_bytes / 4)) {
		*detail = entry.id;
		return LP_E_OUT_OF_REGION;
	}
	/* What an earlier run left there could be right. */
	runner_written(entry.output_offset, entry.output_bytes);
	for (at = 0; at < entry.output_bytes; at += 4)
		hal_region_write(entry.output_offset + at, 0);
	result->id = entry.id;
	result->result = run(&entry, result);
	hal_region_sync();
	if (result->result == LP_TEST_PASSED) {
		result->found = hal_region_crc(entry.output_offset, entry.output_bytes / 4);
		result->expected = entry.output_crc;
		if (result->found != result->expected)
			result->result = LP_TEST_WRONG;
	}
	return 0;
}
