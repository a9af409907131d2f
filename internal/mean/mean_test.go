package mean_test

import (
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/mean"
)

// The first measurements count alike, later ones by one part of the window.
func TestMovingMean(t *testing.T) {
	m := mean.New(4)
	if m.Known() || m.Value() != 0 {
		t.Errorf("without a measurement: got known %t, %s, want unknown, 0", m.Known(), m.Value())
	}
	const ms = time.Millisecond
	for i, c := range []struct{ add, want time.Duration }{
		{100 * ms, 100 * ms}, {200 * ms, 150 * ms}, {300 * ms, 200 * ms}, {400 * ms, 250 * ms}, {650 * ms, 350 * ms},
	} {
		m.Add(c.add)
		if got := m.Value(); got != c.want || !m.Known() {
			t.Errorf("after measurement %d: got %s, known %t, want %s, known", i+1, got, m.Known(), c.want)
		}
	}
}

// A pause of the machine counts with 16 times the mean; what is shorter than the noise is never clipped.
func TestOutliers(t *testing.T) {
	m := mean.Start(10*time.Millisecond, 10)
	m.Add(time.Hour)
	if got, want := m.Value(), 25*time.Millisecond; got != want {
		t.Errorf("after an hour beside a mean of 10 ms: got %s, want %s", got, want)
	}
	m = mean.New(1)
	m.Add(0)
	m.Add(time.Millisecond)
	if got := m.Value(); got != time.Millisecond {
		t.Errorf("1 ms after 0: got %s, want 1 ms", got)
	}
}
