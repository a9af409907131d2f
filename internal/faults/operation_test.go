package faults

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// split feeds data in chunks of this size, and returns the operations and the error.
func split(d Direction, data string, chunk int) (ops []operation, err error) {
	s := splitter{direction: d}
	emit := func(op operation) { ops = append(ops, op) }
	for piece := range slices.Chunk([]byte(data), chunk) {
		if fault := s.feed(piece, emit); fault != nil {
			if err != nil {
				panic(fmt.Sprintf("got a second error %v, want at most one", fault))
			}
			err = fault
		}
	}
	s.end(emit)
	return ops, err
}

// The splitter finds each operation of the protocol, in chunks of any size, and emits all bytes unchanged.
func TestSplitterReadsTheProtocol(t *testing.T) {
	for _, c := range []struct {
		direction Direction
		data      string
		want      []string // the subject of each operation, - if it is no message
		err       error
	}{
		{ToServer, "CONNECT {}\r\nPING\r\nSUB a.* q 1\r\nUNSUB 1\r\nPONG\r\n", []string{"-", "-", "-", "-", "-"}, nil},
		{ToServer, "PUB a.b 3\r\nxyz\r\nPUB a r 0\r\n\r\npub\tc  2\r\n\r\n\r\n", []string{"a.b", "a", "c"}, nil},
		{ToServer, "HPUB a r 12 15\r\nNATS/1.0\r\n\r\nxyz\r\nHPUB b 12 12\r\nNATS/1.0\r\n\r\n\r\n", []string{"a", "b"}, nil},
		{ToClient, "INFO {}\r\n+OK\r\n-ERR 'x y'\r\nMSG a 1 1\r\nx\r\nMSG a 1 r 1\r\nx\r\n", []string{"-", "-", "-", "a", "a"}, nil},
		{ToClient, "HMSG a 1 12 12\r\nNATS/1.0\r\n\r\n\r\nHMSG b 1 r 12 13\r\nNATS/1.0\r\n\r\nx\r\nPING\r\n", []string{"a", "b", "-"}, nil},
		{ToServer, "PING\r\nPUB a 3\r\nxy", []string{"-", "-"}, nil}, // incomplete
		{ToServer, "PING\r\nMSG a 1 1\r\nx\r\n", nil, errVerb},
		{ToServer, "GET / HTTP/1.1", nil, errVerb},
		{ToServer, "PUB a\r\n", nil, errFields},
		{ToClient, "MSG a 1 r s 1\r\nx\r\n", nil, errFields},
		{ToServer, "PUB a -3\r\n", nil, errSize},
		{ToServer, "PUB a 99999999999\r\n", nil, errSize},
		{ToServer, "PUB a 1\r\nxyz\r\n", nil, errPayload},
		{ToServer, "PING" + strings.Repeat("\n", 9) + "\r\n", nil, errVerb},
		{ToClient, "INFO " + strings.Repeat("x", longestLine), nil, errLine},
	} {
		for _, chunk := range []int{1, 7, len(c.data)} {
			if chunk < 100 && len(c.data) > 1000 {
				continue
			}
			ops, err := split(c.direction, c.data, chunk)
			if !errors.Is(err, c.err) {
				t.Errorf("%.40q in chunks of %d: got error %v, want %v", c.data, chunk, err, c.err)
			}
			var all []byte
			var subjects []string
			for _, op := range ops {
				all = append(all, op.bytes...)
				subjects = append(subjects, cmp.Or(op.subject, "-"))
			}
			if string(all) != c.data {
				t.Errorf("%.40q in chunks of %d: got bytes %.40q, want them unchanged", c.data, chunk, all)
			}
			if c.err == nil && !slices.Equal(subjects, c.want) {
				t.Errorf("%.40q in chunks of %d: got subjects %v, want %v", c.data, chunk, subjects, c.want)
			}
		}
	}
}

// All bytes are emitted unchanged, in chunks of any size, and the operations do not depend on the chunks.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("CONNECT {}\r\nPUB a.b r 3\r\nxyz\r\nHPUB a 12 13\r\nNATS/1.0\r\n\r\nx\r\nPING\r\n"), uint8(3), false)
	f.Add([]byte("INFO {}\r\nMSG a 1 r 3\r\nxyz\r\nHMSG a 1 12 13\r\nNATS/1.0\r\n\r\nx\r\n+OK\r\n"), uint8(5), true)
	f.Add([]byte("MSG a 1 r 3\r\nxyzz\n\nPUB"), uint8(1), true)
	f.Fuzz(func(t *testing.T, data []byte, chunk uint8, toClient bool) {
		d := ToServer
		if toClient {
			d = ToClient
		}
		var all, want []byte
		var messages []string
		ops, err := split(d, string(data), int(chunk)+1)
		for _, op := range ops {
			all = append(all, op.bytes...)
			if op.subject != "" {
				messages = append(messages, string(op.bytes))
			}
		}
		if !bytes.Equal(all, data) {
			t.Errorf("bytes: got %q, want %q", all, data)
		}
		whole, wholeErr := split(d, string(data), len(data)+1)
		for _, op := range whole {
			if op.subject != "" {
				want = append(want, op.bytes...)
			}
		}
		if strings.Join(messages, "") != string(want) || (err == nil) != (wholeErr == nil) {
			t.Errorf("%q in chunks: got messages %q, error %v, want those of one chunk: %q, %v", data, messages, err, want, wholeErr)
		}
	})
}

func TestKindsOfSubjectsHaveNoRandomParts(t *testing.T) {
	for subject, want := range map[string]string{
		"_INBOX.bdsYk2hOyVtVlnZZHhUQ9D.3":                  "_INBOX",
		"$JS.ACK.tm_b1_cpu.normal.1.17.17.1700000000000.4": "$JS.ACK.tm_b1_cpu.normal",
		"$JS.ACK.d.acc.tm_b1_cpu.normal.1.17.17.17000.4":   "$JS.ACK.tm_b1_cpu.normal",
		"$KV.tm_nodes.n1":                 "$KV.tm_nodes.n1",
		"tm.b1.cpu=4-gpu=0_5.normal.0":    "tm.b1.cpu=4-gpu=0_5.normal.#",
		"tm.log.0.bdsYk2hOyVtVlnZZHhUQ9D": "tm.log.#.#",
	} {
		if got := kindOf(subject); got != want {
			t.Errorf("kind of %s: got %s, want %s", subject, got, want)
		}
	}
}
