package main

import "github.com/apache/arrow-go/v18/arrow"

// Packed is numbers as inputs and results of tasks: the bytes that they have in memory, so that packing and unpacking copy
// nothing. All nodes must have the same byte order; Arrow records do not need that.
type Packed = []byte

func pack(numbers []int64) Packed { return arrow.Int64Traits.CastToBytes(numbers) }

func unpack(packed Packed) []int64 { return arrow.Int64Traits.CastFromBytes(packed) }
