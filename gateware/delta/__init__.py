"""Delta-compressed weights in hardware."""
