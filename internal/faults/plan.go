package faults

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"sync"
	"time"
)

// Faults are the probabilities, from 0 to 1, that one message has a fault.
type Faults struct {
	Seed        uint64
	LostRequest float64 // a message to the server is lost
	LostReply   float64 // a message to the client is lost
	Repeat      float64 // a message is sent twice
	Delay       float64 // a message, and all behind it, are delayed by up to two seconds
	Cut         float64 // the connection ends, before or after the message
}

// longestDelay is the longest delay of one message.
const longestDelay = 2 * time.Second

// Plan decides which messages have faults, and counts them. It is safe for concurrent use.
type Plan struct {
	faults Faults
	report func(error)

	mu     sync.Mutex
	names  map[string]int // guarded by mu; how many connections had this name
	aims   []*aim         // guarded by mu
	counts Counts         // guarded by mu
	off    bool           // guarded by mu
}

// Counts are the numbers of faults so far.
type Counts struct{ LostRequest, LostReply, Repeat, Delay, Cut int }

// Fault is a fault of one chosen message, see Aim.
type Fault int

// The faults that Aim takes.
const (
	Lose Fault = iota
	Repeat
	Delay // for two seconds
	CutBefore
	CutAfter
)

// New returns a plan. If a connection has bytes that are not the NATS protocol, the plan calls report, which may be nil, and
// the connection has no faults any more.
func New(f Faults, report func(error)) *Plan {
	if report == nil {
		report = func(error) {}
	}
	return &Plan{faults: f, report: report, names: map[string]int{}}
}

// Off ends the faults of messages that are sent from now on. Delayed messages keep their delay.
func (p *Plan) Off() { p.turn(true) }

// On ends the effect of Off.
func (p *Plan) On() { p.turn(false) }

func (p *Plan) turn(off bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = off
}

// Counts returns the numbers of faults so far.
func (p *Plan) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

type aim struct {
	direction Direction
	pattern   []string
	left      int // how many matching messages are left, with the chosen one
	fault     Fault
}

// Aim gives a fault to one message: the n-th from now on that is sent in this direction, over any connection, with a subject
// that matches the pattern (* is one token, a final > is one or more). That message has no faults by probability. The subject
// of a message to the client is the one that the client sees; that of a reply is an inbox.
func (p *Plan) Aim(direction Direction, pattern string, n int, fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aims = append(p.aims, &aim{direction, strings.Split(pattern, "."), n, fault})
}

func (a *aim) matches(d Direction, subject string) bool {
	if a.direction != d {
		return false
	}
	tokens := strings.Split(subject, ".")
	for i, want := range a.pattern {
		if want == ">" && i < len(tokens) {
			return true
		}
		if i >= len(tokens) || want != "*" && want != tokens[i] {
			return false
		}
	}
	return len(tokens) == len(a.pattern)
}

// verdict is the faults of one message.
type verdict struct {
	lose, repeat, cutBefore, cutAfter bool
	delay                             time.Duration
}

// occasion is one message, as far as its faults depend on it.
type occasion struct {
	connection string
	direction  Direction
	subject    string
	count      int // of its kind, on this connection
}

// decide returns the faults of a message, and counts them.
func (p *Plan) decide(o occasion) verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return verdict{}
	}
	v, aimed := p.aimedLocked(o)
	if !aimed {
		v = p.faults.drawn(o)
	}
	p.counts.add(v, o.direction)
	return v
}

// aimedLocked counts the message for every aim, and returns the fault of the first one that has chosen it. p.mu is held.
func (p *Plan) aimedLocked(o occasion) (verdict, bool) {
	hit := -1
	for i, a := range p.aims {
		if a.matches(o.direction, o.subject) {
			a.left--
			if a.left <= 0 && hit < 0 {
				hit = i
			}
		}
	}
	if hit < 0 {
		return verdict{}, false
	}
	fault := p.aims[hit].fault
	p.aims = append(p.aims[:hit:hit], p.aims[hit+1:]...)
	return map[Fault]verdict{
		Lose: {lose: true}, Repeat: {repeat: true}, Delay: {delay: longestDelay},
		CutBefore: {cutBefore: true}, CutAfter: {cutAfter: true},
	}[fault], true
}

// drawn returns the faults of a message by probability.
func (f Faults) drawn(o occasion) verdict {
	lost := f.LostRequest
	if o.direction == ToClient {
		lost = f.LostReply
	}
	switch {
	case f.chance(o, "cut") < f.Cut:
		before := f.chance(o, "before") < 0.5
		return verdict{cutBefore: before, cutAfter: !before}
	case f.chance(o, "lost") < lost:
		return verdict{lose: true}
	}
	v := verdict{repeat: f.chance(o, "repeat") < f.Repeat}
	if f.chance(o, "delay") < f.Delay {
		v.delay = time.Millisecond + time.Duration(f.chance(o, "how long")*float64(longestDelay-time.Millisecond))
	}
	return v
}

// chance returns a number from 0 to 1 that depends only on the seed, the occasion and the question.
func (f Faults) chance(o occasion, question string) float64 {
	h := fnv.New64a()
	for _, part := range []string{o.connection, o.direction.String(), kindOf(o.subject), question} {
		_, _ = io.WriteString(h, part)
		_, _ = h.Write([]byte{0})
	}
	x := h.Sum64() ^ f.Seed*0x9e3779b97f4a7c15 ^ uint64(o.count)*0xd1342543de82ef95
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9 // splitmix64: FNV alone hardly changes the upper bits
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}

func (c *Counts) add(v verdict, d Direction) {
	switch {
	case v.cutBefore, v.cutAfter:
		c.Cut++
	case v.lose && d == ToServer:
		c.LostRequest++
	case v.lose:
		c.LostReply++
	}
	if v.repeat {
		c.Repeat++
	}
	if v.delay > 0 {
		c.Delay++
	}
}

// name adds a number to the name of a connection: each reconnect has the next one.
func (p *Plan) name(of string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[of]++
	return fmt.Sprintf("%s#%d", of, p.names[of])
}
