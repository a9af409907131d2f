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

// rangeReader reads a range of a value's leaves. Its goroutines write disjoint parts of data.
type rangeReader struct {
	tier     *Tier
	key      objstore.Key
	manifest manifest
	from, to int    // indexes of leaves
	data     []byte // the leaves of the range
}

// all reads all leaves of the range, several groups at the same time.
func (r *rangeReader) all(ctx context.Context) error {
	if r.from == r.to {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	groups := make(chan int)
	var readers sync.WaitGroup
	for range min(r.tier.cfg.Readers, (r.to-r.from)/groupLeaves+1) {
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

// group reads the leaves of a group that are in the range.
func (r *rangeReader) group(ctx context.Context, group int) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	from, to := max(r.from, group*groupLeaves), min(r.to, (group+1)*groupLeaves)
	if to-from == 1 {
		return r.leaf(ctx, from)
	}
	var read [groupLeaves]bool
	for b, err := range r.tier.blocks.Read(ctx, name(r.key)+"."+strconv.Itoa(group)) {
		if err != nil {
			return err
		}
		i, err := strconv.Atoi(b.Name)
		if err != nil || i < from || i >= to {
			continue
		}
		if err := r.copyLeaf(i, b.Data); err != nil {
			return err
		}
		read[i%groupLeaves] = true
	}
	for i := from; i < to; i++ { // the replica that answered may lag behind
		if read[i%groupLeaves] {
			continue
		}
		if err := r.leaf(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// errMissing says that a value was removed while it was read.
var errMissing = fmt.Errorf("%w: it was removed while it was read", objstore.ErrNotFound)

// leaf reads one leaf by a request of its own.
func (r *rangeReader) leaf(ctx context.Context, i int) error {
	block, err := r.tier.blocks.Get(ctx, name(r.key)+"."+leafName(i))
	if errors.Is(err, queues.ErrNoBlock) {
		err = errMissing
	}
	if err != nil {
		return err
	}
	return r.copyLeaf(i, block)
}

func (r *rangeReader) copyLeaf(i int, block []byte) error {
	return r.manifest.copyLeaf(i, block, objstore.LeafOf(r.data, i-r.from))
}
