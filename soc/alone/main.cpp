// Test bench of the accelerator: a behavioural DRAM with random stalls on its three native ports.
//
//   bench DRAM_IN DRAM_OUT PROFILE_OUT < runs
//
// Each line of `runs` starts a program on the same DRAM:
//   program words region_base region_words seed limit abort_clock
// (word offset in the region, words; region in words; seed 0: no stalls, a fixed latency; clocks
// until the bench gives up; clock of an abort, -1: none). Each prints one line of results:
//   status done error detail run_cycles layers_done clocks reads writes
// where status is 0, or 1 when the limit passed. Profile memory: after each run, 2048 words.
// An access outside the region, or one that a DRAM controller could not serve, ends the bench with
// exit code 3.

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

static const unsigned PROFILE_WORDS = 128 * 16;
static const unsigned LATENCY = 12;   // Clocks from a command to its data, without stalls.

static Vtop *top;
static std::vector<uint32_t> dram;
static uint64_t now = 0, rng = 0;
static uint32_t region_base = 0, region_words = 0;
static uint64_t reads = 0, writes = 0;

static uint32_t rand32() {
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33);
}

[[noreturn]] static void violation(const char *port, const char *what, uint32_t address) {
    fprintf(stderr, "%s port: %s, word %u (region %u to %u), clock %" PRIu64 "\n", port, what,
            address, region_base, region_base + region_words, now);
    exit(3);
}

// Commands in flight of one port. Reads take their data when the command is accepted, writes have
// theirs when the controller takes it: the least favourable order between ports.
struct Port {
    const char *name;
    bool ready = false;
    bool was_valid = false;
    uint32_t was_address = 0;
    struct Command { uint64_t due; uint32_t address, data; };
    std::deque<Command> commands;
    unsigned burst = 0;         // Clocks left of a phase of stalls or of flow.
    bool stalled = false;

    bool go(bool stalls) {      // Phases of stalls and of flow rather than a coin a clock.
        if (!stalls) return true;
        if (burst-- == 0) {
            stalled = !stalled;
            burst = rand32() % (stalled ? (rand32() % 16 ? 6 : 60) : 12);
        }
        return !stalled && rand32() % 8 != 0;
    }

    void accept(bool valid, uint32_t address, bool stalls) {
        if (was_valid && (!valid || address != was_address))
            violation(name, "command taken back before it was accepted", was_address);
        was_valid = valid && !ready;
        was_address = address;
        if (!valid || !ready) return;
        if (address < region_base || address - region_base >= region_words ||
                address >= dram.size())
            violation(name, "access outside the region", address);
        uint64_t due = now + (stalls ? 2 + rand32() % 20 : LATENCY);
        if (!commands.empty() && commands.back().due >= due) due = commands.back().due + 1;
        commands.push_back({due, address, dram[address]});
    }

    bool due() const { return !commands.empty() && commands.front().due <= now; }
};

static Port fetch_port{"fetch"}, read_port{"read"}, write_port{"write"};

