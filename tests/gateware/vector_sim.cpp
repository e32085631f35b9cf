// Runs cases on a Verilated VECTOR engine: memories with the latency of gateware/buffers.py and
// randomly stalling ABUF ports. Cases come from stdin, results go to stdout, both binary; the
// Python side is vector_sim.py.

#include <cstdint>
#include <cstdio>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

struct Header {
    uint32_t seed, read_ready, write_ready, word_valid;  // Of 256.
    uint32_t limit;                                      // Clocks.
    uint32_t reset_at;                                   // 0, or the clock of a reset.
    uint32_t latency;                                    // Of a read, in clocks.
    uint32_t separate;                                   // Writes go to a copy that is not read.
    uint32_t abuf, vbuf, pbuf, words;
};
struct Result {
    uint32_t status;  // 0 all words done, 1 limit reached, 2 error, 3 reset as asked.
    uint32_t clocks, busy, step, stall, completed, reads;
};

static uint32_t state;
static bool chance(uint32_t of256) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (state >> 8 & 255) < of256;
}

template <typename T> static bool get(T *data, size_t count) {
    return fread(data, sizeof(T), count, stdin) == count;
}

// What is read now comes out `latency` clocks later; in between, nothing that could be taken for it.
struct Pipe {
    uint64_t data[8] = {};
    bool valid[8] = {};
    void shift(unsigned latency, bool v, uint64_t d) {
        for (unsigned i = latency; i > 1; i--) {
            data[i]  = data[i - 1];
            valid[i] = valid[i - 1];
        }
        data[1]  = v ? d : 0x5a5a5a5a5a5a5a5aull;
        valid[1] = v;
    }
};

int main(int argc, char **argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop dut{&context};
    Header h;

    auto clock = [&]() {
        dut.sys_clk = 1;
        dut.eval();
        dut.sys_clk = 0;
        dut.eval();
    };
    dut.sys_rst = 1;
    for (int i = 0; i < 4; i++) clock();
    dut.sys_rst = 0;

    Pipe a, v, p;
    while (get(&h, 1)) {
        std::vector<uint64_t> abuf(h.abuf), vbuf(h.vbuf), pbuf(h.pbuf);
        std::vector<uint32_t> words(h.words);
        if (h.latency > 7 || !get(abuf.data(), abuf.size()) || !get(vbuf.data(), vbuf.size()) ||
            !get(pbuf.data(), pbuf.size()) || !get(words.data(), words.size())) return 1;
        std::vector<uint64_t> copy(abuf);
        std::vector<uint64_t> &written = h.separate ? copy : abuf;
        state = h.seed | 1;
        Result result = {};
        result.status = 1;

        // Reads of the case before are still on their way while the reset comes.
        dut.word_valid = dut.read_ready = dut.write_ready = 0;
        dut.reset = 1;
        dut.read_valid = a.valid[h.latency];
        dut.read_data  = a.data[h.latency];
        a.shift(h.latency, false, 0);
        clock();
        dut.reset = 0;

        size_t next = 0;
        bool word = false;
        for (; result.clocks < h.limit; result.clocks++) {
            if (next == words.size() && !word && dut.idle) { result.status = 0; break; }
            if (h.reset_at && result.clocks == h.reset_at) { result.status = 3; break; }
            word = next < words.size() && (word || chance(h.word_valid));
            dut.word_valid  = word;
            dut.word_data   = word ? words[next] : 0xffffffff;
            dut.read_ready  = chance(h.read_ready);
            dut.write_ready = chance(h.write_ready);
            dut.read_valid  = a.valid[h.latency];
            dut.read_data   = a.data[h.latency];
            dut.vbuf_data   = v.data[h.latency];
            dut.pbuf_data   = p.data[h.latency];
            dut.eval();
            const bool read = dut.cmd_valid && dut.read_ready;
            a.shift(h.latency, read, abuf[dut.cmd_address % h.abuf]);
            v.shift(h.latency, true, vbuf[dut.vbuf_address % h.vbuf]);
            p.shift(h.latency, true, pbuf[dut.pbuf_address % h.pbuf]);
            if (dut.write_valid && dut.write_ready)
                written[dut.write_address % h.abuf] = dut.write_data;
            if (dut.word_valid && dut.word_ready) { next++; word = false; }
            result.reads += read;
            result.busy  += dut.busy;
            result.step  += dut.step;
            result.stall += dut.stall;
            if (dut.error) { result.status = 2; break; }
            clock();
        }
        result.completed = dut.completed;
        fwrite(&result, sizeof result, 1, stdout);
        fwrite(written.data(), 8, written.size(), stdout);
    }
    dut.final();
    return 0;
}
