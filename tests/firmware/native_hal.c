/* firmware/hal.h on a PC: the line is a TCP socket, the DRAM an array, the accelerator a toy.
 *
 * The receiver loses bytes that come while its memory is full, as a serial port does. The toy
 * accelerator takes four words as its program: input offset, input bytes, output offset, output
 * bytes; output[i] = input[i % input bytes] + 1. Its counters are slot * 1000 + index.
 *
 * Options: --port N (0: any), --region BYTES, --arch C,A,W,P,V,K, --formats BITS, --engines BITS,
 * --run-ms N, --fail CODE, --hang-after N (answer N requests, then stop), --reset-after N (begin anew
 * after N requests, DRAM kept), --never-done, --keep (wait for another client), --low BITS, --high BITS
 * (data bits of the DRAM that are stuck), --address BITS (of its addresses that are stuck at 0),
 * --revision WORD, --preload FILE and --idle-timeout SECONDS as the simulator has them.
 */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <litepress_spec.h>

#include "hal.h"
#include "protocol.h"

#define RX_WORDS 1024
#define TX_WORDS 512

static int line = -1;
static uint8_t *dram;
static uint32_t region_bytes = 1 << 20;
static struct hal_arch arch = {4, 2048, 512, 256, 256, 0, 0x1fff, 0xf};
static uint32_t low, high, address_low, revision;
static int fail, run_ms, never_done, hang_after = -1, reset_after = -1, served;

