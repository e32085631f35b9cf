// The simulated SoC as a program: clock, DRAM contents, the host's line as a TCP port.
//
// It needs no terminal and ends by itself. See docs/simulation.md, or --help.

#include <signal.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vlitepress_sim.h"
#include "sim_config.h"
#include "sim_line.h"
#include "verilated.h"
#ifdef TRACE
#include "verilated_fst_c.h"
#endif

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Exit codes beside 0.
enum { BAD_USE = 1, IDLE = 3, CYCLE_LIMIT = 4, STOPPED = 5 };

constexpr uint64_t POLL_CLOCKS = 1024;   // Between two looks at the socket.

static volatile sig_atomic_t signalled = 0;

// Options -----------------------------------------------------------------------------------------

static const char HELP[] =
	"usage: litepress_sim [options]\n"
	"  --port N           TCP port on localhost; 0 (default): a free one, which is printed\n"
	"  --preload FILE     bytes that are in the DRAM from address 0 when the SoC starts\n"
	"  --dump FILE        at the end, write DRAM contents to FILE\n"
	"  --dump-start N     first byte of it (default 0)\n"
	"  --dump-bytes N     how many (default: to the end of the DRAM)\n"
	"  --idle-timeout S   end with code 3 after S seconds without a byte from or to a client\n"
	"                     (default 120; 0: never)\n"
	"  --max-cycles N     end with code 4 after N clocks (default 0: no limit)\n"
	"  --uart-divisor N   at most one byte every N clocks each way (default 1)\n"
	"  --trace FILE.fst   write a waveform (a build with --trace only)\n"
	"  --trace-start N    first clock of it (default 0)\n"
	"  --trace-end N      last clock of it (default: the end)\n"
	"It ends with code 0 when the client disconnects.\n";

struct Options {
	unsigned port = 0;
	std::string preload, dump, trace;
	uint64_t dump_start = 0, dump_bytes = UINT64_MAX;
	uint64_t trace_start = 0, trace_end = UINT64_MAX;
	double idle_timeout = 120;
	uint64_t max_cycles = 0, uart_divisor = 1;
};

static uint64_t number(const std::string &name, const std::string &text, uint64_t low,
                       uint64_t high)
{
	char *end;
	errno = 0;
	uint64_t value = strtoull(text.c_str(), &end, 0);
	if (text.empty() || *end || errno || text[0] == '-' || value < low || value > high)
		throw std::runtime_error(name + " " + text + ": allowed are whole numbers from " +
		                         std::to_string(low) + " to " + std::to_string(high));
	return value;
}

static Options parse(int argc, char **argv)
{
	Options options;
	for (int i = 1; i < argc; i++) {
		std::string name = argv[i];
		if (name == "--help" || name == "-h") {
			fputs(HELP, stdout);
			exit(0);
		}
		if (i + 1 == argc)
			throw std::runtime_error(name + ": unknown option, or its value is missing (--help)");
		std::string value = argv[++i];
		if (name == "--port")
			options.port = number(name, value, 0, 65535);
		else if (name == "--preload")
			options.preload = fs::absolute(value);
		else if (name == "--dump")
			options.dump = fs::absolute(value);
		else if (name == "--dump-start")
			options.dump_start = number(name, value, 0, UINT64_MAX);
		else if (name == "--dump-bytes")
			options.dump_bytes = number(name, value, 0, UINT64_MAX);
		else if (name == "--idle-timeout") {
			char *end;
			options.idle_timeout = strtod(value.c_str(), &end);
			if (value.empty() || *end || !(options.idle_timeout >= 0))
				throw std::runtime_error(name + " " + value + ": allowed are seconds, 0 or more");
		} else if (name == "--max-cycles")
			options.max_cycles = number(name, value, 0, UINT64_MAX);
		else if (name == "--uart-divisor")
			options.uart_divisor = number(name, value, 1, 1000000);
		else if (name == "--trace")
			options.trace = fs::absolute(value);
		else if (name == "--trace-start")
			options.trace_start = number(name, value, 0, UINT64_MAX);
		else if (name == "--trace-end")
			options.trace_end = number(name, value, 0, UINT64_MAX);
		else
			throw std::runtime_error(name + ": unknown option (--help)");
	}
#ifndef TRACE
	if (!options.trace.empty())
		throw std::runtime_error("--trace: this build has no tracing; build one with "
		                         "python -m litepress.soc.sim --trace");
#endif
	return options;
}

// DRAM --------------------------------------------------------------------------------------------

// The banks' memories, as bytes at the addresses the CPU and the accelerator see.
class Dram {
public:
	explicit Dram(Vlitepress_sim &top)
	{
		auto *root = top.rootp;
		auto banks = DRAM_BANKS(root);
		for (auto *bank : banks) {
			words_.push_back(&(*bank)[0]);
			bytes_ = 4ull * bank->size() * BANKS;
		}
	}

	uint64_t bytes() const { return bytes_; }

	uint32_t &word(uint64_t w)
	{
		return words_[w / ROW_WORDS % BANKS][w / (ROW_WORDS * BANKS) * ROW_WORDS + w % ROW_WORDS];
	}

	uint8_t get(uint64_t address) { return word(address / 4) >> 8 * (address % 4); }

	void set(uint64_t address, uint8_t value)
	{
		unsigned shift = 8 * (address % 4);
		uint32_t &w = word(address / 4);
		w = (w & ~(0xffu << shift)) | uint32_t(value) << shift;
	}

