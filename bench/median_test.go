package main

import (
	"maps"
	"slices"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 7}, 6},
		{[]float64{1, 1, 1, 1000}, 1},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: got %v, want %v", c.values, got, c.want)
		}
	}
}

func TestMedianKeepsOrderOfValues(t *testing.T) {
	values := []float64{3, 1, 2}
	median(values)
	if want := []float64{3, 1, 2}; !slices.Equal(values, want) {
		t.Errorf("got values %v after median, want %v", values, want)
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[99-i] = time.Duration(i+1) * time.Second
	}
	for _, c := range []struct {
		values  []time.Duration
		q, want float64
	}{
		{nil, 0.5, 0},
		{[]time.Duration{3 * time.Second}, 0.99, 3},
		{[]time.Duration{3 * time.Second}, 0, 3},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile %v of %d values: got %v, want %v", c.q, len(c.values), got, c.want)
		}
	}
}

func TestMedians(t *testing.T) {
	got := medians([]sample{{p50: 1, p99: 10}, {p50: 3, p99: 30}, {p50: 2, p99: 20}})
	if want := (sample{p50: 2, p99: 20}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
