/* Huffman streams: the decoder of spec/huffman.py. A table for short codes, canonical order for the
 * others. */

#include <litepress_spec.h>

#include "hal.h"
#include "inflate.h"

#define MAX_VALUES (1 << LP_HUFFMAN_MAX_BITS)
#define PER_WORD (32 / LP_HUFFMAN_LENGTH_BITS)
#define FAST_BITS 8

struct code {
	uint16_t count[LP_HUFFMAN_MAX_LENGTH + 1];  /* Codes of each length. */
	uint8_t value[MAX_VALUES];                  /* In the order of their codes. */
	uint16_t fast[1 << FAST_BITS];              /* By the next bits: value << 4 | length, or 0. */
};

/* The bits to come: at least 17 in ``next``, unless the stream ends. */
struct bits {
	uint32_t next, count, word, halves, words;
};

static void refill(struct bits *bits)
{
	while (bits->count <= 16) {
		if (!bits->halves) {
			if (!bits->words)
				return;
			bits->word = hal_rx_pop();
			bits->words--;
			bits->halves = 2;
		}
		bits->next |= (bits->word & 0xffff) << bits->count;
		bits->word >>= 16;
		bits->halves--;
		bits->count += 16;
	}
}

/* Every continuation of a code, whose first bit comes lowest, in the fast table. */
static void add_fast(struct code *code, uint32_t number, uint32_t length, uint32_t value)
{
	uint32_t i, reversed = 0;

	for (i = 0; i < length; i++)
		reversed |= (number >> i & 1) << (length - 1 - i);
	for (i = reversed; i < 1 << FAST_BITS; i += 1u << length)
		code->fast[i] = value << 4 | length;
}

/* Reads the table; returns 0 when its lengths are no code. */
static int read_table(struct code *code, uint32_t bits, uint32_t fields, uint32_t *words)
{
	uint32_t table[MAX_VALUES / PER_WORD];
	uint32_t values = 1u << bits, size = (values + PER_WORD - 1) / PER_WORD;
	uint32_t i, length, used = 0, number = 0;
	int32_t left = 1;

	if (*words < size)
		return 0;
	for (i = 0; i < size; i++)
		table[i] = hal_rx_pop();
	*words -= size;
	if (values < PER_WORD && table[0] >> values * LP_HUFFMAN_LENGTH_BITS)
		return 0;
	for (i = 0; i < 1 << FAST_BITS; i++)
		code->fast[i] = 0;
	for (length = 1; length <= LP_HUFFMAN_MAX_LENGTH; length++, number <<= 1) {
		uint32_t before = used;

		for (i = 0; i < values; i++)
			if ((table[i / PER_WORD] >> i % PER_WORD * LP_HUFFMAN_LENGTH_BITS &
			     LP_HUFFMAN_MAX_LENGTH) == length) {
				if (left * 2 <= (int32_t)(used - before))
					return 0;       /* More codes than there are. */
				if (length <= FAST_BITS)
					add_fast(code, number, length, i);
				code->value[used++] = i;
				number++;
			}
		code->count[length] = used - before;
		left = 2 * left - code->count[length];
	}
	return !left || (used == 1 && code->count[1] == 1) || (!used && !fields);
}

/* The value of the next code and its length in *length; -1: there is no such code. */
static int32_t slow(const struct code *code, uint32_t next, uint32_t *length)
{
	uint32_t number = 0, first = 0, index = 0, count = 0, n = 0;

	do {
		if (n == LP_HUFFMAN_MAX_LENGTH)
			return -1;
		index += count;
		first = (first + count) << 1;
		number = number << 1 | (next >> n++ & 1);
		count = code->count[n];
	} while (number - first >= count);
	*length = n;
	return code->value[index + number - first];
}

int32_t inflate(uint32_t address, uint32_t room, uint32_t *words)
{
	struct code code;
	struct bits in = {0, 0, 0, 0, 0};
	uint32_t fields, width, bytes, start = address, out = 0, filled = 0;

	if (*words < LP_HUFFMAN_HEADER_WORDS)
		return -1;
	fields = hal_rx_pop();
	width = hal_rx_pop();
	*words -= LP_HUFFMAN_HEADER_WORDS;
	if (!width || width > LP_HUFFMAN_MAX_BITS || fields > 0xffffffffu / LP_HUFFMAN_MAX_BITS)
		return -1;
	bytes = fields * width / 32 * 4;
	if (bytes > room || !read_table(&code, width, fields, words))
		return -1;
	in.words = *words;
	for (; fields; fields--) {
		uint32_t entry, length;
		int32_t value;

		refill(&in);
		entry = code.fast[in.next & ((1 << FAST_BITS) - 1)];
		length = entry & 15;
		value = entry ? (int32_t)(entry >> 4) : slow(&code, in.next, &length);
		if (value < 0 || length > in.count)
			break;
		in.next >>= length;
		in.count -= length;
		out |= (uint32_t)value << filled;
		filled += width;
		if (filled >= 32) {
			hal_region_write(address, out);
			address += 4;
			filled -= 32;
			out = filled ? (uint32_t)value >> (width - filled) : 0;
		}
	}
	*words = in.words;
	/* Nothing may follow but zeros to the end of the word. */
	return fields || in.next || in.word || out || in.words ? -1 : (int32_t)(address - start);
}
