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

// Errors with which the server refuses a send. After these and any other refusal the message is not stored. Without an answer
// it may be stored or not, and the publisher sends it again.
var (
	// ErrFull says that the stream or the server has no space left.
	ErrFull = errors.New("queues: no space left")
	// ErrTooLarge says that a message has more bytes than the server accepts.
	ErrTooLarge = errors.New("queues: the message is too large")
	// ErrNoStream says that no stream binds the subject.
	ErrNoStream = errors.New("queues: no stream binds the subject")
)

// resendAfter is how long a send waits for its answer before it is sent again.
const resendAfter = 5 * time.Second

// publisher sends messages to streams and matches the answers to them, by a number in the reply subject of each. All answers
// share one subscription. One goroutine sends messages again that got no answer.
type publisher struct {
	conn   *nats.Conn
	prefix string             // of reply subjects
	sub    *nats.Subscription // to the answers
	wake   wait.Signal        // set when a message is pending and none was
	done   chan struct{}      // closed by close
	ended  chan struct{}      // closed when the goroutine has ended
	local  sync.WaitGroup     // goroutines that report errors of the client

	mu      sync.Mutex
	last    uint64           // guarded by mu; the number of the latest send
	pending map[uint64]*send // guarded by mu; nil once closed
}

// send is a message without an answer yet.
type send struct {
	msg  *nats.Msg
	at   time.Time // guarded by publisher.mu; when it was last sent
	done func(sequence uint64, err error)
}

func newPublisher(conn *nats.Conn) (*publisher, error) {
	p := &publisher{
		conn: conn, prefix: conn.NewInbox() + ".", pending: map[uint64]*send{},
		wake: wait.NewSignal(), done: make(chan struct{}), ended: make(chan struct{}),
	}
	var err error
	if p.sub, err = conn.Subscribe(p.prefix+"*", p.receiveAck); err != nil {
		return nil, err
	}
	_ = p.sub.SetPendingLimits(-1, -1)
	go p.run()
	return p, nil
}

// send stores a message. done is called once, on another goroutine that it must not block, with the sequence in the stream or
// with the error.
func (p *publisher) send(m Message, done func(uint64, error)) {
	p.mu.Lock()
	if p.pending == nil {
		p.mu.Unlock()
		go done(0, ErrClosed) // nobody waits for it: it only calls done
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
	if err := p.conn.PublishMsg(s.msg); err != nil && rejected(err) {
		if errors.Is(err, nats.ErrMaxPayload) {
			err = fmt.Errorf("%w: it has %d bytes without headers, at most %d are accepted", ErrTooLarge, len(m.Data), p.conn.MaxPayload())
		}
		p.local.Go(func() { p.finish(number, 0, fmt.Errorf("queues: send to %s: %w", m.Subject, err)) })
	}
}

// rejected reports whether the client library rejected the message for good. After any other error it is sent again.
func rejected(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrConnectionClosed)
}

// finish ends a send, unless it has ended already.
func (p *publisher) finish(number, sequence uint64, err error) {
	p.mu.Lock()
	s := p.pending[number]
	delete(p.pending, number)
	p.mu.Unlock()
	if s != nil {
		s.done(sequence, err)
	}
}

// receiveAck handles a PubAck. It ignores a message that is none: the send is repeated and gets another answer.
func (p *publisher) receiveAck(msg *nats.Msg) {
	number, err := strconv.ParseUint(msg.Subject[len(p.prefix):], 36, 64)
	if err != nil {
		return
	}
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		p.finish(number, 0, ErrNoStream)
		return
	}
	if sequence, ok := parseAck(msg.Data); ok {
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

// parseAck parses the usual answer, which has nothing but the stream's name and a sequence. ok is false for any other.
func parseAck(answer []byte) (sequence uint64, ok bool) {
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

// apiError is the error in an answer of the server's API.
type apiError struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

// fullCodes are the server's error codes that mean ErrFull: of the stream, of memory, of disk, of the account.
var fullCodes = map[int]bool{10077: true, 10028: true, 10047: true, 10023: true, 10002: true}

func (e *apiError) err() error {
	switch {
	case e == nil:
		return nil
	case fullCodes[e.Code]:
		return fmt.Errorf("%w: %s (%d)", ErrFull, e.Description, e.Code)
	}
	return fmt.Errorf("queues: the server refused it: %s (%d)", e.Description, e.Code)
}

// run sends messages again that got no answer. It sleeps while none is pending.
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

// resend sends the overdue messages again, and reports whether any message is pending.
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
	pending := len(p.pending) > 0
	p.mu.Unlock()
	for _, msg := range overdue {
		_ = p.conn.PublishMsg(msg) // after an error it gets no answer, and so is sent again
	}
	return pending
}

// close ends all pending sends with ErrClosed.
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
