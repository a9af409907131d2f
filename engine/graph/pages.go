package graph

const (
	pageSize = 256
	maxSpare = 16 // pages; one record may end some thousands of tasks
)

// Pages is a map from task numbers to T, for numbers that are used nearly in order. Values are in arrays of pageSize, which
// are made when first used and dropped when empty. A look-up costs one access of a Go map, or none if the last look-up was
// in the same page. The zero value is empty. It is not safe for concurrent use.
type Pages[T any] struct {
	pages map[uint64]*page[T]
	last  *page[T]   // the page of the last look-up
	spare []*page[T] // empty pages for reuse, so that steady traffic does not allocate
	count int
}

type page[T any] struct {
	at    uint64 // number / pageSize
	count int
	used  [pageSize]bool
	slots [pageSize]T
}

// Len returns how many numbers are in use.
func (p *Pages[T]) Len() int { return p.count }

// Get returns a pointer to the value of the number, nil if it is not in use. The pointer is valid until Delete.
func (p *Pages[T]) Get(number uint64) *T {
	pg := p.page(number / pageSize)
	if pg == nil || !pg.used[number%pageSize] {
		return nil
	}
	return &pg.slots[number%pageSize]
}

func (p *Pages[T]) page(at uint64) *page[T] {
	if p.last != nil && p.last.at == at {
		return p.last
	}
	pg := p.pages[at]
	if pg != nil {
		p.last = pg
	}
	return pg
}

// Put sets the value of the number.
func (p *Pages[T]) Put(number uint64, v T) {
	pg := p.page(number / pageSize)
	if pg == nil {
		pg = p.add(number / pageSize)
	}
	if i := number % pageSize; !pg.used[i] {
		pg.used[i] = true
		pg.count++
		p.count++
	}
	pg.slots[number%pageSize] = v
}

func (p *Pages[T]) add(at uint64) *page[T] {
	var pg *page[T]
	if n := len(p.spare); n > 0 {
		pg, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		pg = new(page[T])
	}
	pg.at = at
	if p.pages == nil {
		p.pages = map[uint64]*page[T]{}
	}
	p.pages[at] = pg
	p.last = pg
	return pg
}

// Delete removes the number, if it is in use.
func (p *Pages[T]) Delete(number uint64) {
	pg := p.page(number / pageSize)
	i := number % pageSize
	if pg == nil || !pg.used[i] {
		return
	}
	var zero T
	pg.slots[i], pg.used[i] = zero, false
	pg.count--
	p.count--
	if pg.count == 0 {
		delete(p.pages, pg.at)
		p.last = nil
		if len(p.spare) < maxSpare {
			p.spare = append(p.spare, pg)
		}
	}
}

// All calls visit for each number in use, in no particular order. visit may delete numbers.
func (p *Pages[T]) All(visit func(number uint64, v T)) {
	for _, pg := range p.pages {
		for i := range pg.used {
			if pg.used[i] {
				visit(pg.at*pageSize+uint64(i), pg.slots[i])
			}
		}
	}
}
