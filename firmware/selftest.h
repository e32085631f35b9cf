/* Tests of the board by itself: its DRAM, and the accelerator on programs with known results. */

#ifndef SELFTEST_H
#define SELFTEST_H

#include <stdint.h>

/* Replies of spec/wire.py, in the order of their words. */
struct memtest {
	uint32_t wrong, address, expected, found, bits;
};
struct selftest {
	uint32_t id, result, found, expected;
};

/* What (LP_MEM_*) is done with ``bytes`` of the region, at least 8, from ``offset`` on. */
void memtest(uint32_t what, uint32_t offset, uint32_t bytes, uint32_t flip, struct memtest *result);

/* Runs an entry of the image's table. Returns 0, or an error code (LP_E_*) with its detail: there
 * is nothing that could be run. */
int selftest(uint32_t index, struct selftest *result, uint32_t *detail);

#endif
