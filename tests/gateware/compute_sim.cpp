// Runs cases on a Verilated COMPUTE engine: memories with the latency of gateware/buffers.py and
// randomly stalling ABUF ports. Cases come from stdin, results go to stdout, both binary; the
// Python side is compute_sim.py.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vengine.h"
#include "verilated.h"

struct Header {
    uint32_t seed, read_ready, write_ready, word_valid;  // Of 256.
    uint32_t limit;                                      // Clocks.
    uint32_t reset_at;                                   // 0, or the clock of a reset.
    uint32_t separate;                                   // Writes go to a copy that is not read.
    uint32_t abuf, wbuf, pbuf, words;
};
struct Result {
    uint32_t status;  // 0 all words done, 1 limit reached, 2 error, 3 reset as asked.
    uint32_t clocks, busy, mac, stall_abuf, stall_requant, completed, reads;
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

// A port of the model as 32-bit words, whether Verilator holds it as an integer or an array.
template <typename T> static void set_words(T &port, const uint16_t *v, int n) {
    if constexpr (sizeof(T) <= 8) {
        uint64_t value = 0;
        for (int i = 0; i < n; i++) value |= (uint64_t)v[i] << 16*i;
        port = value;
    } else {
        for (int i = 0; i < n/2; i++) port[i] = v[2*i] | (uint32_t)v[2*i + 1] << 16;
    }
}

int main(int argc, char **argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vengine dut{&context};
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

    uint64_t read_data[LATENCY + 1] = {}, pbuf_data[LATENCY + 1] = {};
    uint32_t w_address[LATENCY + 1] = {};
    bool read_valid[LATENCY + 1] = {};

    while (get(&h, 1)) {
        std::vector<uint64_t> abuf(h.abuf), pbuf(h.pbuf);
        std::vector<uint16_t> wbuf((size_t)h.wbuf*PARTS);
        std::vector<uint32_t> words(h.words);
        if (!get(abuf.data(), abuf.size()) || !get(wbuf.data(), wbuf.size()) ||
            !get(pbuf.data(), pbuf.size()) || !get(words.data(), words.size())) return 1;
        std::vector<uint64_t> copy(abuf);
        std::vector<uint64_t> &written = h.separate ? copy : abuf;
        state = h.seed | 1;
        Result result = {};
        result.status = 1;

        // Reads of the case before are still on their way while the reset comes.
        dut.word_valid = dut.read_ready = dut.write_ready = 0;
        dut.reset = 1;
        for (int i = 0; i < 24; i++) {
            dut.read_valid = read_valid[LATENCY];
            for (int j = LATENCY; j > 1; j--) read_valid[j] = read_valid[j - 1];
            read_valid[1] = false;
            clock();
            dut.reset = 0;
        }
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
            dut.read_valid  = read_valid[LATENCY];
            dut.read_data   = read_valid[LATENCY] ? read_data[LATENCY] : 0x5a5a5a5a5a5a5a5aull;
            dut.pbuf_data   = pbuf_data[LATENCY];
            set_words(dut.wbuf_data, &wbuf[(size_t)(w_address[LATENCY] % h.wbuf)*PARTS], PARTS);
            dut.eval();
            for (int i = LATENCY; i > 1; i--) {
                read_data[i]  = read_data[i - 1];
                read_valid[i] = read_valid[i - 1];
                pbuf_data[i]  = pbuf_data[i - 1];
                w_address[i]  = w_address[i - 1];
            }
            read_valid[1] = dut.cmd_valid && dut.read_ready;
            read_data[1]  = abuf[dut.cmd_address % h.abuf];
            pbuf_data[1]  = pbuf[dut.pbuf_address % h.pbuf];
            w_address[1]  = dut.wbuf_address;
            if (dut.write_valid && dut.write_ready)
                written[dut.write_address % h.abuf] = dut.write_data;
            if (dut.word_valid && dut.word_ready) { next++; word = false; }
            result.reads         += read_valid[1];
            result.busy          += dut.busy;
            result.mac           += dut.mac;
            result.stall_abuf    += dut.stall_abuf;
            result.stall_requant += dut.stall_requant;
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
