"""The compiled inner loops of the network backend: arrays in, ``out`` arrays filled, no checks."""
