/* The image in the region, whether it can be trusted, and its runs. Functions return 0 or an error
 * code of spec/wire.py (LP_E_*), with its detail in *detail.
 */

#ifndef RUNNER_H
#define RUNNER_H

#include <stdint.h>

#include <litepress_spec.h>

struct runner_status {
	uint32_t state;         /* LP_STATE_* */
	uint32_t error;         /* The accelerator's, spec/isa.py, when the state is FAILED. */
	uint32_t detail;
	uint32_t token;         /* Of the last run that was started. */
	uint64_t run_cycles;
	uint32_t layers_done;
};

void runner_init(void);

/* Follow the accelerator; call often. */
void runner_step(void);

int runner_busy(void);

/* The host is about to write these bytes: what they touch has to be verified again. */
void runner_written(uint32_t offset, uint32_t bytes);

/* CRCs of all sections that are not known to be good. bitmap: bit i: section i matches. */
int runner_verify(uint32_t *bitmap, uint32_t *sections, uint32_t *detail);

/* Whether the accelerator is free, and an image for it is in the region, whole. */
int runner_ready(uint32_t *detail);

/* The first section of a type, of an image that is known; 0: there is none. */
const struct lp_image_section *runner_section(uint32_t type);

/* Check the image and start its program; a token that was started before is not started again. */
int runner_run(uint32_t token, uint32_t *detail);

void runner_abort(void);
void runner_status(struct runner_status *status);

#endif
