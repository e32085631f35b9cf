/* The device's side of spec/wire.py. */

#ifndef PROTOCOL_H
#define PROTOCOL_H

void protocol_init(void);

/* Answer one request if there is one and its reply can be sent; never waits. */
void protocol_step(void);

#endif
