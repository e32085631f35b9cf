/* The firmware: brings up the DRAM, then answers the host. */

#include "hal.h"
#include "protocol.h"

int main(void)
{
	hal_init();
	protocol_init();
	for (;;)
		protocol_step();
}
