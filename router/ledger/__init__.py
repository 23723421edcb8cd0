"""The store of money behind `layers/spend`: reservations and budgets, shared by replicas."""
