package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fakes are the main functions of fake peers and programs, by the role that childVariable has.
var fakes = map[string]func(){
	"good": func() { serve(func(r request) string { return fmt.Sprintf(`{"sample": {"rate": %d}}`, r.N) }) },
	"dies": func() {
		serve(func(request) string {
			fmt.Fprintln(os.Stderr, "out of memory")
			os.Exit(3)
			return ""
		})
	},
	"dead":    func() { fmt.Fprintln(os.Stderr, "no engine"); os.Exit(3) },
	"early":   func() { fmt.Println(`{"sample": {"rate": 1}}`) },
	"rubbish": func() { serve(func(request) string { return "hello?" }) },
	"fails":   func() { serve(func(request) string { return `{"error": "it fell over"}` }) },
	"idles":   func() { serve(func(request) string { return `{"sample": {}}` }) },
	"hangs":   func() { serve(func(request) string { return blockForever() }) },
	"writes too much": func() {
		serve(func(request) string { return strings.Repeat(`{"sample": {"rate": 1}}`+"\n", 100_000) })
	},
	"ray":    func() { serve(replyLikeRay) },
	"python": func() { fmt.Println("Ray 9.9, Python 9") },
	"bench":  func() { os.Exit(command(context.Background(), os.Args[1:], io.Discard, log.New(os.Stderr, "", 0))) },
	"script": playScript,
	"no ray": func() { fmt.Fprintln(os.Stderr, "No module named 'ray'"); os.Exit(1) },
}

// blockForever blocks until its process ends.
func blockForever() string {
	for {
		<-time.After(time.Hour) // a timer, so that the runtime does not report a deadlock
	}
}

// serve says that it is ready, and replies to each request.
func serve(reply func(r request) string) {
	fmt.Println(`{"ready": "Fake 1.0"}`)
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		var r request
		if err := json.Unmarshal(requests.Bytes(), &r); err != nil {
			panic(err)
		}
		fmt.Println(reply(r))
	}
}

// commandOf returns the command that runs a fake in this test program. One role applies to all commands of a test.
func commandOf(t *testing.T, role string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(childVariable, role)
	return []string{self}
}

func TestPeer(t *testing.T) {
	p, err := startPeer(t.Context(), commandOf(t, "good"))
	if err != nil {
		t.Fatal(err)
	}
	if p.started <= 0 {
		t.Errorf("got %v from the start until it was ready, want more than 0", p.started)
	}
	for _, n := range []int{7, 8} {
		got, err := p.round(t.Context(), request{"any", n})
		if want := (sample{rate: float64(n)}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v and error %v, want %v", got, err, want)
		}
	}
	if err := p.end(); err != nil {
		t.Errorf("end: got error %v, want none", err)
	}
}

func TestPeerThatCannotStart(t *testing.T) {
	if _, err := startPeer(t.Context(), []string{"/no/such/program"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, os.ErrNotExist)
	}
	for role, want := range map[string]string{
		"dead":  "the process ended (exit status 3); its standard error ends with\nno engine\n",
		"early": "does not say that it is ready",
	} {
		if _, err := startPeer(t.Context(), commandOf(t, role)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", role, err, want)
		}
	}
}

func TestPeerThatFails(t *testing.T) {
	for role, want := range map[string]string{
		"dies":    "any: the process ended (exit status 3); its standard error ends with\nout of memory\n",
		"rubbish": `any: the reply is not JSON: "hello?\n"`,
		"fails":   "any: it fell over",
		"idles":   "any: the reply has no figures",
	} {
		p, err := startPeer(t.Context(), commandOf(t, role))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.round(t.Context(), request{"any", 1}); err == nil || err.Error() != want {
			t.Errorf("%s: got error %v, want %q", role, err, want)
		}
		if err := p.end(); err != nil {
			t.Errorf("%s: end: got error %v, want none", role, err)
		}
	}
}

// A peer that is blocked writing lines that were not requested can be ended.
func TestPeerWithUnexpectedLines(t *testing.T) {
	p, err := startPeer(t.Context(), commandOf(t, "writes too much"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.round(t.Context(), request{"any", 1}); err != nil || got[rate] != 1 {
		t.Errorf("got %v and error %v, want rate 1", got, err)
	}
	if err := p.end(); err != nil {
		t.Errorf("end: got error %v, want none", err)
	}
}

func TestPeerThatHangs(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := startPeer(ctx, commandOf(t, "hangs"))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("its time is up")) })
	if _, err := p.round(ctx, request{"any", 1}); err == nil || err.Error() != "any: its time is up" {
		t.Errorf("got error %v, want %q", err, "any: its time is up")
	}
	if err := p.end(); err == nil {
		t.Error("end of a process that was terminated: got no error, want one")
	}
}

func TestTail(t *testing.T) {
	var end tail
	if got := end.text(); got != "" {
		t.Errorf("before any write: got %q, want nothing", got)
	}
	for range tailBytes {
		fmt.Fprint(&end, "abc")
	}
	if got := end.text(); !strings.HasSuffix(got, "abcabc") || len(end.kept) != tailBytes {
		t.Errorf("got %d bytes: %q, want %d that end with abcabc", len(end.kept), got, tailBytes)
	}
}
