/* Finds when to sample what the DRAM answers, for PHYs that have to be told. */

#ifndef TRAINING_H
#define TRAINING_H

#include <stdint.h>

#define TRAINING_BYTES 256      /* Of DRAM, behind the model's region. */

/* What can be set for a byte lane of the DRAM's bus, and how many bytes it has. */
struct training_phy {
	uint32_t lanes, bitslips, delays;
};

/* Sets every lane to the middle of the longest row of delays with which it reads what was written
 * to ``offset``. Returns 0 if a lane has none. */
int train_reads(const struct training_phy *phy, uint32_t offset);

#endif
