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

// Puller pulls messages from a queue against credit: it delivers at most as many messages as it has credit for. It counts what
// each pull request has brought, so that when a request ends, or is lost, exactly the rest is requested again. (The client
// library's Consume does not, and in one run of thirty on busy cores stood still for 30 s.) It is safe for concurrent use.
//
// A message does not say which request it answers, so each of the puller's inboxes has at most one open request.
type Puller struct {
	q       *Queue
	deliver func(*Delivery)

	mu          sync.Mutex
	inboxes     [inboxesPerPuller]inbox // guarded by mu
	unrequested int                     // guarded by mu; credit that no open request covers
	closed      bool                    // guarded by mu
	queueGone   bool                    // guarded by mu; the server may have lost the queue
}

// With two inboxes the next request is open before the last one is used up. The first request subscribes to both, so that a
// puller has the same number of subscriptions however busy it was.
const inboxesPerPuller = 2

// A request expires after expiry. While it is open, the server sends heartbeats; after silence without one, the request counts
// as lost.
const (
	expiry    = 30 * time.Second
	heartbeat = 5 * time.Second
	silence   = 2*heartbeat + heartbeat/2
)

// inbox is a subscription for the messages of one pull request at a time. The zero value is not subscribed.
type inbox struct {
	sub     *nats.Subscription
	subject string
	open    int       // messages that the open request may still bring; 0 = no request is open
	heard   time.Time // when the open request was made, or the server last sent something for it
}

// Pull returns a puller without credit. deliver is called for each message, on at most two goroutines of the connection at a
// time. While it blocks, no further message is delivered there.
func (q *Queue) Pull(deliver func(*Delivery)) *Puller {
	return &Puller{q: q, deliver: deliver}
}

// Ask adds credit for n messages and requests them. Credit lasts until it is used: expired requests are made again.
func (p *Puller) Ask(n int) error {
	p.AddCredit(n)
	return p.Request()
}

// AddCredit adds credit for n messages, which the next Request requests.
func (p *Puller) AddCredit(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unrequested += n
}

// Request sends a pull request for the credit that no open request covers, if an inbox is free. It blocks while the
// connection's write buffer is full.
func (p *Puller) Request() error {
	p.mu.Lock()
	r, err := p.nextLocked()
	p.mu.Unlock()
	return errors.Join(err, p.send(r))
}

// Credit returns how many messages may still be delivered.
func (p *Puller) Credit() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.unrequested
	for i := range p.inboxes {
		n += p.inboxes[i].open
	}
	return n
}

// pull is a pull request to be sent; the zero value is none.
type pull struct {
	inbox string // its subject
	n     int    // messages
}

// nextLocked opens a request for the credit that no open request covers, if an inbox is free. The caller sends it after it has
// unlocked mu. If it gets lost, Maintain makes it again; if its inbox is closed before it is sent, the server drops it, since
// nobody is subscribed.
func (p *Puller) nextLocked() (pull, error) {
	if p.unrequested <= 0 || p.closed {
		return pull{}, nil
	}
	for i := range p.inboxes {
		if err := p.subscribeLocked(i); err != nil {
			return pull{}, err
		}
	}
	for i := range p.inboxes {
		in := &p.inboxes[i]
		if in.open > 0 {
			continue
		}
		in.open, in.heard, p.unrequested = p.unrequested, time.Now(), 0
		return pull{in.subject, in.open}, nil
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

// subscribeLocked subscribes an inbox, unless it is.
func (p *Puller) subscribeLocked(i int) error {
	in := &p.inboxes[i]
	if in.sub != nil {
		return nil
	}
	in.subject = p.q.b.conn.NewInbox()
	subject := in.subject
	sub, err := p.q.b.conn.Subscribe(subject, func(msg *nats.Msg) { p.receive(i, subject, msg) })
	if err != nil {
		return fmt.Errorf("queues: pull from %s: subscribe: %w", p.q.name.Subject, err)
	}
	_ = sub.SetPendingLimits(-1, -1)
	in.sub = sub
	return nil
}

// receive handles a message of the queue, or a status message of a pull request, on inbox i, which had this subject.
func (p *Puller) receive(i int, subject string, msg *nats.Msg) {
	status := ""
	if !strings.HasPrefix(msg.Reply, "$JS.ACK.") { // a message of the queue may have a Status header of its own
		status = msg.Header.Get("Status")
		if status == "" {
			return // neither of the two
		}
	}
	p.mu.Lock()
	var r pull
	var err error
	if in := &p.inboxes[i]; in.subject == subject {
		in.heard = time.Now()
		if p.bookLocked(in, status) {
			r, err = p.nextLocked()
		}
	}
	closed := p.closed
	p.mu.Unlock()
	p.warn(errors.Join(err, p.send(r)))
	if status != "" || closed {
		return // a message after Stop is not acked, and so is redelivered
	}
	d, err := newDelivery(msg, p.q.b.conn)
	if err != nil {
		p.q.b.log.Error("queues: drop a message that cannot be acked", "queue", p.q.name.Subject, "err", err)
		return
	}
	p.deliver(d)
}

// bookLocked counts what was received on the inbox, and reports whether another request may be made at once.
func (p *Puller) bookLocked(in *inbox, status string) bool {
	switch status {
	case "": // a message of the queue
		if in.open > 0 {
			in.open--
		}
	case "100": // a heartbeat
	default: // the request has ended
		p.unrequested += in.open
		in.open = 0
		if status != "408" { // not expired, but nobody serves it: to request again at once would spin, so Maintain does it later
			p.queueGone = true
			return false
		}
	}
	return true
}

func (p *Puller) warn(err error) {
	if err != nil {
		p.q.b.log.Warn("queues: send a pull request; trying again later", "queue", p.q.name.Subject, "err", err)
	}
}

// Maintain makes lost requests again, and creates the queue again if it is gone. The caller calls it about every second; it may
// take until ctx ends.
func (p *Puller) Maintain(ctx context.Context) {
	if p.isQueueGone() {
		if err := p.q.Restore(ctx); err != nil {
			p.q.b.log.Warn("queues: create the queue again; trying again later", "queue", p.q.name.Subject, "err", err)
			return
		}
	}
	p.expire(time.Now())
	p.warn(p.Request())
}

// expire gives up requests for which the server has sent nothing for too long.
func (p *Puller) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queueGone = false
	for i := range p.inboxes {
		in := &p.inboxes[i]
		if in.open > 0 && now.Sub(in.heard) > silence {
			p.unrequested += in.open
			in.open = 0
			p.queueGone = true // perhaps: Maintain finds out
			p.closeLocked(in)  // messages of the old request must not count for the next one
		}
	}
}

// RecallCredit takes back all unused credit. Messages that the server has already sent are still delivered.
func (p *Puller) RecallCredit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unrequested = 0
	for i := range p.inboxes {
		in := &p.inboxes[i]
		if in.open > 0 {
			_ = in.sub.Drain() // the server drops the request; messages in flight still arrive
			*in = inbox{}
		}
	}
}

func (p *Puller) isQueueGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queueGone && !p.closed
}

// closeLocked unsubscribes an inbox. Messages in flight are lost here, and so redelivered.
func (p *Puller) closeLocked(in *inbox) {
	if in.sub != nil {
		_ = in.sub.Unsubscribe()
	}
	*in = inbox{}
}

// Stop ends the puller. A message in flight is redelivered, to any consumer, when its lease ends.
func (p *Puller) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.unrequested = true, 0
	for i := range p.inboxes {
		p.closeLocked(&p.inboxes[i])
	}
}
