// small_soc under Verilator: its line is a TCP port. Ends when the client leaves;
// SIGUSR1 resets the SoC, not the DRAM.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "Vsmall_soc.h"
#include "verilated.h"

static volatile sig_atomic_t reset = 1;

static void on_signal(int)
{
	reset = 1;
}

int main()
{
	signal(SIGUSR1, on_signal);
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	sockaddr_in address = {};
	socklen_t size = sizeof(address);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (sockaddr *)&address, size) || listen(listener, 1))
		return 1;
	getsockname(listener, (sockaddr *)&address, &size);
	printf("litepress_sim: listening on %d\n", ntohs(address.sin_port));
	fflush(stdout);
	int line = accept(listener, nullptr, nullptr);
	setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

	Vsmall_soc top;
	unsigned char in[4096], out[4096];
	ssize_t have = 0, at = 0, filled = 0;
	top.line_tx_ready = 1;
	for (unsigned long clock = 0;; clock++) {
		if (clock % 256 == 0) {
			top.sys_rst = reset;
			reset = 0;
			if (at == have) {
				have = recv(line, in, sizeof(in), MSG_DONTWAIT);
				at = 0;
				if (have == 0)
					return 0;
				if (have < 0)
					have = 0;
			}
			if (filled && send(line, out, filled, MSG_NOSIGNAL) != filled)
				return 0;
			filled = 0;
		}
		top.line_rx_valid = at < have;
		top.line_rx_data = at < have ? in[at] : 0;
		top.sys_clk = 0;
		top.eval();
		bool taken = top.line_rx_valid && top.line_rx_ready;
		if (top.line_tx_valid)
			out[filled++] = top.line_tx_data;
		top.sys_clk = 1;
		top.eval();
		at += taken;
	}
}
