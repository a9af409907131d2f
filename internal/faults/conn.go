package faults

import (
	"net"
	"sync"
	"time"
)

// conn stands between a client and its connection to the server. The client has one end of a pipe; two
// goroutines for each direction carry what goes through. A delay is a timer in one of these: the client's
// Write never waits for it. (A client holds its lock while it writes, and in a bubble of virtual time a
// goroutine that waits for a lock stops the clock.)
type conn struct {
	net.Conn          // the client's end of the pipe
	inner    net.Conn // to the server
	outer    net.Conn // our end of the pipe

	closing sync.Once
	done    chan struct{} // closed when the connection ends
	pumps   sync.WaitGroup
}

// Conn returns the client's side of the connection inner, with the plan's faults. What goes out of order
// here never does on a real connection, and does not here: a message that is held holds all behind it.
// Close ends at once what is on its way.
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

// LocalAddr returns the address of the connection inside.
func (c *conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// RemoteAddr returns the server's address.
func (c *conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// Close ends the connection, and returns when nothing of it is left running.
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

// pump carries one direction: read splits and decides, write waits and writes.
type pump struct {
	plan      *Plan
	name      string
	direction Direction
	from, to  net.Conn
	conn      *conn
	split     splitter       // only read
	seen      map[string]int // only read; how many of each kind of message came

	more chan struct{} // of one: something was put
	room chan struct{} // of one: something was taken
	full chan struct{} // of one: too much waits to go on waiting

	mu    sync.Mutex
	queue []parcel // guarded by mu
	bytes int      // guarded by mu; in the queue
	ended bool     // guarded by mu; nothing more will be put
}

// parcel is what is to be written, and when.
type parcel struct {
	bytes []byte
	delay time.Duration // before it
	cut   bool          // behind it
}

// mostWaiting bounds the bytes that wait in one direction. Beyond it delays end early, and then the
// reader waits, as it does without faults.
const mostWaiting = 64 << 20

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

// admit decides what becomes of an operation.
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
	for p.waiting() > mostWaiting {
		signal(p.full)
		select {
		case <-p.room:
		case <-p.conn.done:
			return
		}
	}
}

func (p *pump) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// write writes what was put until the connection ends, and ends it when the other side did.
func (p *pump) write() {
	defer p.conn.end()
	for {
		next, ok := p.take()
		if !ok {
			return
		}
		if !p.hold(next.delay) {
			return
		}
		if len(next.bytes) > 0 { // a pipe waits for a reader even of nothing
			if _, err := p.to.Write(next.bytes); err != nil {
				return
			}
		}
		if next.cut {
			return
		}
	}
}

// take returns what is next, once there is something.
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

// hold waits, and reports whether the connection is still there.
func (p *pump) hold(delay time.Duration) bool {
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

// signal leaves a mark in a channel of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
