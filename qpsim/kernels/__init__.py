"""The only machine code of the package: loops over (coordinate, lane) arrays, compiled lazily.

A lane is one replicate; lanes are the contiguous last axis, so that every loop over them becomes
vector instructions. Kernels take arrays, write into arrays they are given, and check nothing.
"""
