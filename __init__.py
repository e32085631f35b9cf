"""LitePress: compressed neural networks on LiteX SoCs for Lattice ECP5 boards."""

__version__ = "0.1.0"
