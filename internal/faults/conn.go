package faults

import (
	"net"
	"sync"
	"time"
)

// conn is between a client and its connection to the server. The client has one end of a pipe; two goroutines for each
// direction forward the bytes. A delay is a timer in one of these, so that the client's Write never waits for it: a client
// holds a mutex while it writes, and in a synctest bubble a goroutine that waits for a mutex stops the clock.
type conn struct {
	net.Conn          // the client's end of the pipe
	inner    net.Conn // the connection to the server
	outer    net.Conn // the other end of the pipe

	closing sync.Once
	done    chan struct{} // closed when the connection ends
	pumps   sync.WaitGroup
}

// Conn wraps the client's side of the connection inner with the plan's faults. Messages stay in order, as on a real
// connection: a delayed message delays all behind it. Close drops delayed messages.
func (p *Plan) Conn(name string, inner net.Conn) net.Conn {
	client, outer := net.Pipe()
	c := &conn{Conn: client, inner: inner, outer: outer, done: make(chan struct{})}
	name = p.name(name)
	c.start(newPump(p, name, ToServer), outer, inner)
	c.start(newPump(p, name, ToClient), inner, outer)
	return c
}

func (c *conn) start(p *pump, from, to net.Conn) {
	p.from, p.to, p.conn = from, to, c
	c.pumps.Go(p.read)
	c.pumps.Go(p.write)
}

// LocalAddr returns the local address of the connection to the server.
func (c *conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// RemoteAddr returns the server's address.
func (c *conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// Close ends the connection and waits for its goroutines.
func (c *conn) Close() error {
	c.end()
	c.pumps.Wait()
	return nil
}

func (c *conn) end() {
	c.closing.Do(func() {
		close(c.done)
		_ = c.inner.Close()
		_ = c.outer.Close()
		_ = c.Conn.Close()
	})
}

// pump forwards one direction: read splits the bytes into operations and decides on faults, write delays and writes.
type pump struct {
	plan      *Plan
	name      string
	direction Direction
	from, to  net.Conn
	conn      *conn
	split     splitter       // only read uses it
	seen      map[string]int // only read uses it; how many messages of each kind there were

	more chan struct{} // holds one signal: something was put into the queue
	room chan struct{} // holds one signal: something was taken from the queue
	full chan struct{} // holds one signal: the queue is full, delays end now

	mu    sync.Mutex
	queue []parcel // guarded by mu
	bytes int      // guarded by mu; in the queue
	ended bool     // guarded by mu; nothing more is put
}

// parcel is an operation that is to be written.
type parcel struct {
	bytes []byte
	delay time.Duration // before it is written
	cut   bool          // end the connection after it
}

// maxQueued limits the bytes that are queued in one direction. Beyond that, delays end early, and the reader waits, as it
// does without faults.
const maxQueued = 64 << 20

func newPump(p *Plan, name string, d Direction) *pump {
	return &pump{
		plan: p, name: name, direction: d, split: splitter{direction: d}, seen: map[string]int{},
		more: make(chan struct{}, 1), room: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
}

func (p *pump) read() {
	buffer := make([]byte, 32<<10)
	for {
		n, err := p.from.Read(buffer)
		if fault := p.split.feed(buffer[:n], p.admit); fault != nil {
			p.plan.report(fault)
		}
		if err != nil {
			p.split.end(p.admit)
			p.mu.Lock()
			p.ended = true
			p.mu.Unlock()
			signal(p.more)
			return
		}
	}
}

// admit decides on the faults of an operation and puts it into the queue.
func (p *pump) admit(op operation) {
	var v verdict
	if op.subject != "" {
		kind := kindOf(op.subject)
		p.seen[kind]++
		v = p.plan.decide(occasion{p.name, p.direction, op.subject, p.seen[kind]})
	}
	switch {
	case v.lose:
		return
	case v.cutBefore:
		p.put(parcel{cut: true})
		return
	}
	p.put(parcel{op.bytes, v.delay, v.cutAfter})
	if v.repeat {
		p.put(parcel{bytes: op.bytes})
	}
}

func (p *pump) put(next parcel) {
	p.mu.Lock()
	p.queue = append(p.queue, next)
	p.bytes += len(next.bytes)
	p.mu.Unlock()
	signal(p.more)
	for p.queued() > maxQueued {
		signal(p.full)
		select {
		case <-p.room:
		case <-p.conn.done:
			return
		}
	}
}

// queued returns how many bytes are in the queue.
func (p *pump) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// write writes what is in the queue until the connection ends. It ends the connection when the other side has.
func (p *pump) write() {
	defer p.conn.end()
	for {
		next, ok := p.take()
		if !ok {
			return
		}
		if !p.pause(next.delay) {
			return
		}
		if len(next.bytes) > 0 { // a write of nothing to a pipe waits for a reader, too
			if _, err := p.to.Write(next.bytes); err != nil {
				return
			}
		}
		if next.cut {
			return
		}
	}
}

// take waits for the next parcel. It returns false if there is none any more.
func (p *pump) take() (parcel, bool) {
	for {
		p.mu.Lock()
		if len(p.queue) > 0 {
			next := p.queue[0]
			p.queue[0] = parcel{}
			p.queue = p.queue[1:]
			p.bytes -= len(next.bytes)
			p.mu.Unlock()
			signal(p.room)
			return next, true
		}
		ended := p.ended
		p.mu.Unlock()
		if ended {
			return parcel{}, false
		}
		select {
		case <-p.more:
		case <-p.conn.done:
			return parcel{}, false
		}
	}
}

// pause waits for the delay, and reports whether the connection has not ended.
func (p *pump) pause(delay time.Duration) bool {
	if delay == 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.full:
	case <-p.conn.done:
		return false
	}
	return true
}

// signal sets the signal in a channel with a capacity of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
