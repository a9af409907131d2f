package mean

import "time"

// Clip is how many times the mean a measurement counts at most.
const Clip = 16

// Noise is never clipped: below it, the mean may be near 0 (a run time of 0 is normal in virtual time).
const Noise = time.Millisecond

// Moving is a moving mean. Make it by New or Start.
type Moving struct {
	value  time.Duration
	seen   int32 // measurements, up to window
	window int32
}

// New returns a mean of nothing yet, which moves over so many measurements: the first ones count alike.
func New(window int) Moving { return Moving{window: int32(window)} }

// Start returns a mean that begins with a guess, which counts as a full window of measurements.
func Start(guess time.Duration, window int) Moving {
	return Moving{value: guess, seen: int32(window), window: int32(window)}
}

// Add counts a measurement.
func (m *Moving) Add(d time.Duration) {
	if m.seen < m.window {
		m.seen++
	}
	if m.seen > 1 {
		d = min(d, max(Clip*m.value, Noise))
	}
	m.value += (d - m.value) / time.Duration(m.seen)
}

// Known reports whether there was a measurement or a guess.
func (m *Moving) Known() bool { return m.seen > 0 }

// Value returns the mean, 0 if nothing is known.
func (m *Moving) Value() time.Duration { return m.value }
