/* Read timing by trial: numbers are written once, whose writing needs no training, and read with
 * every setting of every lane.
 */

#include "hal.h"
#include "training.h"

#define WORDS (TRAINING_BYTES / 4)

/* Numbers without a pattern that a wrong burst or beat could share. */
static uint32_t next(uint32_t number)
{
	number ^= number << 13;
	number ^= number >> 17;
	return number ^ number << 5;
}

/* Bits of a word that go over a lane. */
static uint32_t mask_of(const struct training_phy *phy, uint32_t lane)
{
	uint32_t mask = 0, byte;

	for (byte = lane; byte < 4; byte += phy->lanes)
		mask |= 0xffu << 8 * byte;
	return mask;
}

static int reads(uint32_t offset, uint32_t lane, uint32_t mask)
{
	uint32_t expected = 1, word, i;

	hal_region_sync();      /* Not what a cache kept from the last trial. */
	hal_phy_bursts_clear();
	for (i = 0; i < WORDS; i++) {
		expected = next(expected);
		hal_region_read(offset + 4 * i, &word, 1);
		if ((word ^ expected) & mask)
			return 0;
	}
	return hal_phy_bursts() >> lane & 1;
}

static int train(const struct training_phy *phy, uint32_t lane, uint32_t offset)
{
	uint32_t mask = mask_of(phy, lane);
	uint32_t best = 0, bitslip = 0, delay = 0, b, d, row;

	for (b = 0; b < phy->bitslips; b++) {
		for (d = row = 0; d < phy->delays; d++) {
			hal_phy_timing(lane, b, d);
			row = reads(offset, lane, mask) ? row + 1 : 0;
			if (row > best) {
				best = row;
				bitslip = b;
				delay = d - row / 2;
			}
		}
	}
	hal_phy_timing(lane, bitslip, delay);
	return best != 0;
}

int train_reads(const struct training_phy *phy, uint32_t offset)
{
	uint32_t number = 1, lane, i;
	int good = 1;

	for (i = 0; i < WORDS; i++) {
		number = next(number);
		hal_region_write(offset + 4 * i, number);
	}
	for (lane = 0; lane < phy->lanes; lane++)
		good &= train(phy, lane, offset);
	return good;
}
