package queues

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Puller draws messages from a queue by credit: it delivers as many as were asked for, and no more. Each
// request has an account of its own, so that what the server says of it (or does not say) changes the
// credit by exactly what is still open. The client library's Consume has no such account, and stood
// still for 30 s in one run of thirty beside busy cores.
//
// Requests run in lanes. A lane is a subscription with at most one open request, since a delivery does
// not say which request it answers.
type Puller struct {
	q       *Queue
	deliver func(*Delivery)

	mu     sync.Mutex
	lanes  [lanesPerPuller]lane // guarded by mu
	owed   int                  // guarded by mu; credit that no open request carries
	closed bool                 // guarded by mu
	gone   bool                 // guarded by mu; the server does not know of the queue
}

// Two lanes: while one request is being used up, the next one is open. Both are subscribed to from the first request
// on, so that what a puller has at the server does not depend on how busy it was.
const lanesPerPuller = 2

// A request lapses after expiry; the server says every heartbeat that it still knows of it.
const (
	expiry    = 30 * time.Second
	heartbeat = 5 * time.Second
	silence   = 2*heartbeat + heartbeat/2
)

type lane struct {
	sub   *nats.Subscription
	inbox string
	open  int       // messages that the open request may still bring; 0 = none is open
	heard time.Time // of the open request: when it was made or last heard of
}

// Pull returns a puller without credit. deliver is called for each message, on a goroutine of the
// connection (two at a time at most); while it blocks, no more come.
func (q *Queue) Pull(deliver func(*Delivery)) *Puller {
	return &Puller{q: q, deliver: deliver}
}

// Ask adds credit for n messages. Credit stays until it is used: requests that lapse are made again.
func (p *Puller) Ask(n int) error {
	p.AddCredit(n)
	return p.Request()
}

// AddCredit adds credit for n messages, for which Request asks.
func (p *Puller) AddCredit(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed += n
}

// Request asks for what is owed, if a lane is free. It waits while the connection is busy.
func (p *Puller) Request() error {
	p.mu.Lock()
	r, err := p.next()
	p.mu.Unlock()
	return errors.Join(err, p.send(r))
}

// Credit returns how many messages may still come.
func (p *Puller) Credit() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.owed
	for i := range p.lanes {
		n += p.lanes[i].open
	}
	return n
}

// pull is a request to be sent; the zero value is none.
type pull struct {
	inbox string
	n     int // messages
}

// next opens a request for what is owed, if a lane is free. mu is held, and who holds it sends the request when it does no
// more: one that gets lost is made again by Tend. One that comes after its lane was dropped finds nobody who listens, and the server
// forgets it.
func (p *Puller) next() (pull, error) {
	if p.owed <= 0 || p.closed {
		return pull{}, nil
	}
	for i := range p.lanes {
		if err := p.subscribe(i); err != nil {
			return pull{}, err
		}
	}
	for i := range p.lanes {
		l := &p.lanes[i]
		if l.open > 0 {
			continue
		}
		l.open, l.heard, p.owed = p.owed, time.Now(), 0
		return pull{l.inbox, l.open}, nil
	}
	return pull{}, nil
}

func (p *Puller) send(r pull) error {
	if r.n == 0 {
		return nil
	}
	body := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, r.n, expiry, heartbeat)
	return p.q.b.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+p.q.name.Stream+"."+p.q.name.Consumer, r.inbox, body)
}

func (p *Puller) subscribe(i int) error {
	l := &p.lanes[i]
	if l.sub != nil {
		return nil
	}
	l.inbox = p.q.b.conn.NewInbox()
	inbox := l.inbox
	sub, err := p.q.b.conn.Subscribe(inbox, func(msg *nats.Msg) { p.arrived(i, inbox, msg) })
	if err != nil {
		return fmt.Errorf("queues: pull: %w", err)
	}
	_ = sub.SetPendingLimits(-1, -1)
	l.sub = sub
	return nil
}

func (p *Puller) arrived(i int, inbox string, msg *nats.Msg) {
	status := ""
	if !strings.HasPrefix(msg.Reply, "$JS.ACK.") { // a message may have such a header of its own
		status = msg.Header.Get("Status")
		if status == "" {
			return // from neither
		}
	}
	p.mu.Lock()
	var r pull
	var err error
	if l := &p.lanes[i]; l.inbox == inbox {
		l.heard = time.Now()
		if p.account(l, status) {
			r, err = p.next()
		}
	}
	closed := p.closed
	p.mu.Unlock()
	p.warn(errors.Join(err, p.send(r)))
	if status != "" || closed {
		return // what comes after Stop is not acked, and so comes again
	}
	d, err := newDelivery(msg, p.q.b.conn)
	if err != nil {
		p.q.b.log.Error("queues: pull", "err", err)
		return
	}
	p.deliver(d)
}

// account books what has arrived on the lane, and reports whether more may be asked for. mu is held.
func (p *Puller) account(l *lane, status string) bool {
	switch status {
	case "": // a message
		if l.open > 0 {
			l.open--
		}
	case "100": // a heartbeat
	default: // the request has ended
		p.owed += l.open
		l.open = 0
		if status != "408" { // it did not lapse, but nobody can serve it: asking at once would spin, Tend asks again
			p.gone = true
			return false
		}
	}
	return true
}

func (p *Puller) warn(err error) {
	if err != nil {
		p.q.b.log.Warn("queues: pull", "err", err)
	}
}

// Tend makes requests again that the server has forgotten, and the queue where it is gone. It is to be
// called every second or so, and may take as long as ctx lets it.
func (p *Puller) Tend(ctx context.Context) {
	if p.isGone() {
		if err := p.q.Restore(ctx); err != nil {
			p.q.b.log.Warn("queues: pull: make the queue again", "err", err)
			return
		}
	}
	p.expire(time.Now())
	p.warn(p.Request())
}

// expire ends requests of which nothing was heard for long.
func (p *Puller) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = false
	for i := range p.lanes {
		l := &p.lanes[i]
		if l.open > 0 && now.Sub(l.heard) > silence {
			p.owed += l.open
			l.open = 0
			p.gone = true // if it is there all the same, nothing is lost by looking
			p.drop(l)     // what the old request may still bring must not be booked on the next one
		}
	}
}

// Recall takes back the credit that was not used. What the server has sent for it meanwhile is delivered still.
func (p *Puller) Recall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed = 0
	for i := range p.lanes {
		l := &p.lanes[i]
		if l.open > 0 {
			_ = l.sub.Drain() // without it the server forgets the request; what is on its way comes
			*l = lane{}
		}
	}
}

func (p *Puller) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone && !p.closed
}

func (p *Puller) drop(l *lane) {
	if l.sub != nil {
		_ = l.sub.Unsubscribe()
	}
	*l = lane{}
}

// Stop takes nothing more. A message that is on its way comes again, to anyone, when its lease ends.
func (p *Puller) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.owed = true, 0
	for i := range p.lanes {
		p.drop(&p.lanes[i])
	}
}
