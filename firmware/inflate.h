#ifndef LITEPRESS_INFLATE_H
#define LITEPRESS_INFLATE_H

#include <stdint.h>

/* Takes a stream of spec/huffman.py, ``words`` words, from the receiver and writes its data to the
 * region from ``address`` on, at most ``room`` bytes. Returns the bytes written, or -1: no encoder
 * made it, or its data does not fit; then part of the data may have been written. Takes from *words
 * what it has popped. */
int32_t inflate(uint32_t address, uint32_t room, uint32_t *words);

#endif