static uint32_t word_at(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t crc_bytes(uint32_t crc, const uint8_t *data, uint32_t bytes)
{
	crc = ~crc;
	while (bytes--) {
		crc ^= *data++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Receiver ----------------------------------------------------------------------------------------*/

static uint32_t memory[RX_WORDS];
static uint32_t put, committed, get, left_to_read;

static void receive_byte(uint8_t byte, int silence)
{
	static uint8_t frame[8 + LP_MAX_PAYLOAD + 4];
	static uint32_t have;
	uint32_t length, total;

	if (silence) {
		have = have < 4 ? have : 0;
		return;
	}
	if (have < 4) {
		memmove(frame, frame + 1, 3);
		frame[3] = byte;
		have = word_at(frame) == LP_SYNC ? 4 : 0;
		return;
	}
	frame[have++] = byte;
	if (have < 8)
		return;
	length = frame[6] | frame[7] << 8;
	if (length > LP_MAX_PAYLOAD) {
		have = 0;
		return;
	}
	total = 4 + (length + 3) / 4 * 4;
	if (have < 4 + total + 4)
		return;
	have = 0;
	if (crc_bytes(0, frame + 4, total) != word_at(frame + 4 + total))
		return;
	if (put - get + total / 4 > RX_WORDS)
		return;                 /* Nowhere to put it: a serial port would have lost it. */
	for (uint32_t i = 0; i < total; i += 4)
		memory[put++ % RX_WORDS] = word_at(frame + 4 + i);
	committed = put;
}

uint32_t hal_rx_words(void)
{
	if (!left_to_read && get != committed)
		left_to_read = 1 + ((memory[get % RX_WORDS] >> 16) + 3) / 4;
	return left_to_read;
}

uint32_t hal_rx_pop(void)
{
	if (!hal_rx_words()) {
		fprintf(stderr, "native: a word is taken where there is none\n");
		abort();
	}
	left_to_read--;
	return memory[get++ % RX_WORDS];
}

void hal_rx_drop(void)
{
	get += hal_rx_words();
	left_to_read = 0;
}

uint32_t hal_rx_bytes(void)
{
	return 4 * RX_WORDS;
}

/* Transmitter -------------------------------------------------------------------------------------*/

static uint8_t out[4 * TX_WORDS];
static uint32_t out_bytes, out_left;

uint32_t hal_tx_room(void)
{
	return TX_WORDS;
}

static void send_all(const uint8_t *data, uint32_t bytes)
{
	while (bytes) {
		ssize_t n = send(line, data, bytes, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		data += n;
		bytes -= n;
	}
}

void hal_tx_push(uint32_t word)
{
	if (!out_left) {
		uint32_t sync = LP_SYNC;
		memcpy(out, &sync, 4);
		out_bytes = 4;
		out_left = 1 + ((word >> 16) + 3) / 4;
	}
	memcpy(out + out_bytes, &word, 4);
	out_bytes += 4;
	if (!--out_left) {
		uint32_t crc = crc_bytes(0, out + 4, out_bytes - 4);
		memcpy(out + out_bytes, &crc, 4);
		send_all(out, out_bytes + 4);
		served++;
	}
}

/* Region ------------------------------------------------------------------------------------------*/

static void check(uint32_t offset, uint32_t words)
{
	if ((offset & 3) || offset > region_bytes || words > (region_bytes - offset) / 4) {
		fprintf(stderr, "native: access outside the region: %#x, %u words\n", offset, words);
		abort();
	}
}

static uint32_t get_word(uint32_t offset)
{
	return word_at(dram + (offset & ~address_low));
}

static void set_word(uint32_t offset, uint32_t word)
{
	word = (word & ~low) | high;
	memcpy(dram + (offset & ~address_low), &word, 4);
}

void hal_init(void) {}

uint32_t hal_region_bytes(void)
{
	return region_bytes;
}

void hal_region_from_rx(uint32_t offset, uint32_t words)
{
	check(offset, words);
	for (; words--; offset += 4)
		set_word(offset, hal_rx_pop());
}

void hal_region_to_tx(uint32_t offset, uint32_t words)
{
	check(offset, words);
	for (; words--; offset += 4)
		hal_tx_push(get_word(offset));
}

void hal_region_read(uint32_t offset, uint32_t *to, uint32_t words)
{
	check(offset, words);
	for (; words--; offset += 4)
		*to++ = get_word(offset);
}

uint32_t hal_region_word(uint32_t offset)
{
	check(offset, 1);
	return get_word(offset);
}

void hal_region_write(uint32_t offset, uint32_t word)
{
	check(offset, 1);
	set_word(offset, word);
}

uint32_t hal_region_crc(uint32_t offset, uint32_t words)
{
	uint32_t crc = 0;

	check(offset, words);
	for (; words--; offset += 4) {
		uint32_t word = get_word(offset);
		crc = crc_bytes(crc, (const uint8_t *)&word, 4);
	}
	return crc;
}

uint32_t hal_crc(const uint32_t *data, uint32_t words)
{
	return crc_bytes(0, (const uint8_t *)data, 4 * words);
}

void hal_region_sync(void) {}

uint64_t hal_cycles(void)
{
	static double start;

	if (!start)
		start = seconds() - 1;
	return (uint64_t)((seconds() - start) * 1e6);
}

uint32_t hal_clock_hz(void)
{
	return 1000000;
}

uint32_t hal_revision(void)
{
	return revision;
}

/* Accelerator -------------------------------------------------------------------------------------*/

static struct {
	int busy, done, error;
	double end;
	uint32_t program, words;
} toy;

void hal_accel_arch(struct hal_arch *to)
{
	*to = arch;
}

void hal_accel_start(uint32_t offset, uint32_t words, uint32_t bytes)
{
	check(offset, words);
	check(0, bytes / 4);
	toy.busy = 1;
	toy.done = toy.error = 0;
	toy.program = offset;
	toy.words = words;
	toy.end = seconds() + 1e-3 * run_ms;
}

void hal_accel_abort(void)
{
	memset(&toy, 0, sizeof(toy));
}

void hal_accel_status(struct hal_accel *status)
{
	if (toy.busy && !never_done && seconds() >= toy.end) {
		const uint8_t *p = dram + toy.program;
		uint32_t from = word_at(p), bytes = word_at(p + 4);
		uint32_t to = word_at(p + 8), result = word_at(p + 12);
		toy.busy = 0;
		toy.done = 1;
		toy.error = fail;
		if (!fail) {
			check(from, bytes / 4);
			check(to, result / 4);
			for (uint32_t i = 0; i < result; i++)
				dram[to + i] = dram[from + i % bytes] + 1;
		}
	}
	status->busy = toy.busy;
	status->done = toy.done;
	status->error = toy.error;
	status->detail = toy.error ? 0x1234 : 0;
}

uint64_t hal_accel_run_cycles(void)
{
	return toy.done ? 5000000000ull : 0;
}

uint32_t hal_accel_layers_done(void)
{
	return toy.done ? 2 : 1;
}

uint32_t hal_accel_counter(uint32_t slot, uint32_t index)
{
	return slot * 1000 + index;
}

/* Main --------------------------------------------------------------------------------------------*/

static void preload(const char *name)
{
	FILE *f = fopen(name, "rb");

	if (!f || !fread(dram, 1, region_bytes, f)) {
		fprintf(stderr, "native: cannot read %s\n", name);
		exit(1);
	}
	fclose(f);
}

static int serve(double idle_timeout)
{
	uint8_t data[4096];
	double last = seconds();
	int one = 1;

	setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	put = committed = get = left_to_read = 0;
	receive_byte(0, 1);
	protocol_init();
	for (;;) {
		struct pollfd p = {line, POLLIN, 0};
		poll(&p, 1, hal_rx_words() ? 0 : 20);
		if (p.revents) {
			ssize_t n = recv(line, data, sizeof(data), 0);
			if (n <= 0)
				return 0;
			for (ssize_t i = 0; i < n; i++)
				receive_byte(data[i], 0);
			last = seconds();
		} else if (seconds() - last > 0.02) {
			receive_byte(0, 1);
		}
		if (idle_timeout && seconds() - last > idle_timeout)
			return 1;
		if (hang_after >= 0 && served >= hang_after)
			continue;
		if (reset_after >= 0 && served >= reset_after) {
			reset_after = -1;
			put = committed = get = left_to_read = 0;
			protocol_init();
		}
		protocol_step();
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int keep = 0, listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	const char *preload_file = 0;
	double idle_timeout = 0;

	for (int i = 1; i < argc; i++) {
		const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(option, "--keep")) {
			keep = 1;
			continue;
		}
		if (!strcmp(option, "--never-done")) {
			never_done = 1;
			continue;
		}
		i++;
		if (!strcmp(option, "--port"))
			address.sin_port = htons(atoi(value));
		else if (!strcmp(option, "--region"))
			region_bytes = strtoul(value, 0, 0);
		else if (!strcmp(option, "--arch"))
			sscanf(value, "%u,%u,%u,%u,%u,%u", &arch.columns, &arch.abuf_depth,
			       &arch.wbuf_depth, &arch.pbuf_depth, &arch.vbuf_depth,
			       &arch.array);
		else if (!strcmp(option, "--formats"))
			arch.formats = strtoul(value, 0, 0);
		else if (!strcmp(option, "--engines"))
			arch.engines = strtoul(value, 0, 0);
		else if (!strcmp(option, "--revision"))
			revision = strtoul(value, 0, 0);
		else if (!strcmp(option, "--low"))
			low = strtoul(value, 0, 0);
		else if (!strcmp(option, "--high"))
			high = strtoul(value, 0, 0);
		else if (!strcmp(option, "--address"))
			address_low = strtoul(value, 0, 0);
		else if (!strcmp(option, "--run-ms"))
			run_ms = atoi(value);
		else if (!strcmp(option, "--fail"))
			fail = atoi(value);
		else if (!strcmp(option, "--hang-after"))
			hang_after = atoi(value);
		else if (!strcmp(option, "--reset-after"))
			reset_after = atoi(value);
		else if (!strcmp(option, "--preload"))
			preload_file = value;
		else if (!strcmp(option, "--idle-timeout"))
			idle_timeout = atof(value);
		else {
			fprintf(stderr, "native: unknown option %s\n", option);
			return 2;
		}
	}
	dram = malloc(region_bytes);
	for (uint32_t i = 0, x = 1; i < region_bytes; i++)
		dram[i] = (x = x * 1664525 + 1013904223) >> 24;
	if (preload_file)
		preload(preload_file);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&address, sizeof(address)) || listen(listener, 1)) {
		perror("native");
		return 1;
	}
	getsockname(listener, (void *)&address, &size);
	printf("litepress_sim: listening on %d\n", ntohs(address.sin_port));
	fflush(stdout);
	do {
		line = accept(listener, 0, 0);
		serve(idle_timeout);
		close(line);
	} while (keep);
	return 0;
}
