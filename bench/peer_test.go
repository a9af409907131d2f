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
	"syscall"
	"testing"
	"time"
)

// actors play what a peer may be, in processes of their own.
var actors = map[string]func(){
	"good": func() { perform(func(r request) string { return fmt.Sprintf(`{"sample": {"rate": %d}}`, r.N) }) },
	"dies": func() {
		perform(func(request) string {
			fmt.Fprintln(os.Stderr, "the last straw")
			os.Exit(3)
			return ""
		})
	},
	"dead":    func() { fmt.Fprintln(os.Stderr, "no engine"); os.Exit(3) },
	"early":   func() { fmt.Println(`{"sample": {"rate": 1}}`) },
	"rubbish": func() { perform(func(request) string { return "hello?" }) },
	"fails":   func() { perform(func(request) string { return `{"error": "it fell over"}` }) },
	"idles":   func() { perform(func(request) string { return `{"sample": {}}` }) },
	"hangs":   func() { perform(func(request) string { return forever() }) },
	"chatters": func() {
		perform(func(request) string { return strings.Repeat(`{"sample": {"rate": 1}}`+"\n", 100_000) })
	},
	"ray":    func() { perform(likeRay) },
	"python": func() { fmt.Println("Ray 9.9, Python 9") },
	"bench":  func() { os.Exit(command(context.Background(), os.Args[1:], io.Discard, log.New(os.Stderr, "", 0))) },
	"script": playScript,
	"no ray": func() { fmt.Fprintln(os.Stderr, "No module named 'ray'"); os.Exit(1) },
}

// forever ends with its process.
func forever() string {
	for {
		_ = syscall.Pause() // until any signal comes, of which Go's scheduler sends some
	}
}

// perform is ready, and answers each request.
func perform(answer func(r request) string) {
	fmt.Println(`{"ready": "Actor 1.0"}`)
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		var r request
		if err := json.Unmarshal(requests.Bytes(), &r); err != nil {
			panic(err)
		}
		fmt.Println(answer(r))
	}
}

// commandOf is the command of a peer that an actor plays.
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
	if err != nil || p.started <= 0 {
		t.Fatal(err)
	}
	for _, n := range []int{7, 8} {
		got, err := p.round(t.Context(), request{"any", n})
		if err != nil || !reflect.DeepEqual(got, sample{rate: float64(n)}) {
			t.Errorf("%v; got %v", err, got)
		}
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

func TestPeerThatCannotStart(t *testing.T) {
	if _, err := startPeer(t.Context(), []string{"/no/such/program"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for role, want := range map[string]string{
		"dead":  "the process ended (exit status 3); its standard error ends with\nno engine\n",
		"early": "does not say that it is ready",
	} {
		if _, err := startPeer(t.Context(), commandOf(t, role)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want it to say %q", role, err, want)
		}
	}
}

func TestPeerThatFails(t *testing.T) {
	for role, want := range map[string]string{
		"dies":    "any: the process ended (exit status 3); its standard error ends with\nthe last straw\n",
		"rubbish": `any: it answers "hello?\n"`,
		"fails":   "any: it fell over",
		"idles":   "any: nothing was measured",
	} {
		p, err := startPeer(t.Context(), commandOf(t, role))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.round(t.Context(), request{"any", 1}); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %q", role, err, want)
		}
		if err := p.end(); err != nil {
			t.Errorf("%s ends with %v", role, err)
		}
	}
}

// What a peer says unasked keeps nobody from ending it.
func TestPeerThatChatters(t *testing.T) {
	p, err := startPeer(t.Context(), commandOf(t, "chatters"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.round(t.Context(), request{"any", 1}); err != nil || got[rate] != 1 {
		t.Errorf("%v; got %v", err, got)
	}
	if err := p.end(); err != nil {
		t.Error(err)
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
		t.Errorf("got %v", err)
	}
	if err := p.end(); err == nil {
		t.Error("it ends well, though it was terminated")
	}
}

func TestTail(t *testing.T) {
	var words tail
	if got := words.text(); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	for range tailBytes {
		fmt.Fprint(&words, "abc")
	}
	if got := words.text(); !strings.HasSuffix(got, "abcabc") || len(words.kept) != tailBytes {
		t.Errorf("%d bytes: %q", len(words.kept), got)
	}
}
