"""Words everything else is built from. No I/O, no clock, no imports from above."""
