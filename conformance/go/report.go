package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// report is what one scenario saw, as one JSON line of the same form as the Java clients print.
type report struct {
	mu       sync.Mutex
	Scenario string         `json:"scenario"`
	Status   string         `json:"status"`
	Reason   string         `json:"reason,omitempty"`
	Outcomes map[string]any `json:"outcomes"`
	Failures []string       `json:"failures"`
	Millis   int64          `json:"millis"`
}

// observe records what was seen; a comparison judges it.
func (r *report) observe(name string, seen any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Outcomes[name] = seen
}

// expect records what was seen and fails the scenario if it is not what any correct broker shows.
func (r *report) expect(name string, expected, seen any) {
	r.observe(name, seen)
	want, _ := json.Marshal(expected)
	got, _ := json.Marshal(seen)
	if string(want) != string(got) {
		r.fail(fmt.Sprintf("%s: expected %s, saw %s", name, want, got))
	}
}

// expectSame is for what differs from run to run, as ids and names do: it records only whether both are the same.
func (r *report) expectSame(name, expected, seen string) {
	r.observe(name, expected == seen)
	if expected != seen {
		r.fail(fmt.Sprintf("%s: expected %s, saw %s", name, expected, seen))
	}
}

func (r *report) fail(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Failures = append(r.Failures, why)
}

func (r *report) line(start time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Millis = time.Since(start).Milliseconds()
	if r.Status == "" {
		r.Status = "passed"
		if len(r.Failures) > 0 {
			r.Status = "failed"
		}
	}
	line, _ := json.Marshal(r)
	return string(line)
}
