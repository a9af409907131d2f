package queues

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tidemill/tidemill/internal/wait"
)

// What a server can refuse a send with. Any other refusal is an error too, and means that the message is
// not stored; no answer means neither, and the publisher sends again.
var (
	// ErrFull says that the stream or the server has no room.
	ErrFull = errors.New("queues: no room")
	// ErrTooLarge says that a message has more bytes than the server takes.
	ErrTooLarge = errors.New("queues: the message is too large")
	// ErrNoStream says that no stream binds the subject.
	ErrNoStream = errors.New("queues: no stream binds the subject")
)

// resendAfter is how long a send waits for its answer before it is sent again.
const resendAfter = 5 * time.Second

// publisher sends messages to streams and matches the answers to them: one subscription for all, a
// number in the reply subject for each. It has one goroutine, which sends again what got no answer.
type publisher struct {
	conn   *nats.Conn
	prefix string // of reply subjects
	sub    *nats.Subscription
	wake   wait.Signal    // set when a message is pending and none was
	done   chan struct{}  // closed by close
	ended  chan struct{}  // closed when the goroutine has ended
	local  sync.WaitGroup // answers that are not the server's

	mu      sync.Mutex
	last    uint64           // guarded by mu; the number of the newest send
	pending map[uint64]*send // guarded by mu; nil once closed
}

type send struct {
	msg  *nats.Msg
	at   time.Time
	done func(sequence uint64, err error)
}

func newPublisher(conn *nats.Conn) (*publisher, error) {
	p := &publisher{
		conn: conn, prefix: conn.NewInbox() + ".", pending: map[uint64]*send{},
		wake: wait.NewSignal(), done: make(chan struct{}), ended: make(chan struct{}),
	}
	var err error
	if p.sub, err = conn.Subscribe(p.prefix+"*", p.answered); err != nil {
		return nil, err
	}
	_ = p.sub.SetPendingLimits(-1, -1)
	go p.run()
	return p, nil
}

// send stores a message; done is called once, on another goroutine, with the sequence in the stream, or
// with the refusal. It must not block.
func (p *publisher) send(m Message, done func(uint64, error)) {
	p.mu.Lock()
	if p.pending == nil {
		p.mu.Unlock()
		go done(0, ErrClosed) // ends with done: nothing to wait for
		return
	}
	p.last++
	number := p.last
	s := &send{msg: m.nats(p.prefix + strconv.FormatUint(number, 36)), at: time.Now(), done: done}
	p.pending[number] = s
	if len(p.pending) == 1 {
		p.wake.Set()
	}
	p.mu.Unlock()
	if err := p.conn.PublishMsg(s.msg); err != nil && definite(err) {
		if errors.Is(err, nats.ErrMaxPayload) {
			err = fmt.Errorf("%w: %d bytes", ErrTooLarge, len(m.Data))
		}
		p.local.Go(func() { p.finish(number, 0, fmt.Errorf("queues: send to %s: %w", m.Subject, err)) })
	}
}

// definite reports whether the client itself refused the message for good; with any other error it is
// sent again later.
func definite(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrConnectionClosed)
}

func (p *publisher) finish(number, sequence uint64, err error) {
	p.mu.Lock()
	s := p.pending[number]
	delete(p.pending, number)
	p.mu.Unlock()
	if s != nil {
		s.done(sequence, err)
	}
}

// answered reads a PubAck. What is none is left to the next answer.
func (p *publisher) answered(msg *nats.Msg) {
	number, err := strconv.ParseUint(msg.Subject[len(p.prefix):], 36, 64)
	if err != nil {
		return
	}
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		p.finish(number, 0, ErrNoStream)
		return
	}
	if sequence, ok := storedAs(msg.Data); ok {
		p.finish(number, sequence, nil)
		return
	}
	var ack struct {
		Sequence uint64    `json:"seq"`
		Error    *apiError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &ack); err != nil {
		return
	}
	p.finish(number, ack.Sequence, ack.Error.err())
}

// storedAs reads the answer that all but few are: the name of the stream, and a number. ok is false for any other.
func storedAs(answer []byte) (sequence uint64, ok bool) {
	_, number, ok := bytes.Cut(answer, []byte(`","seq":`))
	if !ok || !bytes.HasPrefix(answer, []byte(`{"stream":"`)) || len(number) < 2 || number[len(number)-1] != '}' {
		return 0, false
	}
	for _, c := range number[:len(number)-1] {
		if c < '0' || '9' < c || sequence > 1<<59 {
			return 0, false
		}
		sequence = 10*sequence + uint64(c-'0')
	}
	return sequence, true
}

type apiError struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

// Codes of the server that mean "no room": of the stream, of memory, of disk, of the account.
var full = map[int]bool{10077: true, 10028: true, 10047: true, 10023: true, 10002: true}

func (e *apiError) err() error {
	switch {
	case e == nil:
		return nil
	case full[e.Code]:
		return fmt.Errorf("%w: %s (%d)", ErrFull, e.Description, e.Code)
	}
	return fmt.Errorf("queues: refused: %s (%d)", e.Description, e.Code)
}

// run sends again what got no answer, and sleeps while nothing waits for one.
func (p *publisher) run() {
	defer close(p.ended)
	timer := time.NewTimer(resendAfter)
	defer timer.Stop()
	for {
		select {
		case <-p.wake:
		case <-p.done:
			return
		}
		for p.resend() {
			timer.Reset(resendAfter / 2)
			select {
			case <-timer.C:
			case <-p.done:
				return
			}
		}
	}
}

// resend sends the overdue messages again, and reports whether any message waits.
func (p *publisher) resend() bool {
	p.mu.Lock()
	var overdue []*nats.Msg
	now := time.Now()
	for _, s := range p.pending {
		if now.Sub(s.at) >= resendAfter {
			s.at = now
			overdue = append(overdue, s.msg)
		}
	}
	waiting := len(p.pending) > 0
	p.mu.Unlock()
	for _, msg := range overdue {
		_ = p.conn.PublishMsg(msg) // not sent is not answered: it comes again
	}
	return waiting
}

func (p *publisher) close() {
	_ = p.sub.Unsubscribe()
	close(p.done)
	<-p.ended
	p.mu.Lock()
	left := p.pending
	p.pending = nil
	p.mu.Unlock()
	for _, s := range left {
		s.done(0, ErrClosed)
	}
	p.local.Wait()
}