	void load(const std::string &path)
	{
		std::ifstream file(path, std::ios::binary);
		std::vector<char> data((std::istreambuf_iterator<char>(file)), {});
		if (!file.is_open() || file.bad())
			throw std::runtime_error("--preload " + path + ": cannot be read");
		if (data.size() > bytes_)
			throw std::runtime_error("--preload " + path + ": " + std::to_string(data.size()) +
			                         " bytes, the DRAM holds " + std::to_string(bytes_));
		for (uint64_t i = 0; i < data.size(); i++)
			set(i, data[i]);
	}

	void save(const std::string &path, uint64_t start, uint64_t count)
	{
		std::string temporary = path + ".tmp";
		std::ofstream file(temporary, std::ios::binary);
		for (uint64_t i = start; i < bytes_ && i - start < count; i++)
			file.put(char(get(i)));
		file.close();
		if (!file || rename(temporary.c_str(), path.c_str()))
			throw std::runtime_error("--dump " + path + ": cannot be written");
	}

private:
	std::vector<IData *> words_;
	uint64_t bytes_ = 0;
};

// Simulation --------------------------------------------------------------------------------------

class Simulation {
public:
	explicit Simulation(const Options &options) : options_(options), top_(&context_), dram(top_)
	{
#ifdef TRACE
		if (!options.trace.empty()) {
			context_.traceEverOn(true);
			top_.trace(&trace_, 99);
			trace_.open(options.trace.c_str());
			if (!trace_.isOpen())
				throw std::runtime_error("--trace " + options.trace + ": cannot be written");
		}
#endif
		top_.line_rx_valid = 0;
		top_.line_tx_ready = 0;
	}

	// Clocks until the next look at the socket.
	void run(Line &line, uint64_t count)
	{
		for (; count; count--, clocks_++) {
			bool offer = line.has_byte() && clocks_ >= rx_due_;
			top_.line_rx_valid = offer;
			top_.line_rx_data = offer ? line.byte() : 0;
			bool take = line.has_room() && clocks_ >= tx_due_;
			top_.line_tx_ready = take;
			top_.sys_clk = 0;
			top_.eval();
			dump(0);
			if (offer && top_.line_rx_ready) {
				line.pop();
				rx_due_ = clocks_ + options_.uart_divisor;
			}
			if (take && top_.line_tx_valid) {
				line.push(top_.line_tx_data);
				tx_due_ = clocks_ + options_.uart_divisor;
			}
			top_.sys_clk = 1;
			top_.eval();
			dump(1);
		}
	}

	bool finished() const { return context_.gotFinish(); }
	uint64_t clocks() const { return clocks_; }

	void close()
	{
		top_.final();
#ifdef TRACE
		trace_.close();
#endif
	}

private:
	void dump(int half)
	{
#ifdef TRACE
		if (!options_.trace.empty() && clocks_ >= options_.trace_start &&
		    clocks_ <= options_.trace_end)
			trace_.dump(20000 * clocks_ + 10000 * half);   // ps at 50 MHz.
#else
		(void)half;
#endif
	}

	const Options &options_;
	VerilatedContext context_;
	Vlitepress_sim top_;
	uint64_t clocks_ = 0, rx_due_ = 0, tx_due_ = 0;
#ifdef TRACE
	VerilatedFstC trace_;
#endif

public:
	Dram dram;
};

static int simulate(const Options &options)
{
	// The ROM's contents lie beside the program.
	fs::current_path(fs::canonical("/proc/self/exe").parent_path());
	// On the heap: it holds the DRAM.
	auto simulation = std::make_unique<Simulation>(options);
	if (!options.preload.empty())
		simulation->dram.load(options.preload);
	Line line(options.port);
	printf("litepress_sim: listening on %u\n", line.port());
	fflush(stdout);

	auto start = Clock::now(), active = start;
	int code = 0;
	std::string why;
	while (!code) {
		Line::State state = line.poll();
		auto now = Clock::now();
		if (state == Line::MOVED)
			active = now;
		std::chrono::duration<double> silent = now - active;
		if (state == Line::CLOSED) {
			why = "the client disconnected";
			break;
		} else if (signalled) {
			why = "ended by a signal";
			break;
		} else if (options.idle_timeout && silent.count() > options.idle_timeout) {
			code = IDLE;
			why = line.connected() ? "no byte from or to the client" : "no client";
			why += " for " + std::to_string(int(silent.count())) + " s (--idle-timeout)";
		} else if (options.max_cycles && simulation->clocks() >= options.max_cycles) {
			code = CYCLE_LIMIT;
			why = "--max-cycles reached";
		} else if (simulation->finished()) {
			code = STOPPED;
			why = "the simulated design stopped";
		} else {
			uint64_t count = POLL_CLOCKS;
			if (options.max_cycles)
				count = std::min(count, options.max_cycles - simulation->clocks());
			simulation->run(line, count);
		}
	}
	std::chrono::duration<double> wall = Clock::now() - start;
	simulation->close();
	if (!options.dump.empty())
		simulation->dram.save(options.dump, options.dump_start, options.dump_bytes);
	double clocks = double(simulation->clocks());
	fprintf(code ? stderr : stdout,
	        "litepress_sim: %s: %" PRIu64 " clocks in %.2f s: %.0f clocks per second\n",
	        why.c_str(), simulation->clocks(), wall.count(), clocks / wall.count());
	fflush(stdout);
	return code;
}

int main(int argc, char **argv)
{
	struct sigaction action = {};
	action.sa_handler = [](int) { signalled = 1; };
	sigaction(SIGTERM, &action, nullptr);
	sigaction(SIGINT, &action, nullptr);
	try {
		return simulate(parse(argc, argv));
	} catch (const std::exception &error) {
		fprintf(stderr, "litepress_sim: %s\n", error.what());
		return BAD_USE;
	}
}
