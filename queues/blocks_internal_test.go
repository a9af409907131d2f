package queues

import (
	"errors"
	"testing"
)

// A leader's answer says that there is a block, that there is none, or that the request must be sent again.
func TestDecodeBlock(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
		err                error
		again              bool
	}{
		{"a block", `{"message":{"subject":"s","seq":1,"data":"dGlkZQ=="}}`, "tide", nil, false},
		{"an empty block", `{"message":{"subject":"s","seq":1}}`, "", nil, false},
		{"no block", `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`, "", ErrNoBlock, false},
		{"no leader", `{"error":{"code":503,"err_code":10008,"description":"unavailable"}}`, "", errNoLeader, true},
		{"no space", `{"error":{"code":503,"err_code":10047,"description":"insufficient storage"}}`, "", ErrFull, false},
	} {
		data, err := decodeBlock([]byte(c.answer))
		if string(data) != c.want || !errors.Is(err, c.err) || Unanswered(err) != c.again {
			t.Errorf("%s: got %q, %v, sent again %v; want %q, %v, sent again %v", c.name, data, err, Unanswered(err), c.want, c.err, c.again)
		}
	}
	if _, err := decodeBlock([]byte("no JSON")); err == nil {
		t.Error("an answer that is no JSON: got no error, want one")
	}
}
