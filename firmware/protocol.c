/* The device's side of spec/wire.py: one request in, one reply out. */

#include <litepress_spec.h>

#include "hal.h"
#include "inflate.h"
#include "protocol.h"
#include "runner.h"
#include "selftest.h"

/* Words of the longest reply: header and payload. */
#define MAX_REPLY_WORDS (1 + LP_MAX_PAYLOAD / 4)

struct request {
	uint32_t type, seq;
	uint32_t words;         /* Of the payload that are not yet taken. */
};

/* Replies -----------------------------------------------------------------------------------------*/

static void begin(const struct request *request, uint32_t type, uint32_t bytes)
{
	hal_tx_push(type | request->seq << 8 | bytes << 16);
}

static void reply(const struct request *request, const uint32_t *payload, uint32_t words)
{
	uint32_t i;

	begin(request, request->type | LP_REPLY, 4 * words);
	for (i = 0; i < words; i++)
		hal_tx_push(payload[i]);
}

static void refuse(const struct request *request, uint32_t code, uint32_t detail)
{
	begin(request, LP_ERROR, 8);
	hal_tx_push(code);
	hal_tx_push(detail);
}

/* Requests ----------------------------------------------------------------------------------------*/

static int in_region(uint32_t address, uint32_t bytes)
{
	uint32_t limit = hal_region_bytes();

	return !(address & 3) && address <= limit && bytes <= limit - address;
}

static void hello(const struct request *request)
{
	struct hal_arch arch;
	uint64_t cycles = hal_cycles();

	hal_accel_arch(&arch);
	uint32_t payload[] = {
		LP_PROTOCOL_VERSION, hal_rx_bytes(), hal_region_bytes(), hal_clock_hz(),
		arch.columns, arch.abuf_depth, arch.wbuf_depth, arch.pbuf_depth,
		arch.vbuf_depth, arch.array, arch.formats, arch.engines,
		(uint32_t)cycles, (uint32_t)(cycles >> 32), hal_revision(),
	};
	reply(request, payload, sizeof(payload) / 4);
}

static void write(struct request *request)
{
	uint32_t address = hal_rx_pop();
	uint32_t words = --request->words;

	if (!in_region(address, 4 * words)) {
		refuse(request, LP_E_OUT_OF_REGION, address);
		return;
	}
	runner_written(address, 4 * words);
	hal_region_from_rx(address, words);
	request->words = 0;
	reply(request, 0, 0);
}

static void inflate_request(struct request *request)
{
	uint32_t address = hal_rx_pop();
	int32_t bytes;

	request->words--;
	if (!in_region(address, 0)) {
		refuse(request, LP_E_OUT_OF_REGION, address);
		return;
	}
	bytes = inflate(address, hal_region_bytes() - address, &request->words);
	if (bytes < 0) {
		/* Whatever was written. */
		runner_written(address, hal_region_bytes() - address);
		refuse(request, LP_E_STREAM, address);
		return;
	}
	runner_written(address, bytes);
	reply(request, (uint32_t *)&bytes, 1);
}

static void read(struct request *request)
{
	uint32_t address = hal_rx_pop();
	uint32_t bytes = hal_rx_pop();

	request->words = 0;
	if (bytes > LP_MAX_PAYLOAD || (bytes & 3)) {
		refuse(request, LP_E_BAD_LENGTH, bytes);
		return;
	}
	if (!in_region(address, bytes)) {
		refuse(request, LP_E_OUT_OF_REGION, address);
		return;
	}
	begin(request, request->type | LP_REPLY, bytes);
	hal_region_to_tx(address, bytes / 4);
}

static void crc(struct request *request)
{
	uint32_t address = hal_rx_pop();
	uint32_t bytes = hal_rx_pop();
	uint32_t value;

	request->words = 0;
	if (bytes & 3) {
		refuse(request, LP_E_BAD_LENGTH, bytes);
		return;
	}
	if (!in_region(address, bytes)) {
		refuse(request, LP_E_OUT_OF_REGION, address);
		return;
	}
	value = hal_region_crc(address, bytes / 4);
	reply(request, &value, 1);
}

static void verify(const struct request *request)
{
	uint32_t payload[2], detail;
	int error = runner_verify(&payload[0], &payload[1], &detail);

	if (error)
		refuse(request, error, detail);
	else
		reply(request, payload, 2);
}

static void run(struct request *request)
{
	uint32_t token = hal_rx_pop();
	uint32_t detail;
	int error;

	request->words = 0;
	if (!token) {
		refuse(request, LP_E_BAD_LENGTH, 0);
		return;
	}
	error = runner_run(token, &detail);
	if (error)
		refuse(request, error, detail);
	else
		reply(request, 0, 0);
}

