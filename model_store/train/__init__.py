"""Training of small models on this machine: the program behind `isocost models train`."""
