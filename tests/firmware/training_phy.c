/* A DRAM whose lanes read right at some settings only, for firmware/training.c.
 *
 * Arguments: lanes, bitslips, delays, then for each lane a text of bitslips x delays characters:
 * '1' reads right, '0' wrong, 'b' right but without whole bursts. Prints 1 or 0, then what each lane
 * was left at and the trials it took.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hal.h"
#include "training.h"

#define OFFSET 0x1000

static struct training_phy phy;
static char **good;
static uint32_t memory[TRAINING_BYTES / 4], bursts, setting[4], trials;
static int synced, stale;

void hal_phy_timing(uint32_t lane, uint32_t bitslip, uint32_t delay)
{
	if (lane >= phy.lanes || bitslip >= phy.bitslips || delay >= phy.delays)
		abort();
	setting[lane] = bitslip * phy.delays + delay;
	synced = 0;
}

void hal_phy_bursts_clear(void)
{
	bursts = 0;
	trials++;
}

uint32_t hal_phy_bursts(void)
{
	return bursts;
}

void hal_region_sync(void)
{
	synced = 1;
}

static uint32_t at(uint32_t offset)
{
	if (offset < OFFSET || offset >= OFFSET + TRAINING_BYTES || (offset & 3))
		abort();
	return (offset - OFFSET) / 4;
}

void hal_region_write(uint32_t offset, uint32_t word)
{
	memory[at(offset)] = word;
}

/* A wrong lane gives the bytes of the word before: those of a burst that is a beat late. */
void hal_region_read(uint32_t offset, uint32_t *to, uint32_t words)
{
	uint32_t i = at(offset), word = memory[i], before = i ? memory[i - 1] : 0;

	if (words != 1)
		abort();
	stale |= !synced;
	for (uint32_t byte = 0; byte < 4; byte++) {
		uint32_t lane = byte % phy.lanes, mask = 0xffu << 8 * byte;
		char state = good[lane][setting[lane]];
		if (state == '0')
			word = (word & ~mask) | (before & mask);
		else if (state == '1')
			bursts |= 1u << lane;
	}
	*to = word;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	phy = (struct training_phy){atoi(argv[1]), atoi(argv[2]), atoi(argv[3])};
	good = argv + 4;
	printf("%d", train_reads(&phy, OFFSET));
	for (uint32_t lane = 0; lane < phy.lanes; lane++)
		printf(" %u,%u", setting[lane] / phy.delays, setting[lane] % phy.delays);
	printf(" %u\n", trials);
	return stale;
}