static void status(const struct request *request)
{
	struct runner_status s;
	uint64_t cycles = hal_cycles();

	runner_status(&s);
	uint32_t payload[] = {
		s.state, s.error, s.detail, s.token,
		(uint32_t)s.run_cycles, (uint32_t)(s.run_cycles >> 32),
		(uint32_t)cycles, (uint32_t)(cycles >> 32), s.layers_done,
	};
	reply(request, payload, sizeof(payload) / 4);
}

static void counters(struct request *request)
{
	uint32_t slot = hal_rx_pop();
	uint32_t payload[LP_COUNTERS_WORDS], i;

	request->words = 0;
	if (slot >= LP_PROFILE_SLOTS) {
		refuse(request, LP_E_BAD_SLOT, slot);
		return;
	}
	for (i = 0; i < LP_COUNTERS_WORDS; i++)
		payload[i] = hal_accel_counter(slot, i);
	reply(request, payload, LP_COUNTERS_WORDS);
}

static void memtest_request(struct request *request)
{
	uint32_t what = hal_rx_pop();
	uint32_t address = hal_rx_pop();
	uint32_t bytes = hal_rx_pop();
	uint32_t flip = hal_rx_pop();
	struct memtest result;

	request->words = 0;
	if (what > LP_MEM_CHECK || (bytes & 3) || bytes < 8) {
		refuse(request, LP_E_BAD_LENGTH, bytes);
		return;
	}
	if (!in_region(address, bytes)) {
		refuse(request, LP_E_OUT_OF_REGION, address);
		return;
	}
	if (what != LP_MEM_CHECK)
		runner_written(address, bytes);
	memtest(what, address, bytes, flip, &result);
	reply(request, (uint32_t *)&result, sizeof(result) / 4);
}

static void selftest_request(struct request *request)
{
	uint32_t index = hal_rx_pop();
	struct selftest result;
	uint32_t detail;
	int error;

	request->words = 0;
	error = selftest(index, &result, &detail);
	if (error)
		refuse(request, error, detail);
	else
		reply(request, (uint32_t *)&result, sizeof(result) / 4);
}

/* Bytes of payload a request must have; for WRITE and INFLATE the least. */
static int payload_bytes(uint32_t type)
{
	switch (type) {
	case LP_HELLO: case LP_STATUS: case LP_VERIFY: case LP_ABORT:
		return 0;
	case LP_WRITE: case LP_INFLATE: case LP_RUN: case LP_COUNTERS: case LP_SELFTEST:
		return 4;
	case LP_READ: case LP_CRC:
		return 8;
	case LP_MEMTEST:
		return 16;
	default:
		return -1;
	}
}

static void serve(void)
{
	uint32_t header = hal_rx_pop();
	uint32_t length = header >> 16;
	struct request request = {
		.type = header & 0xff,
		.seq = header >> 8 & 0xff,
		.words = (length + 3) / 4,
	};
	int expected = payload_bytes(request.type);

	if (expected < 0) {
		refuse(&request, LP_E_UNKNOWN_TYPE, request.type);
	} else if (request.type == LP_WRITE || request.type == LP_INFLATE
	           ? length < 4 || (length & 3) : length != (uint32_t)expected) {
		refuse(&request, LP_E_BAD_LENGTH, length);
	} else {
		switch (request.type) {
		case LP_HELLO:  hello(&request);  break;
		case LP_STATUS: status(&request); break;
		case LP_RUN:    run(&request);    break;   /* May repeat its token while running. */
		case LP_ABORT:
			runner_abort();
			reply(&request, 0, 0);
			break;
		default:
			if (runner_busy())
				refuse(&request, LP_E_BUSY, request.type);
			else if (request.type == LP_WRITE)
				write(&request);
			else if (request.type == LP_INFLATE)
				inflate_request(&request);
			else if (request.type == LP_READ)
				read(&request);
			else if (request.type == LP_CRC)
				crc(&request);
			else if (request.type == LP_VERIFY)
				verify(&request);
			else if (request.type == LP_MEMTEST)
				memtest_request(&request);
			else if (request.type == LP_SELFTEST)
				selftest_request(&request);
			else
				counters(&request);
		}
	}
	/* Whatever of the frame nobody wanted. */
	if (request.words)
		hal_rx_drop();
}

void protocol_init(void)
{
	runner_init();
}

void protocol_step(void)
{
	runner_step();
	if (hal_rx_words() && hal_tx_room() >= MAX_REPLY_WORDS)
		serve();
}
