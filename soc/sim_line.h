// The host's line: a TCP server on localhost for one client, without blocking.

#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

class Line {
public:
	enum State { QUIET, MOVED, CLOSED };

	explicit Line(unsigned port)
	{
		sockaddr_in address = {};
		socklen_t size = sizeof(address);
		int one = 1;
		listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		address.sin_family = AF_INET;
		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		address.sin_port = htons(port);
		if (listener_ < 0 || bind(listener_, (sockaddr *)&address, size) ||
		    listen(listener_, 1) || getsockname(listener_, (sockaddr *)&address, &size))
			throw std::runtime_error("--port " + std::to_string(port) + ": " + strerror(errno));
		port_ = ntohs(address.sin_port);
	}

	~Line()
	{
		if (client_ >= 0)
			close(client_);
		if (listener_ >= 0)
			close(listener_);
	}

	Line(const Line &) = delete;
	Line &operator=(const Line &) = delete;

	unsigned port() const { return port_; }
	bool connected() const { return client_ >= 0; }

	// Bytes from the client.
	bool has_byte() const { return in_at_ < in_end_; }
	uint8_t byte() const { return in_[in_at_]; }
	void pop() { in_at_++; }

	// Bytes to the client.
	bool has_room() const { return out_end_ < sizeof(out_); }
	void push(uint8_t byte) { out_[out_end_++] = byte; }

	// Accept, receive and send what can be done at once.
	State poll()
	{
		if (client_ < 0) {
			client_ = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
			if (client_ < 0)
				return QUIET;
			int one = 1;
			setsockopt(client_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			close(listener_);      // One client: another one is refused at once.
			listener_ = -1;
			return MOVED;
		}
		State state = QUIET;
		if (in_at_ == in_end_) {
			ssize_t count = recv(client_, in_, sizeof(in_), 0);
			if (count == 0 || (count < 0 && !later()))
				return CLOSED;
			in_at_ = 0;
			in_end_ = count > 0 ? count : 0;
			if (count > 0)
				state = MOVED;
		}
		if (out_end_) {
			ssize_t count = send(client_, out_, out_end_, MSG_NOSIGNAL);
			if (count < 0 && !later())
				return CLOSED;
			if (count > 0) {
				memmove(out_, out_ + count, out_end_ - count);
				out_end_ -= count;
				state = MOVED;
			}
		}
		return state;
	}

private:
	static bool later() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

	int listener_ = -1, client_ = -1;
	unsigned port_ = 0;
	uint8_t in_[4096], out_[65536];
	size_t in_at_ = 0, in_end_ = 0, out_end_ = 0;
};
