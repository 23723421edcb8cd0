"""Benchmarks: every figure is measured in one run beside what a user would pick instead.

python -m tests.bench [router] [plan] [memory] [serving] [mixed] [--quick] [--out bench/out]
"""
