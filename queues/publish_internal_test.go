package queues

import "testing"

// The usual answer is parsed without a JSON decoder; any other is left to the decoder.
func TestParseAck(t *testing.T) {
	for answer, want := range map[string]uint64{
		`{"stream":"tm_b1_cpu","seq":1}`:                             1,
		`{"stream":"tm_log1","seq":18446744073709551615}`:            0, // too long to be sure
		`{"stream":"tm_log1","seq":1152921504606846975}`:             1<<60 - 1,
		`{"stream":"x","domain":"d","seq":12}`:                       12,
		`{"stream":"x","seq":12,"duplicate":true}`:                   0,
		`{"error":{"code":503,"description":"x"},"stream":"x"}`:      0,
		`{"stream":"x", "seq":12}`:                                   0,
		`{"stream":"x","seq":}`:                                      0,
		`{"stream":"x","seq":-1}`:                                    0,
		`{"stream":"x","seq":1`:                                      0,
		`{"stream":"x","seq":0,"error":{"err_code":1,"seq":"","s":}`: 0,
		``: 0,
	} {
		if got, ok := parseAck([]byte(answer)); got != want || ok != (want > 0) {
			t.Errorf("%s: got %d, %v; want %d, %v", answer, got, ok, want, want > 0)
		}
	}
}
