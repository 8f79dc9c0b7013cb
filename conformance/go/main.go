// Plays the scenarios with the Go client: one JSON line for each on stdout.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// The longest waits 110 s for a queue that was not unlocked, and then 60 s for what was sent.
const scenarioSecondsMax = 240

type scenario struct {
	name string
	play func(*scene)
}

const wire = "requests that no client sends are made with the Java clients' remoting layer"

var missing = map[string]string{
	"killed-restarted-topics":  "the client cannot be told its topics before it sends",
	"tx-listener-throws":       "a panic in a listener ends the client's process",
	"query-plain":              "the client has no query call",
	"query-transactional":      "the client has no query call",
	"query-undecided":          "the client has no query call",
	"offsets":                  "the client has no call for min and max offset",
	"end-twice":                wire,
	"end-commit-then-rollback": wire,
	"end-rollback-then-commit": wire,
	"end-rollback-twice":       wire,
	"end-mistaken":             wire,
	"end-topic-deleted":        wire,
	"half-sent-twice":          wire,
	"half-hidden":              wire,
	"half-rolled-back-hidden":  wire,
	"half-committed-shown":     wire,
	"half-delayed":             wire,
	"resume-check":             wire,
	"doors-plain":              wire,
}

func main() {
	namesrv := flag.String("namesrv", "127.0.0.1:9876", "name server address")
	broker := flag.String("broker", "127.0.0.1:10911", "broker address, for topic creation")
	run := flag.String("run", "run", "prefix of all names")
	chosen := flag.String("scenario", "", "comma-separated names; all if empty")
	parallel := flag.Int("parallel", 8, "scenarios at one time")
	child := flag.String("child", "", "body of a half that is sent before the process hangs")
	group := flag.String("group", "", "producer group of the child")
	topic := flag.String("topic", "", "topic of the child")
	flag.Parse()
	rlog.SetLogLevel("error")
	if *child != "" {
		hang(*namesrv, *group, *topic, *child)
		return
	}
	stage := make(chan struct{}, *parallel)
	var all sync.WaitGroup
	var print sync.Mutex
	for _, s := range scenarios() {
		if *chosen != "" && !strings.Contains(","+*chosen+",", ","+s.name+",") {
			continue
		}
		all.Add(1)
		stage <- struct{}{}
		go func(s scenario) {
			defer all.Done()
			line := play(s, *namesrv, *broker, *run)
			<-stage
			print.Lock()
			defer print.Unlock()
			fmt.Println(line)
		}(s)
	}
	all.Wait()
	if *chosen == "" {
		for name, reason := range missing {
			fmt.Println((&report{Scenario: name, Status: "n/a", Reason: reason}).line(time.Now()))
		}
	}
}

func play(s scenario, namesrv, broker, run string) string {
	start := time.Now()
	r := &report{Scenario: s.name, Outcomes: map[string]any{}, Failures: []string{}}
	sc := &scene{report: r, namesrv: namesrv, broker: broker, prefix: run + "_" + s.name + "_"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if cause := recover(); cause != nil {
				r.fail(fmt.Sprint(cause))
				fmt.Fprintf(os.Stderr, "%s: %v\n%s", s.name, cause, debug.Stack())
			}
			sc.close()
		}()
		s.play(sc)
	}()
	select {
	case <-done:
	case <-time.After(scenarioSecondsMax * time.Second):
		r.fail(fmt.Sprintf("not over after %d s", scenarioSecondsMax))
	}
	return r.line(start)
}

// The longest begins first, so that the others are played while it waits.
func scenarios() []scenario {
	all := []scenario{{"orderly-two-instances", orderlyTwo}}
	all = append(all, transactionScenarios()...)
	all = append(all, sendScenarios()...)
	return append(all, consumerScenarios()...)
}
