/* What the firmware needs of the hardware. hal_litex.c is the SoC; the tests have a native one.
 *
 * Offsets are bytes relative to the model's region (the whole DRAM), multiples of 4, checked by the
 * caller; counts are 32-bit words.
 */

#ifndef HAL_H
#define HAL_H

#include <stdint.h>

/* Bring up the DRAM without touching what it holds. */
void hal_init(void);

/* Received frames: the header word, then the padded payload. */
uint32_t hal_rx_words(void);    /* Left of the first frame; 0: no frame. */
uint32_t hal_rx_pop(void);
void hal_rx_drop(void);         /* Drop what is left of it. */
uint32_t hal_rx_bytes(void);    /* What the receiver can hold. */

/* Frames to send: push the header word and exactly the payload words its length says. */
uint32_t hal_tx_room(void);
void hal_tx_push(uint32_t word);

/* The model's region. */
uint32_t hal_region_bytes(void);
void hal_region_from_rx(uint32_t offset, uint32_t words);
void hal_region_to_tx(uint32_t offset, uint32_t words);
void hal_region_read(uint32_t offset, uint32_t *to, uint32_t words);
uint32_t hal_region_word(uint32_t offset);
void hal_region_write(uint32_t offset, uint32_t word);
uint32_t hal_region_crc(uint32_t offset, uint32_t words);
uint32_t hal_crc(const uint32_t *data, uint32_t words);
void hal_region_sync(void);     /* Something else than the CPU has written to it. */

/* The DRAM's PHY, where reads have to be trained. A lane is a byte of its bus. */
void hal_phy_timing(uint32_t lane, uint32_t bitslip, uint32_t delay);
void hal_phy_bursts_clear(void);
uint32_t hal_phy_bursts(void);  /* Bit i: lane i has seen whole bursts since they were cleared. */

uint64_t hal_cycles(void);      /* System clocks since reset. */
uint32_t hal_clock_hz(void);
uint32_t hal_revision(void);    /* What was built: spec/wire.py has its layout; 0: not known. */

/* The accelerator. */
struct hal_arch {
	uint32_t columns, abuf_depth, wbuf_depth, pbuf_depth, vbuf_depth, array;
	uint32_t formats, engines;      /* Bit k: kind k of spec/formats.py, engine k of spec/isa.py. */
};
struct hal_accel {
	uint32_t busy, done, error, detail;
};
void hal_accel_arch(struct hal_arch *arch);
void hal_accel_start(uint32_t program_offset, uint32_t program_words, uint32_t region_bytes);
void hal_accel_abort(void);
void hal_accel_status(struct hal_accel *status);
uint64_t hal_accel_run_cycles(void);
uint32_t hal_accel_layers_done(void);
uint32_t hal_accel_counter(uint32_t slot, uint32_t index);

#endif
