/* The hardware as LiteX generates it: CSR banks ``wire`` and ``accel``, DRAM as main_ram. */

#include <generated/csr.h>
#include <generated/mem.h>
#include <generated/soc.h>
#ifdef CSR_SDRAM_BASE
#include <generated/sdram_phy.h>
#endif
#include <system.h>

#include "hal.h"
#include "training.h"

#if defined(CONFIG_L2_SIZE) && CONFIG_L2_SIZE > 0
#error "an L2 cache would hide the accelerator's writes from the firmware: build with l2_size=0"
#endif
#ifdef SDRAM_PHY_WRITE_LEVELING_CAPABLE
#error "this SDRAM PHY needs write leveling, which this firmware does not do"
#endif

#define ACCEL_START 1
#define ACCEL_RESET 2

/* Bytes of the receiver's memory: soc.h says it when it is not WirePort's default. */
#ifndef WIRE_RX_BYTES
#define WIRE_RX_BYTES 4096
#endif

/* Of the sources: who builds gives it (soc/firmware.py). */
#ifndef LITEPRESS_REVISION
#define LITEPRESS_REVISION 0
#endif

static volatile uint32_t *const rx_data = (volatile uint32_t *)CSR_WIRE_RX_DATA_ADDR;
static volatile uint32_t *const tx_data = (volatile uint32_t *)CSR_WIRE_TX_DATA_ADDR;
static volatile uint32_t *const crc_data = (volatile uint32_t *)CSR_WIRE_CRC_DATA_ADDR;

static uint32_t *region(uint32_t offset)
{
	return (uint32_t *)(MAIN_RAM_BASE + offset);
}

#ifdef SDRAM_PHY_READ_LEVELING_CAPABLE

static const struct training_phy phy = {
	SDRAM_PHY_MODULES, SDRAM_PHY_BITSLIPS, SDRAM_PHY_DELAYS
};
static int trained;

void hal_phy_timing(uint32_t lane, uint32_t bitslip, uint32_t delay)
{
	ddrphy_dly_sel_write(1 << lane);
	ddrphy_rdly_dq_rst_write(1);
	while (delay--)
		ddrphy_rdly_dq_inc_write(1);
	ddrphy_rdly_dq_bitslip_rst_write(1);
	while (bitslip--)
		ddrphy_rdly_dq_bitslip_write(1);
	ddrphy_dly_sel_write(0);
}

void hal_phy_bursts_clear(void)
{
	ddrphy_burstdet_clr_write(1);
}

uint32_t hal_phy_bursts(void)
{
	return ddrphy_burstdet_seen_read();
}

/* No memory where training failed: the host is told so. */
uint32_t hal_region_bytes(void)
{
	return trained ? MAIN_RAM_SIZE - TRAINING_BYTES : 0;
}

#else

uint32_t hal_region_bytes(void)
{
	return MAIN_RAM_SIZE;
}

#endif

/* No memory test: after a reset the DRAM still holds the model. */
void hal_init(void)
{
#ifdef CSR_SDRAM_BASE
	sdram_dfii_control_write(DFII_CONTROL_CKE | DFII_CONTROL_ODT | DFII_CONTROL_RESET_N);
	init_sequence();
	sdram_dfii_control_write(DFII_CONTROL_SEL);
#ifdef CSR_DDRCTRL_BASE
	ddrctrl_init_done_write(1);
#endif
#endif
#ifdef SDRAM_PHY_READ_LEVELING_CAPABLE
	trained = train_reads(&phy, MAIN_RAM_SIZE - TRAINING_BYTES);
#endif
	hal_region_sync();
}

/* Nothing here traps on purpose: begin again, the host repeats its request. Called by crt0.S. */
void hal_trap(void)
{
#ifdef CSR_CTRL_RESET_ADDR
	ctrl_reset_write(1);
#endif
	for (;;)
		;
}

/* Wire --------------------------------------------------------------------------------------------*/

uint32_t hal_rx_words(void)
{
	return wire_rx_words_read();
}

uint32_t hal_rx_pop(void)
{
	return *rx_data;
}

void hal_rx_drop(void)
{
	wire_rx_drop_write(1);
}

uint32_t hal_rx_bytes(void)
{
	return WIRE_RX_BYTES;
}

