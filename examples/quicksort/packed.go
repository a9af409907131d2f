package main

import "github.com/apache/arrow-go/v18/arrow"

// Packed is numbers as they travel: their bytes as they lie in memory. Packing and unpacking cost nothing. It is not
// for clusters whose nodes have unlike byte orders; an Arrow record is.
type Packed = []byte

func pack(numbers []int64) Packed { return arrow.Int64Traits.CastToBytes(numbers) }

func unpack(packed Packed) []int64 { return arrow.Int64Traits.CastFromBytes(packed) }
