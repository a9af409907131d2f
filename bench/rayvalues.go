package main

import (
	"context"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidemill/tidemill/engine"
)

// Functions of the rows about values.
var (
	// PutMany puts a number of values, and returns references to them.
	PutMany = engine.NewFunc("bench-put-many", func(ctx context.Context, n int) ([]engine.Ref[int], error) { return puts(ctx, n), nil })

	// LastOf returns the last number in the first column of a batch.
	LastOf = engine.NewFunc("bench-last-of", func(_ context.Context, b arrow.RecordBatch) (int, error) {
		values := b.Column(0).(*array.Int64).Int64Values()
		return int(values[len(values)-1]), nil
	})

	// LengthOf returns the length of its input.
	LengthOf = engine.NewFunc("bench-length-of", func(_ context.Context, b []byte) (int, error) { return len(b), nil })
)

func (r ray) argumentsRow() row {
	return row{
		name: "ray: arguments", about: "10,000 args: one task whose input is 10,000 references, and which gets all of them (ours 10 times a round)",
		open: r.beside(oursOnly(side{"tidemill", func(ctx context.Context) (sample, error) {
			refs := puts(ctx, wideRefs)
			return repeated(10, 1, func(ctx context.Context) error {
				n, err := SumRefs.Submit(ctx, refs).Get(ctx)
				return check(n, wideRefs*(wideRefs-1)/2, err)
			})(ctx)
		}}), request{"many_args", 1}),
		figures: []figure{{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(20)}},
	}
}

func (r ray) inObjectRow() row {
	return row{
		name: "ray: refs in object", about: "single client get object containing 10k refs, the result of a task (ours 20 times a round, Ray's 10)",
		open: r.beside(oursOnly(side{"tidemill", func(ctx context.Context) (sample, error) {
			ref := PutMany.Submit(ctx, wideRefs)
			if _, _, err := engine.Wait(ctx, []engine.Ref[[]engine.Ref[int]]{ref}, 1); err != nil {
				return nil, err
			}
			return repeated(20, 1, func(ctx context.Context) error {
				refs, err := ref.Get(ctx)
				return check(len(refs), wideRefs, err)
			})(ctx)
		}}), request{"refs_in_object", 10}),
		figures: []figure{{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(20)}},
	}
}

func (r ray) returnsRow() row {
	return row{
		name: "ray: returns", about: "3,000 returns: a task that returns 3,000 objects, all of them got (ours returns references; 10 times a round)", times: 2,
		open: r.beside(oursOnly(side{"tidemill", repeated(10, 1, func(ctx context.Context) error {
			refs, err := PutMany.Submit(ctx, outputs).Get(ctx)
			if err != nil {
				return err
			}
			all, err := engine.GetAll(ctx, refs)
			return check(len(all), outputs, err)
		})}), request{"many_returns", 10}),
		figures: []figure{{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(20)}},
	}
}

func (r ray) getsRow() row {
	return row{
		name: "ray: gets", about: "10,000 gets: one get of 10,000 objects that have been put (ours 20 times a round, Ray's 5)",
		open: r.beside(oursOnly(side{"tidemill", func(ctx context.Context) (sample, error) {
			refs := puts(ctx, wideRefs)
			return repeated(20, 1, func(ctx context.Context) error {
				all, err := engine.GetAll(ctx, refs)
				return check(len(all), wideRefs, err)
			})(ctx)
		}}), request{"many_gets", 5}),
		figures: []figure{{"rate", perSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(20)}},
	}
}

func (r ray) smallRow() row {
	return row{
		name: "ray: small values", about: "single client put calls, and get calls, of a number (ours 100,000 a round, Ray's 1,000 and 5,000)",
		open: r.beside(oursOnly(side{"put", putSmall}, side{"get", getSmall}), request{"put_small", 1_000}, request{"get_small", 5_000}),
		figures: []figure{
			{"put", perSecond, reading{0, rate}, reading{2, rate}, "Ray", ratioAtLeast(100)},
			{"get", perSecond, reading{1, rate}, reading{3, rate}, "Ray", ratioAtLeast(50)},
		},
	}
}

// largeRow puts bytes on our side and a NumPy array on Ray's. Our side puts different bytes each time, since it stores
// equal values once.
func (r ray) largeRow() row {
	return row{
		name: "ray: large put", about: "single client put gigabytes: 100 MiB, put and released, 10 times a round", times: 3,
		open: func(ctx context.Context, sc scale) (*trial, error) {
			data := largeData()
			ours := side{"tidemill", func(ctx context.Context) (sample, error) { return putLarges(ctx, data) }}
			return r.beside(oursOnly(ours), request{"put_large", largePuts})(ctx, sc)
		},
		figures: []figure{{"bytes a second", bytesPerSecond, reading{0, rate}, reading{1, rate}, "Ray", ratioAtLeast(1.5)}},
	}
}

// largePuts is how many large values a round puts.
const largePuts = 10

func putLarges(ctx context.Context, data []byte) (sample, error) {
	var took time.Duration
	for range largePuts {
		one, err := putLarge(ctx, data)
		if err != nil {
			return nil, err
		}
		took += one
	}
	return sample{rate: largePuts * largePut / took.Seconds()}, nil
}

// largeArgumentRow passes an array, which tasks of both sides read in place, and on our side also a []byte, of which each
// task gets a copy.
func (r ray) largeArgumentRow() row {
	inPlace := func(ctx context.Context) (sample, error) {
		ref := engine.Put(ctx, countUp(largePut/8))
		return repeated(100, 1, func(ctx context.Context) error {
			n, err := LastOf.SubmitRef(ctx, ref).Get(ctx)
			return check(n, largePut/8-1, err)
		})(ctx)
	}
	copied := func(ctx context.Context) (sample, error) {
		ref := engine.Put(ctx, largeData())
		return repeated(10, 1, func(ctx context.Context) error {
			n, err := LengthOf.SubmitRef(ctx, ref).Get(ctx)
			return check(n, largePut, err)
		})(ctx)
	}
	return row{
		name: "ray: large argument", about: "a task with 100 MiB by reference, submit, get (ours 100 times a round, Ray's 20)", times: 2,
		open: r.beside(oursOnly(side{"arrow", inPlace}, side{"bytes", copied}), request{"large_arg", 20}),
		figures: []figure{
			{"rate, an Arrow batch", perSecond, reading{0, rate}, reading{2, rate}, "Ray, a NumPy array", ratioAtLeast(10)},
			{"rate, a []byte", perSecond, reading{1, rate}, reading{2, rate}, "Ray, a NumPy array", goal{}},
		},
	}
}

// countUp returns a batch with the numbers from 0 to n-1 in one column.
func countUp(n int) arrow.RecordBatch {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.Reserve(n)
	for i := range n {
		b.UnsafeAppend(int64(i))
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	return array.NewRecordBatch(schema, []arrow.Array{b.NewArray()}, int64(n))
}
