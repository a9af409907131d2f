package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// reading brings a range of a value's leaves.
type reading struct {
	shelf    *Shelf
	key      objstore.Key
	manifest manifest
	from, to int    // leaves
	data     []byte // begins with the first of them
}

// all reads all leaves of the range, several groups at a time.
func (r *reading) all(ctx context.Context) error {
	if r.from == r.to {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	groups := make(chan int)
	var readers sync.WaitGroup
	for range min(r.shelf.cfg.Readers, (r.to-r.from)/groupLeaves+1) {
		readers.Go(func() {
			for g := range groups {
				if err := r.group(ctx, g); err != nil {
					cancel(err)
				}
			}
		})
	}
	for g := r.from / groupLeaves; g <= (r.to-1)/groupLeaves; g++ {
		groups <- g
	}
	close(groups)
	readers.Wait()
	return context.Cause(ctx)
}

// group reads those leaves of a group that are in the range.
func (r *reading) group(ctx context.Context, group int) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	from, to := max(r.from, group*groupLeaves), min(r.to, (group+1)*groupLeaves)
	if to-from == 1 {
		return r.leaf(ctx, from)
	}
	var here [groupLeaves]bool
	for b, err := range r.shelf.blocks.Read(ctx, name(r.key)+"."+strconv.Itoa(group)) {
		if err != nil {
			return err
		}
		i, err := strconv.Atoi(b.Name)
		if err != nil || i < from || i >= to {
			continue
		}
		if err := r.place(i, b.Data); err != nil {
			return err
		}
		here[i%groupLeaves] = true
	}
	for i := from; i < to; i++ { // a replica may be behind
		if here[i%groupLeaves] {
			continue
		}
		if err := r.leaf(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// errMissing says that a value is not whole any more: it was removed while it was read.
var errMissing = fmt.Errorf("%w: a part of it is missing", objstore.ErrNotFound)

func (r *reading) leaf(ctx context.Context, i int) error {
	block, err := r.shelf.blocks.Get(ctx, name(r.key)+"."+leafName(i))
	if errors.Is(err, queues.ErrNoBlock) {
		err = errMissing
	}
	if err != nil {
		return err
	}
	return r.place(i, block)
}

func (r *reading) place(i int, block []byte) error {
	return r.manifest.place(i, block, objstore.LeafOf(r.data, i-r.from))
}
