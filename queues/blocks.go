package queues

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Blocks keep the parts of large values, each under a name of several tokens, until they are purged. Callers always write the
// same bytes under the same name, so a repeated write changes nothing.
type Blocks struct {
	b    *Broker
	name BlocksName
}

// OpenBlocks returns the blocks. It creates their stream unless it exists.
func (b *Broker) OpenBlocks(ctx context.Context, name BlocksName) (*Blocks, error) {
	err := b.ensureStream(ctx, jetstream.StreamConfig{
		Name: name.Stream, Subjects: []string{name.Prefix + ">"}, AllowDirect: true,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1,
		Replicas: max(1, b.cfg.Replicas),
	})
	if err != nil {
		return nil, err
	}
	return &Blocks{b, name}, nil
}

// Send stores a block and returns at once. done is called once, with nil when the block is stored or with the error (ErrFull,
// …), on a goroutine that it must not block. data must not be changed afterwards.
func (k *Blocks) Send(name string, data []byte, done func(error)) {
	k.b.out.send(Message{Subject: k.name.Prefix + name, Data: data}, func(_ uint64, err error) { done(err) })
}

// ErrNoBlock says that there is no block of that name.
var ErrNoBlock = errors.New("queues: no such block")

// Get returns a block, or ErrNoBlock. Any replica may return it, and one that lags behind returns it for a moment after a
// purge. Only the leader says that there is none.
func (k *Blocks) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := k.getDirect(ctx, name)
	if errors.Is(err, ErrNoBlock) && k.b.cfg.Replicas > 1 {
		return k.askLeader(ctx, name)
	}
	return data, err
}

// GetFromLeader is Get, answered by the leader of the stream: a block is found from when its Send is done until its Purge
// returns, and not afterwards. While the stream has no leader, it waits for one.
func (k *Blocks) GetFromLeader(ctx context.Context, name string) ([]byte, error) {
	if k.b.cfg.Replicas > 1 {
		return k.askLeader(ctx, name)
	}
	return k.getDirect(ctx, name) // the only replica is the leader
}

// The server's error codes for a subject without a message, and for a stream whose leader is being elected.
const (
	noMessage = 10037
	noLeader  = 10008
)

// errNoLeader counts as no answer, so that the request is sent again.
var errNoLeader = fmt.Errorf("the stream has no leader: %w", nats.ErrNoResponders)

// askLeader reads the block by the request that only a stream's leader answers.
func (k *Blocks) askLeader(ctx context.Context, name string) (data []byte, err error) {
	subject := k.name.Prefix + name
	body := fmt.Appendf(nil, `{"last_by_subj":%q}`, subject)
	err = k.b.retry(ctx, func(ctx context.Context) error {
		msg, err := k.b.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+k.name.Stream, body)
		if err == nil {
			data, err = decodeBlock(msg.Data)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("queues: get %s: %w", subject, err)
	}
	return data, nil
}

// decodeBlock reads the leader's answer.
func decodeBlock(answer []byte) ([]byte, error) {
	var a struct {
		Message struct {
			Data []byte `json:"data"`
		} `json:"message"`
		Error *apiError `json:"error"`
	}
	switch err := json.Unmarshal(answer, &a); {
	case err != nil:
		return nil, err
	case a.Error == nil:
		return a.Message.Data, nil
	case a.Error.Code == noMessage:
		return nil, ErrNoBlock
	case a.Error.Code == noLeader:
		return nil, errNoLeader
	}
	return nil, a.Error.err()
}

func (k *Blocks) getDirect(ctx context.Context, name string) ([]byte, error) {
	subject := k.name.Prefix + name
	msg, err := k.b.request(ctx, "$JS.API.DIRECT.GET."+k.name.Stream+"."+subject, nil)
	if err != nil {
		return nil, fmt.Errorf("queues: get %s: %w", subject, err)
	}
	if len(msg.Header["Nats-Sequence"]) == 0 {
		if notFound(msg) {
			err = ErrNoBlock
		} else {
			err = fmt.Errorf("the server answered %q", msg.Header.Get("Status")+" "+msg.Header.Get("Description"))
		}
		return nil, fmt.Errorf("queues: get %s: %w", subject, err)
	}
	return msg.Data, nil
}

// Read yields the blocks whose names begin with these tokens, in the order in which they were stored, each with the rest of
// its name. It stops at the first error, which it yields. A replica that lags behind may leave some out.
func (k *Blocks) Read(ctx context.Context, tokens string) iter.Seq2[Block, error] {
	prefix := k.name.Prefix + tokens + "."
	return func(yield func(Block, error) bool) {
		for e, err := range k.b.read(ctx, k.name.Stream, prefix+">", 0) {
			name := strings.TrimPrefix(e.Subject, prefix)
			if !yield(Block{name, e.Data}, err) || err != nil {
				return
			}
		}
	}
}

// Block is a part of a value.
type Block struct {
	Name string // without the tokens that were passed to Read
	Data []byte
}

// Purge removes the blocks whose names begin with these tokens. Replicas that lag behind follow later.
func (k *Blocks) Purge(ctx context.Context, tokens string) error {
	subject := k.name.Prefix + tokens + ".>"
	err := k.b.retry(ctx, func(ctx context.Context) error {
		stream, err := k.b.js.Stream(ctx, k.name.Stream)
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("queues: purge %s: %w", subject, err)
	}
	return nil
}

// MaxBlock returns the maximum size of a block in bytes.
func (k *Blocks) MaxBlock() int { return k.b.MaxPayload() - blockOverhead }

// blockOverhead is the number of bytes reserved for the headers of an answer.
const blockOverhead = 4 << 10
