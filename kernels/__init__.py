"""Loops over events, compiled: numpy arrays in, numpy arrays out.

The contract of a kernel:

- a free function over contiguous one-dimensional arrays: inputs first, then sizes and scalars, outputs last;
- it checks nothing (its caller has), allocates nothing that grows, raises nothing, and returns a count or a status;
- types are int64, uint64, float64, uint8, bool and int32 offsets or ids; narrower columns are widened before;
- inputs are declared read-only, because views of Arrow and polars columns are;
- ``valid`` is one byte a value, 0 for null; an array of length zero means that nothing is null;
- a negative group id means "skip this row".

`_compile.kernel` makes one; it is compiled when first called, or ahead of time by ``windrow warmup``.
This package knows numpy and numba, and nothing else.
"""
