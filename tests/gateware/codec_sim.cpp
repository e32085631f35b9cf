// Sends the jobs of codec_sim.py (on stdin) through the cores and writes what comes out.

#include <array>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

static const int WORDS = 4;
enum Status { DONE, TIMEOUT, UNSTABLE };

struct Header {
    uint32_t core, setting, length, reset, seed, sink_stall, source_stall, clear_at, limit, beats,
        count, reserved;
};
struct Beat {
    uint32_t data[WORDS], last;
    bool operator==(const Beat &) const = default;
};
struct Taken {
    Beat beat;
    uint32_t clock;
};

static Vtop top;

static void clock_edge() {
    top.sys_clk = 1;
    top.eval();
    top.sys_clk = 0;
    top.eval();
}

static Beat offered() {
    Beat beat;
    for (int i = 0; i < WORDS; i++)
        beat.data[i] = top.source_data[i];
    beat.last = top.source_last;
    return beat;
}

static Status run(const Header &job, const std::vector<Beat> &beats, std::vector<Taken> &taken) {
    std::mt19937 random(job.seed);
    top.core = job.core;
    top.setting = job.setting;
    top.length = job.length;
    top.sink_valid = top.source_ready = top.clear = 0;
    top.sys_rst = job.reset;
    top.eval();
    clock_edge();
    top.sys_rst = 0;

    size_t sent = 0;
    bool waiting = false, held = false;
    Beat before{};
    for (uint32_t clock = 0; clock < job.limit; clock++) {
        bool filling = clock < job.clear_at;
        top.clear = job.clear_at && clock == job.clear_at;
        if (top.clear)
            sent = 0, waiting = held = false;
        if (!waiting)
            waiting = sent < beats.size() && !top.clear && random() % 256 >= job.sink_stall;
        top.sink_valid = waiting;
        if (waiting) {
            for (int i = 0; i < WORDS; i++)
                top.sink_data[i] = beats[sent].data[i];
            top.sink_last = beats[sent].last;
        }
        top.source_ready = !filling && !top.clear && random() % 256 >= job.source_stall;
        top.eval();
        if (!top.clear) {
            if (held && (!top.source_valid || !(offered() == before)))
                return UNSTABLE;
            held = top.source_valid && !top.source_ready;
            before = offered();
            if (top.source_valid && top.source_ready)
                taken.push_back({before, clock});
            if (top.sink_valid && top.sink_ready)
                sent++, waiting = false;
        }
        clock_edge();
        // Nothing may come after the last beat: look a little longer.
        if (taken.size() > job.count)
            return TIMEOUT;
        if (taken.size() == job.count && sent == beats.size()) {
            top.sink_valid = 0;
            top.source_ready = 1;
            for (int i = 0; i < 40; i++) {
                top.eval();
                if (top.source_valid)
                    return UNSTABLE;
                clock_edge();
            }
            return DONE;
        }
    }
    return TIMEOUT;
}

int main() {
    Header job;
    top.sys_clk = 0;
    while (fread(&job, sizeof job, 1, stdin) == 1) {
        std::vector<Beat> beats(job.beats);
        std::vector<Taken> taken;
        if (job.beats && fread(beats.data(), sizeof(Beat), job.beats, stdin) != job.beats)
            return 1;
        uint32_t head[2];
        head[0] = run(job, beats, taken);
        head[1] = taken.size();
        fwrite(head, sizeof head, 1, stdout);
        if (head[0] == DONE)
            fwrite(taken.data(), sizeof(Taken), taken.size(), stdout);
    }
}
