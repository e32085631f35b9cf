// Sends the jobs of ebpc_encoder_sim.py (on stdin) through the EBPC encoders and writes what comes
// out of their two sources.

#include <array>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

enum Status { DONE, TIMEOUT, UNSTABLE, EXTRA };

struct Header {
    uint32_t core, unsigned_, seed, sink_stall, stalls[2], clear_at, hold_until, limit, beats,
        lasts[2];
};
struct Beat {
    uint32_t data[2], last;
};
struct Taken {
    uint32_t data, words, last, clock;
    bool same(const Taken &other) const {
        return data == other.data && words == other.words && last == other.last;
    }
};

static Vtop top;

static void clock_edge() {
    top.sys_clk = 1;
    top.eval();
    top.sys_clk = 0;
    top.eval();
}

static Taken offered(int source, uint32_t clock) {
    return source ? Taken{top.bpc_data, top.bpc_words, top.bpc_last, clock}
                  : Taken{top.znz_data, top.znz_words, top.znz_last, clock};
}

static bool valid(int source) {
    return source ? top.bpc_valid : top.znz_valid;
}

struct Output {
    std::vector<Taken> taken;
    uint32_t lasts = 0;
    bool held = false;
    Taken before{};
};

static Status run(const Header &job, const std::vector<Beat> &beats,
                  std::array<Output, 2> &outputs, std::vector<uint32_t> &clocks, uint32_t &error) {
    std::mt19937 random(job.seed);
    top.core = job.core;
    top.sink_valid = top.znz_ready = top.bpc_ready = top.clear = 0;
    top.unsigned_ = job.unsigned_;
    top.sys_rst = 1;
    top.eval();
    clock_edge();
    top.sys_rst = 0;

    bool waiting = false;
    uint32_t idle = 0;
    for (uint32_t clock = 0; clock < job.limit; clock++) {
        top.clear = job.clear_at && clock == job.clear_at;
        if (top.clear) {
            waiting = false;
            clocks.clear();
            outputs = {};
        }
        if (!waiting)
            waiting = clocks.size() < beats.size() && !top.clear
                && random() % 256 >= job.sink_stall;
        top.sink_valid = waiting;
        if (waiting) {
            const Beat &beat = beats[clocks.size()];
            top.sink_data = beat.data[0] | (uint64_t)beat.data[1] << 32;
            top.sink_last = beat.last;
        }
        bool open = !top.clear && clock >= job.hold_until;
        top.znz_ready = open && random() % 256 >= job.stalls[0];
        top.bpc_ready = open && random() % 256 >= job.stalls[1];
        top.eval();
        if (!top.clear) {
            for (int source = 0; source < 2; source++) {
                Output &output = outputs[source];
                Taken now = offered(source, clock);
                if (output.held && (!valid(source) || !now.same(output.before)))
                    return UNSTABLE;
                bool ready = source ? top.bpc_ready : top.znz_ready;
                output.held = valid(source) && !ready;
                output.before = now;
                if (valid(source) && ready) {
                    output.taken.push_back(now);
                    output.lasts += now.last;
                    if (output.lasts > job.lasts[source])
                        return EXTRA;
                }
            }
            if (top.sink_valid && top.sink_ready) {
                clocks.push_back(clock);
                waiting = false;
            }
        }
        error = top.error;
        clock_edge();
        bool complete = clocks.size() == beats.size() && outputs[0].lasts == job.lasts[0]
            && outputs[1].lasts == job.lasts[1];
        // Nothing may come after the last beat: look a little longer.
        if (complete && idle++ == 40)
            return DONE;
        for (int source = 0; complete && source < 2; source++)
            if (idle > 1 && !outputs[source].taken.empty()
                    && outputs[source].taken.back().clock == clock)
                return EXTRA;
    }
    return TIMEOUT;
}

int main() {
    Header job;
    top.sys_clk = 0;
    while (fread(&job, sizeof job, 1, stdin) == 1) {
        std::vector<Beat> beats(job.beats);
        if (job.beats && fread(beats.data(), sizeof(Beat), job.beats, stdin) != job.beats)
            return 1;
        std::array<Output, 2> outputs;
        std::vector<uint32_t> clocks;
        uint32_t error = 0;
        uint32_t head[5];
        head[0] = run(job, beats, outputs, clocks, error);
        head[1] = error;
        head[2] = clocks.size();
        head[3] = outputs[0].taken.size();
        head[4] = outputs[1].taken.size();
        fwrite(head, sizeof head, 1, stdout);
        fwrite(clocks.data(), sizeof(uint32_t), clocks.size(), stdout);
        for (Output &output : outputs)
            fwrite(output.taken.data(), sizeof(Taken), output.taken.size(), stdout);
    }
}
