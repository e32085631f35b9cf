"""The contract shared by host, gateware, SoC and firmware: plain data, no dependencies."""
