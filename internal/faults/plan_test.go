package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// The same seed and connection have the same faults; another seed or the next connection has others.
func TestASeedRepeatsTheFaults(t *testing.T) {
	verdicts := func(seed uint64, connection string) (all []verdict) {
		f := Faults{Seed: seed, LostRequest: 0.1, LostReply: 0.1, Repeat: 0.1, Delay: 0.1, Cut: 0.1}
		for i := range 1000 {
			all = append(all, f.drawn(occasion{connection, ToServer, fmt.Sprintf("_INBOX.%d", i), i}))
		}
		return all
	}
	same := func(a, b []verdict) int {
		n := 0
		for i := range a {
			if a[i] == b[i] && a[i] != (verdict{}) {
				n++
			}
		}
		return n
	}
	a := verdicts(1, "a#1")
	faulty := same(a, a)
	if faulty < 300 || faulty > 420 { // 1-0.9⁴ of 1000
		t.Errorf("faulty messages of 1000: got %d, want about 344", faulty)
	}
	if n := same(a, verdicts(1, "a#1")); n != faulty {
		t.Errorf("faults with the same seed: got %d the same, want %d", n, faulty)
	}
	if n := same(a, verdicts(2, "a#1")); n > faulty/3 {
		t.Errorf("faults with another seed: got %d the same, want at most %d", n, faulty/3)
	}
	if n := same(a, verdicts(1, "a#2")); n > faulty/3 {
		t.Errorf("faults of the next connection: got %d the same, want at most %d", n, faulty/3)
	}
	for _, v := range a {
		if v.delay < 0 || v.delay > longestDelay {
			t.Errorf("delay: got %v, want 0 to %v", v.delay, longestDelay)
		}
	}
}

// wire is a client and a server with a plan between them.
type wire struct {
	client, server net.Conn
	toServer       chan string // the operations that the server has received, each as subject@time
}

// pipe connects a client and a server, which reads all the time.
func pipe(t *testing.T, p *Plan) *wire {
	inner, server := net.Pipe()
	w := &wire{client: p.Conn("c", inner), server: server, toServer: make(chan string, 1000)}
	began := time.Now()
	go func() {
		defer close(w.toServer)
		s := splitter{direction: ToServer}
		buffer := make([]byte, 32<<10)
		for {
			n, err := server.Read(buffer)
			if fault := s.feed(buffer[:n], func(op operation) {
				w.toServer <- fmt.Sprint(op.subject, "@", time.Since(began).Round(time.Second))
			}); fault != nil {
				t.Errorf("the server reads: got error %v, want none", fault)
			}
			if err != nil {
				return
			}
		}
	}()
	return w
}

// ends closes both ends and returns the operations that the server has received.
func (w *wire) ends() string {
	synctest.Wait()
	_ = w.client.Close()
	_ = w.server.Close()
	var all []string
	for op := range w.toServer {
		all = append(all, op)
	}
	return strings.Join(all, " ")
}

func publish(w io.Writer, subjects ...string) error {
	var out bytes.Buffer
	for _, s := range subjects {
		fmt.Fprintf(&out, "PUB %s 1\r\nx\r\n", s)
	}
	_, err := w.Write(out.Bytes())
	return err
}

// An aim gives its fault to the chosen message, and to no other.
func TestAnAimHitsOneMessage(t *testing.T) {
	for _, c := range []struct {
		fault  Fault
		want   string
		counts Counts
	}{
		{Lose, "a.1@0s b@0s a.3@0s", Counts{LostRequest: 1}},
		{Repeat, "a.1@0s b@0s a.2@0s a.2@0s a.3@0s", Counts{Repeat: 1}},
		{Delay, "a.1@0s b@0s a.2@2s a.3@2s", Counts{Delay: 1}},
		{CutBefore, "a.1@0s b@0s", Counts{Cut: 1}},
		{CutAfter, "a.1@0s b@0s a.2@0s", Counts{Cut: 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := New(Faults{}, func(err error) { t.Errorf("got report %v, want none", err) })
			p.Aim(ToServer, "a.*", 2, c.fault)
			p.Aim(ToClient, ">", 1, Lose) // another direction
			w := pipe(t, p)
			if err := publish(w.client, "a.1", "b", "a.2", "a.3"); err != nil {
				t.Errorf("publish: got error %v, want none", err)
			}
			<-time.After(3 * time.Second)
			if got := w.ends(); got != c.want {
				t.Errorf("fault %d: the server got %s, want %s", c.fault, got, c.want)
			}
			if got := p.Counts(); got != c.counts {
				t.Errorf("fault %d: got counts %+v, want %+v", c.fault, got, c.counts)
			}
		})
	}
}

func TestOffEndsTheFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Faults{LostRequest: 1}, nil)
		w := pipe(t, p)
		if err := publish(w.client, "a"); err != nil {
			t.Errorf("write: got error %v, want none", err)
		}
		synctest.Wait()
		p.Off()
		if err := publish(w.client, "b"); err != nil {
			t.Errorf("write: got error %v, want none", err)
		}
		synctest.Wait()
		p.On()
		if err := publish(w.client, "c"); err != nil {
			t.Errorf("write: got error %v, want none", err)
		}
		if got := w.ends(); got != "b@0s" {
			t.Errorf("the server got %s, want b@0s", got)
		}
	})
}

// Operations that are no messages have no faults, and a cut ends both sides.
func TestACutEndsBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pipe(t, New(Faults{Cut: 1}, nil))
		if _, err := io.WriteString(w.client, "CONNECT {}\r\nPING\r\n"); err != nil {
			t.Errorf("write: got error %v, want none", err)
		}
		synctest.Wait()
		if n := len(w.toServer); n != 2 {
			t.Errorf("operations without a message: the server got %d, want 2", n)
		}
		if err := publish(w.client, "a"); err != nil {
			t.Errorf("write: got error %v, want none", err)
		}
		if _, err := w.client.Read(make([]byte, 1)); err == nil {
			t.Error("the client reads after a cut: got no error, want one")
		}
		if _, err := w.server.Write([]byte("PING\r\n")); err == nil {
			t.Error("the server writes after a cut: got no error, want one")
		}
		w.ends()
	})
}

// The Write of a client never waits for a delay. Close ends a delay, and so does a full queue.
func TestWriteDoesNotWaitForADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pipe(t, New(Faults{Delay: 1}, nil))
		began := time.Now()
		for range 100 {
			if err := publish(w.client, "a"); err != nil {
				t.Errorf("publish: got error %v, want none", err)
			}
		}
		if got := w.ends(); got != "" || time.Since(began) > 0 {
			t.Errorf("100 delayed messages: the server got %q after %v, want none after 0s", got, time.Since(began))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := New(Faults{}, nil)
		p.Aim(ToServer, "a", 1, Delay)
		w := pipe(t, p)
		began := time.Now()
		if err := publish(w.client, "a"); err != nil {
			t.Errorf("write: got error %v, want none", err)
		}
		large := fmt.Appendf(nil, "PUB b %d\r\n%s\r\n", 8<<20, bytes.Repeat([]byte("x"), 8<<20))
		for range 9 {
			if _, err := w.client.Write(large); err != nil {
				t.Errorf("publish: got error %v, want none", err)
			}
		}
		if got := w.ends(); strings.Count(got, "@0s") < 9 || time.Since(began) > 0 {
			t.Errorf("a delay and a full queue: the server got %s after %v, want at least 9 operations at 0s", got, time.Since(began))
		}
	})
}

// Bytes that are not the NATS protocol pass unchanged, and are reported once.
func TestAnotherProtocolPassesAndIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []error
		p := New(Faults{LostRequest: 1, LostReply: 1}, func(err error) { reported = append(reported, err) })
		inner, server := net.Pipe()
		client := p.Conn("c", inner)
		defer client.Close()
		if _, err := client.Write([]byte("GET / HTTP/1.1\r\nPUB a 1\r\nx\r\n")); err != nil {
			t.Errorf("write: got error %v, want none", err)
		}
		got := make([]byte, 27)
		if _, err := io.ReadFull(server, got); err != nil || string(got) != "GET / HTTP/1.1\r\nPUB a 1\r\nx\r" {
			t.Errorf("the server got %q, %v, want the bytes unchanged", got, err)
		}
		synctest.Wait()
		if len(reported) != 1 || !errors.Is(reported[0], errVerb) {
			t.Errorf("got reports %v, want one: %v", reported, errVerb)
		}
	})
}

// Over TCP, all messages but the lost one are received, and the server's close ends the client's side.
func TestOverTCP(t *testing.T) {
	defer goleak.VerifyNone(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("connect: got error %v, want none", err)
	}
	defer listener.Close()
	inner, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("connect: got error %v, want none", err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatalf("connect: got error %v, want none", err)
	}
	p := New(Faults{}, func(err error) { t.Errorf("got report %v, want none", err) })
	p.Aim(ToClient, "a", 2, Lose)
	client := p.Conn("c", inner)
	defer client.Close()
	if client.RemoteAddr().String() != listener.Addr().String() {
		t.Errorf("remote address: got %v, want %v", client.RemoteAddr(), listener.Addr())
	}
	sent := "INFO {}\r\n" + strings.Repeat("MSG a 1 1\r\nx\r\n", 1000)
	go func() {
		_, _ = io.WriteString(server, sent)
		_ = server.Close()
	}()
	got, _ := io.ReadAll(client)
	if len(got) != len(sent)-14 || p.Counts() != (Counts{LostReply: 1}) {
		t.Errorf("got %d bytes, counts %+v, want %d bytes, one lost reply", len(got), p.Counts(), len(sent)-14)
	}
	if err := client.SetReadDeadline(time.Now()); err == nil {
		t.Error("set a deadline on a closed connection: got no error, want one")
	}
}
