package faults

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Direction is one of the two directions of a connection.
type Direction int

// The client sends ToServer, the server ToClient.
const (
	ToServer Direction = iota
	ToClient
)

func (d Direction) String() string {
	if d == ToServer {
		return ">"
	}
	return "<"
}

// operation is one operation of the NATS protocol, unchanged.
type operation struct {
	bytes   []byte // with its payload
	subject string // of a message; "" for other operations, which have no faults
}

// splitter splits the bytes of one direction into operations. It emits all bytes, in order: those that are not the NATS
// protocol, and all behind them, as they come.
type splitter struct {
	direction Direction
	rest      []byte // the bytes of the next operation so far
	wanted    int    // the least length of that operation, as far as it is known
	lost      bool   // it has read bytes that are not the NATS protocol
}

const (
	longestLine    = 1 << 20  // bytes of a control line; INFO lists the servers of a cluster
	largestPayload = 64 << 20 // bytes; the limit of the server
)

var (
	errVerb    = errors.New("not an operation of the NATS protocol")
	errLine    = errors.New("control line too long")
	errFields  = errors.New("wrong number of fields")
	errSize    = errors.New("invalid size of a payload")
	errPayload = errors.New("payload without a line break after it")
)

// feed calls emit for each operation that is complete with data. It returns at most one error, the first time that it reads
// bytes that are not the NATS protocol.
func (s *splitter) feed(data []byte, emit func(operation)) error {
	s.rest = append(s.rest, data...)
	if len(s.rest) < s.wanted {
		return nil
	}
	taken := 0
	defer func() { s.rest = s.rest[:copy(s.rest, s.rest[taken:])] }()
	for !s.lost && taken < len(s.rest) {
		size, subject, err := s.direction.first(s.rest[taken:])
		if err != nil {
			s.lost = true
			s.pass(&taken, emit)
			return fmt.Errorf("faults: read an operation in direction %v: %w", s.direction, err)
		}
		if s.wanted = size; len(s.rest) < taken+size || size == 0 {
			return nil
		}
		emit(operation{bytes.Clone(s.rest[taken : taken+size]), subject})
		taken += size
		s.wanted = 0
	}
	if s.lost {
		s.pass(&taken, emit)
	}
	return nil
}

// pass emits all bytes that are left.
func (s *splitter) pass(taken *int, emit func(operation)) {
	if *taken < len(s.rest) {
		emit(operation{bytes: bytes.Clone(s.rest[*taken:])})
		*taken = len(s.rest)
	}
}

// end emits an operation that is not complete.
func (s *splitter) end(emit func(operation)) {
	taken := 0
	s.pass(&taken, emit)
	s.rest = nil
}

// plain are the operations without a payload.
var plain = [2]map[string]bool{
	ToServer: {"CONNECT": true, "PING": true, "PONG": true, "SUB": true, "UNSUB": true},
	ToClient: {"INFO": true, "PING": true, "PONG": true, "+OK": true, "-ERR": true},
}

// loaded are the operations with a payload, each with the number of its fields if it has no reply subject. The second field
// is the subject, the last one the size of the payload.
var loaded = [2]map[string]int{
	ToServer: {"PUB": 3, "HPUB": 4},
	ToClient: {"MSG": 4, "HMSG": 5},
}

// first returns the size of the first operation in data, 0 if that is not known yet, and the subject if it is a message. The
// payload may be incomplete.
func (d Direction) first(data []byte) (size int, subject string, err error) {
	line, _, whole := bytes.Cut(data, []byte("\r\n"))
	if !whole {
		if len(data) > longestLine {
			return 0, "", errLine
		}
		return 0, "", d.beginning(data)
	}
	fields := words(line[:min(len(line), 4096)])
	if len(fields) == 0 {
		return 0, "", errVerb
	}
	verb := strings.ToUpper(fields[0])
	if plain[d][verb] {
		return len(line) + 2, "", nil
	}
	least, known := loaded[d][verb]
	if !known {
		return 0, "", errVerb
	}
	if len(fields) < least || len(fields) > least+1 {
		return 0, "", errFields
	}
	payload, err := strconv.ParseUint(fields[len(fields)-1], 10, 32)
	if err != nil || payload > largestPayload {
		return 0, "", errSize
	}
	size = len(line) + 2 + int(payload) + 2
	if len(data) >= size && string(data[size-2:size]) != "\r\n" {
		return 0, "", errPayload
	}
	return size, fields[1], nil
}

// words splits a line at spaces and tabs.
func words(line []byte) []string {
	return strings.FieldsFunc(string(line), func(r rune) bool { return r == ' ' || r == '\t' })
}

// beginning returns an error if no operation begins with data. Without it, the peers of a protocol without line breaks would
// wait for ever.
func (d Direction) beginning(data []byte) error {
	var got string
	if all := words(bytes.TrimSuffix(data[:min(len(data), 8)], []byte("\r"))); len(all) > 0 {
		got = strings.ToUpper(all[0])
	}
	for verb := range plain[d] {
		if strings.HasPrefix(verb, got) {
			return nil
		}
	}
	for verb := range loaded[d] {
		if strings.HasPrefix(verb, got) {
			return nil
		}
	}
	return errVerb
}

// kindOf returns the subject without the parts that differ from run to run: numbers, random IDs, and all of an inbox and of
// an ack except stream and consumer.
func kindOf(subject string) string {
	tokens := strings.Split(subject, ".")
	switch {
	case tokens[0] == "_INBOX":
		return "_INBOX"
	case strings.HasPrefix(subject, "$JS.ACK.") && len(tokens) >= 9:
		at := 2
		if len(tokens) >= 11 { // domain and account precede the stream
			at = 4
		}
		return "$JS.ACK." + tokens[at] + "." + tokens[at+1]
	}
	for i, t := range tokens {
		if random(t) {
			tokens[i] = "#"
		}
	}
	return strings.Join(tokens, ".")
}

// random reports whether a token is a number or looks like a random ID.
func random(token string) bool {
	digits, letters := 0, 0
	for _, c := range []byte(token) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			letters++
		default:
			return false
		}
	}
	return digits > 0 && (letters == 0 || digits+letters >= 16)
}
