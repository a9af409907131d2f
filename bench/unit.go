package main

import (
	"fmt"
	"math"
	"strconv"
)

// A unit is the unit of a figure. Reports have it as it is.
type unit string

const (
	seconds   unit = "s"
	perSecond unit = "/s"
	count     unit = ""
	ofBytes   unit = "B"
	ofOne     unit = "of 1"
	percent   unit = "%"

	bytesPerSecond unit = "B/s"
)

// moreIsBetter reports whether a greater value in the unit is the better one.
func (u unit) moreIsBetter() bool { return u == perSecond || u == bytesPerSecond || u == ofOne }

// text formats a value, with the prefix that suits its size.
func (u unit) text(v float64) string {
	switch u {
	case seconds:
		return secondsText(v)
	case perSecond:
		if v < 100 && v != math.Round(v) {
			return threeDigits(v) + "/s"
		}
		return thousands(v) + "/s"
	case bytesPerSecond:
		return threeDigits(v/1e9) + " GB/s"
	case ofBytes:
		if v >= 1e6 {
			return fmt.Sprintf("%.1f MB", v/1e6)
		}
		return fmt.Sprintf("%.0f B", v)
	case percent:
		return fmt.Sprintf("%.2f %%", v*100)
	case ofOne:
		return fmt.Sprintf("%.3f", v)
	default: // count
		return fmt.Sprintf("%.2f", v)
	}
}

func secondsText(v float64) string {
	for _, scale := range []struct {
		times float64
		name  string
	}{{1, "s"}, {1e3, "ms"}, {1e6, "µs"}} {
		if v*scale.times >= 1 {
			return threeDigits(v*scale.times) + " " + scale.name
		}
	}
	return threeDigits(v*1e9) + " ns"
}

// threeDigits formats a number of 1 or more with three significant digits.
func threeDigits(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// thousands rounds a number and formats it with commas.
func thousands(v float64) string {
	digits := strconv.FormatFloat(math.Abs(math.Round(v)), 'f', -1, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if v < -0.5 {
		return "-" + digits
	}
	return digits
}
