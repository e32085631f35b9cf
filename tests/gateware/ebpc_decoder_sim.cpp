// Sends the jobs of ebpc_decoder_sim.py (on stdin) through the EBPC decoders and writes what comes
// out of them.

#include <array>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

enum Status { DONE, TIMEOUT, UNSTABLE };

static const int SINKS = 3;    // command, znz, bpc; of a segment decoder command, sink, none.
static const int IDLE = 64;    // Clocks to look on after the last beat.

struct Header {
    uint32_t core, unsigned_, seed, stalls[SINKS + 1], hold[SINKS], clear_at, limit,
        beats[SINKS], lasts;
};
struct Taken {
    uint32_t data[2], last, clock, error;
    bool same(const Taken &other) const {
        return data[0] == other.data[0] && data[1] == other.data[1] && last == other.last;
    }
};

static Vtop top;

static void clock_edge() {
    top.sys_clk = 1;
    top.eval();
    top.sys_clk = 0;
    top.eval();
}

static void offer(int sink, bool valid, uint64_t data) {
    if (sink == 0) {
        top.command_valid = valid;
        top.command_data = data;
    } else if (sink == 1) {
        top.znz_valid = valid;
        top.znz_data = data;
    } else {
        top.bpc_valid = valid;
        top.bpc_data = data;
    }
}

static bool ready(int sink) {
    return sink == 0 ? top.command_ready : sink == 1 ? top.znz_ready : top.bpc_ready;
}

static Status run(const Header &job, const std::array<std::vector<uint64_t>, SINKS> &beats,
                  std::array<uint32_t, SINKS> &sent, std::vector<Taken> &taken) {
    std::mt19937 random(job.seed);
    top.core = job.core;
    top.unsigned_ = job.unsigned_;
    for (int sink = 0; sink < SINKS; sink++)
        offer(sink, false, 0);
    top.source_ready = top.clear = 0;
    top.sys_rst = 1;
    top.eval();
    clock_edge();
    top.sys_rst = 0;

    sent = {};
    std::array<bool, SINKS> waiting{};
    bool held = false;
    Taken before{};
    uint32_t lasts = 0, idle = 0;
    for (uint32_t clock = 0; clock < job.limit; clock++) {
        top.clear = job.clear_at && clock == job.clear_at;
        if (top.clear) {
            sent = {};
            waiting = {};
            taken.clear();
            lasts = 0;
            held = false;
        }
        for (int sink = 0; sink < SINKS; sink++) {
            if (!waiting[sink])
                waiting[sink] = sent[sink] < beats[sink].size() && !top.clear
                    && clock >= job.hold[sink] && random() % 256 >= job.stalls[sink];
            offer(sink, waiting[sink], waiting[sink] ? beats[sink][sent[sink]] : random());
        }
        top.source_ready = !top.clear && random() % 256 >= job.stalls[SINKS];
        top.eval();
        if (!top.clear) {
            Taken now{{(uint32_t)top.source_data, (uint32_t)(top.source_data >> 32)},
                      top.source_last, clock, top.error};
            if (held && (!top.source_valid || !now.same(before)))
                return UNSTABLE;
            held = top.source_valid && !top.source_ready;
            before = now;
            if (top.source_valid && top.source_ready) {
                taken.push_back(now);
                lasts += top.source_last;
            }
            for (int sink = 0; sink < SINKS; sink++)
                if (waiting[sink] && ready(sink)) {
                    waiting[sink] = false;
                    sent[sink]++;
                }
        }
        clock_edge();
        bool complete = lasts >= job.lasts && clock > job.clear_at;
        for (int sink = 0; sink < SINKS; sink++)
            complete = complete && sent[sink] == beats[sink].size();
        if (complete && idle++ == IDLE)
            return DONE;
    }
    return TIMEOUT;
}

int main() {
    Header job;
    top.sys_clk = 0;
    while (fread(&job, sizeof job, 1, stdin) == 1) {
        std::array<std::vector<uint64_t>, SINKS> beats;
        for (int sink = 0; sink < SINKS; sink++) {
            beats[sink].resize(job.beats[sink]);
            if (job.beats[sink] && fread(beats[sink].data(), 8, job.beats[sink], stdin)
                    != job.beats[sink])
                return 1;
        }
        std::array<uint32_t, SINKS> sent;
        std::vector<Taken> taken;
        uint32_t head[3 + SINKS];
        head[0] = run(job, beats, sent, taken);
        head[1] = top.error;
        head[2] = taken.size();
        for (int sink = 0; sink < SINKS; sink++)
            head[3 + sink] = sent[sink];
        fwrite(head, sizeof head, 1, stdout);
        fwrite(taken.data(), sizeof(Taken), taken.size(), stdout);
    }
}
