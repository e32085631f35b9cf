// An array of codes, a record of stimulus a clock: control (valid, first, last), operand, weights, 64
// bits each; of each clock out come dump and four sums.

#include <cstdint>
#include <cstdio>

#include "Vtop.h"
#include "verilated.h"

int main() {
    Vtop top;
    uint64_t in[3];
    while (fread(in, sizeof in, 1, stdin) == 1) {
        top.valid = in[0] & 1;
        top.first = in[0] >> 1 & 1;
        top.last = in[0] >> 2 & 1;
        top.operand = in[1];
        top.weights = in[2];
        top.sys_clk = 0;
        top.eval();
        const uint64_t out[5] = {top.dump, top.out0, top.out1, top.out2, top.out3};
        fwrite(out, sizeof out, 1, stdout);
        top.sys_clk = 1;
        top.eval();
    }
    return 0;
}
