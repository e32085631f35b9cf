/* The image in the region, whether it can be trusted, and its runs. See runner.h. */

#include <litepress_spec.h>

#include "hal.h"
#include "runner.h"

/* Polls after which an accelerator that is neither busy nor done counts as failed. */
#define LOST_POLLS 1000

union image {
	uint32_t words[LP_IMAGE_HEADER_BYTES / 4];
	struct {
		struct lp_image_header header;
		struct lp_image_section sections[LP_IMAGE_MAX_SECTIONS];
	};
};

static union image image;
static int image_known;         /* ``image`` is a valid header and equals the region's. */
static uint32_t verified;       /* Bit i: section i's bytes had the right CRC and did not change. */

static struct runner_status now;
static uint32_t lost_polls;

void runner_init(void)
{
	image_known = 0;
	verified = 0;
	now.state = LP_STATE_IDLE;
	now.error = 0;
	now.detail = 0;
	now.token = 0;
	now.run_cycles = 0;
	now.layers_done = 0;
}

/* Image -------------------------------------------------------------------------------------------*/

static int inside(uint32_t offset, uint32_t bytes, uint32_t limit)
{
	return !(offset & 3) && offset <= limit && bytes <= limit - offset;
}

static uint32_t section_words(const struct lp_image_section *section)
{
	return section->size / 4;
}

/* Read and check the header, unless it is known. */
static int open_image(uint32_t *detail)
{
	struct lp_image_header *header = &image.header;
	uint32_t crc, i;

	if (image_known)
		return 0;
	verified = 0;
	*detail = 0;
	if (hal_region_bytes() < LP_IMAGE_HEADER_BYTES)
		return LP_E_NO_IMAGE;
	hal_region_read(0, image.words, LP_IMAGE_HEADER_BYTES / 4);
	if (header->magic != LP_IMAGE_MAGIC)
		return LP_E_NO_IMAGE;
	crc = header->header_crc;
	header->header_crc = 0;
	if (hal_crc(image.words, LP_IMAGE_HEADER_BYTES / 4) != crc)
		return LP_E_NO_IMAGE;
	/* Only a header that arrived intact can speak of its version. */
	if (header->version != LP_IMAGE_VERSION) {
		*detail = header->version;
		return LP_E_VERSION;
	}
	if (header->region_bytes > hal_region_bytes()) {
		*detail = header->region_bytes;
		return LP_E_TOO_LARGE;
	}
	if (header->section_count > LP_IMAGE_MAX_SECTIONS)
		return LP_E_NO_IMAGE;
	for (i = 0; i < header->section_count; i++) {
		const struct lp_image_section *section = &image.sections[i];
		if (section->dram == LP_IMAGE_NOT_LOADED)
			continue;
		if ((section->size & 3) ||
		    !inside(section->dram, section->size, header->region_bytes)) {
			*detail = section->dram;
			return LP_E_OUT_OF_REGION;
		}
	}
	if (header->program_words > header->region_bytes / 4 ||
	    !inside(header->program_offset, 4 * header->program_words, header->region_bytes)) {
		*detail = header->program_offset;
		return LP_E_OUT_OF_REGION;
	}
	image_known = 1;
	return 0;
}

static int overlap(uint32_t a, uint32_t a_bytes, uint32_t b, uint32_t b_bytes)
{
	return a_bytes && b_bytes && a < b + b_bytes && b < a + a_bytes;
}

void runner_written(uint32_t offset, uint32_t bytes)
{
	uint32_t i;

	if (!image_known)
		return;
	if (overlap(offset, bytes, 0, LP_IMAGE_HEADER_BYTES)) {
		image_known = 0;
		return;
	}
	for (i = 0; i < image.header.section_count; i++)
		if (overlap(offset, bytes, image.sections[i].dram, image.sections[i].size))
			verified &= ~(1u << i);
}

int runner_verify(uint32_t *bitmap, uint32_t *sections, uint32_t *detail)
{
	int error = open_image(detail);
	uint32_t i;

	if (error)
		return error;
	for (i = 0; i < image.header.section_count; i++) {
		const struct lp_image_section *section = &image.sections[i];
		if (verified & 1u << i)
			continue;
		if (section->dram == LP_IMAGE_NOT_LOADED ||
		    hal_region_crc(section->dram, section_words(section)) == section->crc)
			verified |= 1u << i;
	}
	*bitmap = verified;
	*sections = image.header.section_count;
	return 0;
}

/* Runs --------------------------------------------------------------------------------------------*/

void runner_step(void)
{
	struct hal_accel accel;

	if (now.state != LP_STATE_RUNNING)
		return;
	hal_accel_status(&accel);
	if (accel.busy)
		return;
	if (!accel.done && !accel.error && ++lost_polls < LOST_POLLS)
		return;
	now.error = accel.error;
	now.detail = accel.detail;
	now.run_cycles = hal_accel_run_cycles();
	now.layers_done = hal_accel_layers_done();
	now.state = accel.error || !accel.done ? LP_STATE_FAILED : LP_STATE_DONE;
	hal_region_sync();
}

int runner_busy(void)
{
	return now.state == LP_STATE_RUNNING;
}

int runner_ready(uint32_t *detail)
{
	const struct lp_image_header *header = &image.header;
	struct hal_arch arch;
	struct hal_accel accel;
	uint32_t bitmap, sections, i;
	int error;

	*detail = 0;
	hal_accel_status(&accel);
	if (runner_busy() || accel.busy)
		return LP_E_BUSY;
	error = open_image(detail);
	if (error)
		return error;
	hal_accel_arch(&arch);
	if (header->columns != arch.columns || header->abuf_depth != arch.abuf_depth ||
	    header->wbuf_depth != arch.wbuf_depth || header->pbuf_depth != arch.pbuf_depth ||
	    header->vbuf_depth != arch.vbuf_depth || header->array != arch.array ||
	    header->vector != (arch.engines >> LP_ENGINE_VECTOR & 1))
		return LP_E_ARCH;
	error = runner_verify(&bitmap, &sections, detail);
	if (error)
		return error;
	for (i = 0; i < sections; i++)
		if (!(bitmap & 1u << i)) {
			*detail = i;
			return LP_E_SECTION_CRC;
		}
	return 0;
}

const struct lp_image_section *runner_section(uint32_t type)
{
	uint32_t i;

	for (i = 0; i < image.header.section_count; i++)
		if (image.sections[i].type == type)
			return &image.sections[i];
	return 0;
}

int runner_run(uint32_t token, uint32_t *detail)
{
	const struct lp_image_header *header = &image.header;
	int error;

	*detail = 0;
	if (token == now.token)
		return 0;
	error = runner_ready(detail);
	if (error)
		return error;
	now.state = LP_STATE_RUNNING;
	now.error = 0;
	now.detail = 0;
	now.token = token;
	lost_polls = 0;
	hal_accel_start(header->program_offset, header->program_words, header->region_bytes);
	return 0;
}

void runner_abort(void)
{
	hal_accel_abort();
	/* Its last writes may be in the region. */
	hal_region_sync();
	now.state = LP_STATE_IDLE;
	now.error = 0;
	now.detail = 0;
	/* The same run may be asked for again. */
	now.token = 0;
}

void runner_status(struct runner_status *status)
{
	if (now.state == LP_STATE_RUNNING) {
		now.run_cycles = hal_accel_run_cycles();
		now.layers_done = hal_accel_layers_done();
	}
	*status = now;
}
