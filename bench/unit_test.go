package main

import "testing"

func TestUnitText(t *testing.T) {
	for _, c := range []struct {
		unit  unit
		value float64
		want  string
	}{
		{seconds, 12.34, "12.3 s"},
		{seconds, 0.15, "150 ms"},
		{seconds, 0.00153, "1.53 ms"},
		{seconds, 0.000_082_4, "82.4 µs"},
		{seconds, 2.5e-7, "250 ns"},
		{seconds, 0, "0.00 ns"},
		{perSecond, 999.4, "999/s"},
		{perSecond, 1_234_567.8, "1,234,568/s"},
		{perSecond, 1.38, "1.38/s"},
		{bytesPerSecond, 6.84e9, "6.84 GB/s"},
		{count, 1.4, "1.40"},
		{ofBytes, 564, "564 B"},
		{ofBytes, 22_100_000, "22.1 MB"},
		{percent, 0.0021, "0.21 %"},
		{ofOne, 0.9734, "0.973"},
	} {
		if got := c.unit.text(c.value); got != c.want {
			t.Errorf("%v in unit %q: got %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}

func TestThousands(t *testing.T) {
	for value, want := range map[float64]string{0: "0", -0.2: "0", 100: "100", 1000: "1,000", -123456: "-123,456", 1e6: "1,000,000"} {
		if got := thousands(value); got != want {
			t.Errorf("thousands(%v): got %q, want %q", value, got, want)
		}
	}
}