static void clock(bool stalls) {
    // Inputs for this clock.
    fetch_port.ready = fetch_port.go(stalls) && fetch_port.commands.size() < 24;
    read_port.ready  = read_port.go(stalls)  && read_port.commands.size()  < 24;
    write_port.ready = write_port.go(stalls) && write_port.commands.size() < 24;
    top->fetch_cmd_ready = fetch_port.ready;
    top->read_cmd_ready  = read_port.ready;
    top->write_cmd_ready = write_port.ready;
    bool fetch_due = fetch_port.due(), read_due = read_port.due(), write_due = write_port.due();
    top->fetch_rdata_valid = fetch_due;
    top->fetch_rdata = fetch_due ? fetch_port.commands.front().data : rand32();
    top->read_rdata_valid = read_due;
    top->read_rdata = read_due ? read_port.commands.front().data : rand32();
    top->write_wdata_ready = write_due;
    top->sys_clk = 0;
    top->eval();

    // What the clock edge takes.
    if (fetch_due) {
        if (!top->fetch_rdata_ready) violation("fetch", "no room for read data", 0);
        fetch_port.commands.pop_front();
    }
    if (read_due) {
        if (!top->read_rdata_ready) violation("read", "no room for read data", 0);
        read_port.commands.pop_front();
        reads++;
    }
    if (write_due) {
        uint32_t address = write_port.commands.front().address;
        if (!top->write_wdata_valid) violation("write", "no data for a write", address);
        if (top->write_wdata_we != 0xf) violation("write", "not a whole word", address);
        dram[address] = top->write_wdata;
        write_port.commands.pop_front();
        writes++;
    }
    if ((top->fetch_cmd_valid && top->fetch_cmd_we) || (top->read_cmd_valid && top->read_cmd_we))
        violation("read", "write command", top->read_cmd_addr);
    if (top->write_cmd_valid && !top->write_cmd_we)
        violation("write", "read command", top->write_cmd_addr);
    fetch_port.accept(top->fetch_cmd_valid, top->fetch_cmd_addr, stalls);
    read_port.accept(top->read_cmd_valid, top->read_cmd_addr, stalls);
    write_port.accept(top->write_cmd_valid, top->write_cmd_addr, stalls);

    top->sys_clk = 1;
    top->eval();
    now++;
}

static FILE *open(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (!file) { perror(path); exit(2); }
    return file;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: bench DRAM_IN DRAM_OUT PROFILE_OUT < runs\n");
        return 2;
    }
    auto context = std::make_unique<VerilatedContext>();
    auto owner = std::make_unique<Vtop>(context.get());
    top = owner.get();

    FILE *file = open(argv[1], "rb");
    uint32_t word;
    while (fread(&word, 4, 1, file) == 1) dram.push_back(word);
    fclose(file);
    FILE *profile = open(argv[3], "wb");

    top->sys_rst = 1;
    for (int i = 0; i < 4; i++) clock(false);
    top->sys_rst = 0;
    clock(false);

    uint32_t program, words;
    uint64_t seed, limit;
    int64_t abort_clock;
    while (scanf("%u %u %u %u %" SCNu64 " %" SCNu64 " %" SCNd64, &program, &words, &region_base,
                 &region_words, &seed, &limit, &abort_clock) == 7) {
        rng = seed * 0x9e3779b97f4a7c15u + 1;
        bool stalls = seed != 0;
        reads = writes = 0;
        top->ctl_program = program;
        top->ctl_program_words = words;
        top->ctl_region_base = region_base;
        top->ctl_region_words = region_words;
        top->ctl_start = 1;
        clock(stalls);
        top->ctl_start = 0;
        uint64_t clocks = 0;
        do {
            top->ctl_abort = (int64_t)clocks == abort_clock;
            clock(stalls);
            top->eval();
        } while (top->ctl_busy && ++clocks < limit);
        top->ctl_abort = 0;
        if (!top->ctl_busy && !(fetch_port.commands.empty() && read_port.commands.empty() &&
                            write_port.commands.empty()))
            violation("any", "idle with accesses in flight", 0);
        printf("%d %d %d %u %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
               (int)top->ctl_busy, (int)top->ctl_done, (int)top->ctl_error, top->ctl_detail,
               (uint64_t)top->ctl_run_cycles, top->ctl_layers_done, clocks, reads, writes);
        for (unsigned i = 0; i < PROFILE_WORDS; i++) {
            top->ctl_profile_address = i;
            for (int j = 0; j < 3; j++) clock(stalls);
            top->eval();
            uint32_t data = top->ctl_profile_data;
            fwrite(&data, 4, 1, profile);
        }
        if (top->ctl_busy) break;
    }
    fclose(profile);
    file = open(argv[2], "wb");
    fwrite(dram.data(), 4, dram.size(), file);
    fclose(file);
    top->final();
    return 0;
}