uint32_t hal_tx_room(void)
{
	return wire_tx_room_read();
}

void hal_tx_push(uint32_t word)
{
	*tx_data = word;
}

/* Region ------------------------------------------------------------------------------------------*/

/* Unrolled: these loops decide how fast an image loads. */

void hal_region_from_rx(uint32_t offset, uint32_t words)
{
	uint32_t *to = region(offset);

	for (; words >= 8; words -= 8, to += 8) {
		to[0] = *rx_data;
		to[1] = *rx_data;
		to[2] = *rx_data;
		to[3] = *rx_data;
		to[4] = *rx_data;
		to[5] = *rx_data;
		to[6] = *rx_data;
		to[7] = *rx_data;
	}
	while (words--)
		*to++ = *rx_data;
}

static void pour(const uint32_t *from, uint32_t words, volatile uint32_t *to)
{
	for (; words >= 8; words -= 8, from += 8) {
		uint32_t a = from[0], b = from[1], c = from[2], d = from[3];
		uint32_t e = from[4], f = from[5], g = from[6], h = from[7];
		*to = a;
		*to = b;
		*to = c;
		*to = d;
		*to = e;
		*to = f;
		*to = g;
		*to = h;
	}
	while (words--)
		*to = *from++;
}

void hal_region_to_tx(uint32_t offset, uint32_t words)
{
	pour(region(offset), words, tx_data);
}

void hal_region_read(uint32_t offset, uint32_t *to, uint32_t words)
{
	const uint32_t *from = region(offset);

	while (words--)
		*to++ = *from++;
}

uint32_t hal_region_word(uint32_t offset)
{
	return *region(offset);
}

void hal_region_write(uint32_t offset, uint32_t word)
{
	*region(offset) = word;
}

uint32_t hal_crc(const uint32_t *data, uint32_t words)
{
	wire_crc_init_write(1);
	pour(data, words, crc_data);
	return wire_crc_value_read();
}

uint32_t hal_region_crc(uint32_t offset, uint32_t words)
{
	return hal_crc(region(offset), words);
}

void hal_region_sync(void)
{
	flush_cpu_dcache();
	__asm__ volatile ("" ::: "memory");
}

/* Clock -------------------------------------------------------------------------------------------*/

uint64_t hal_cycles(void)
{
	wire_uptime_latch_write(1);
	return wire_uptime_read();
}

uint32_t hal_clock_hz(void)
{
	return CONFIG_CLOCK_FREQUENCY;
}

uint32_t hal_revision(void)
{
	return LITEPRESS_REVISION;
}

/* Accelerator -------------------------------------------------------------------------------------*/

void hal_accel_arch(struct hal_arch *arch)
{
	arch->columns = ACCEL_COLUMNS;
	arch->abuf_depth = ACCEL_ABUF_DEPTH;
	arch->wbuf_depth = ACCEL_WBUF_DEPTH;
	arch->pbuf_depth = ACCEL_PBUF_DEPTH;
	arch->vbuf_depth = ACCEL_VBUF_DEPTH;
	arch->array = ACCEL_ARRAY;
	arch->formats = ACCEL_FORMATS;
	arch->engines = ACCEL_ENGINES;
}

void hal_accel_start(uint32_t program_offset, uint32_t program_words, uint32_t region_bytes)
{
	accel_region_base_write(0);
	accel_region_words_write(region_bytes / 4);
	accel_program_write(program_offset / 4);
	accel_program_words_write(program_words);
	accel_control_write(ACCEL_START);
}

void hal_accel_abort(void)
{
	accel_control_write(ACCEL_RESET);
}

void hal_accel_status(struct hal_accel *status)
{
	uint32_t value = accel_status_read();

	status->busy = value & 1;
	status->done = value >> 1 & 1;
	status->error = value >> 8 & 0xff;
	status->detail = accel_detail_read();
}

uint64_t hal_accel_run_cycles(void)
{
	return accel_run_cycles_read();
}

uint32_t hal_accel_layers_done(void)
{
	return accel_layers_done_read();
}

uint32_t hal_accel_counter(uint32_t slot, uint32_t index)
{
	accel_profile_address_write(slot * 16 + index);
	(void)accel_profile_data_read();    /* The memory takes a few clocks. */
	return accel_profile_data_read();
}
