package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	commit   = primitive.CommitMessageState
	rollback = primitive.RollbackMessageState
	unknown  = primitive.UnkonwnState
)

// script is a transaction listener that answers as told and keeps the checks it was asked.
type script struct {
	mu     sync.Mutex
	local  func(*primitive.Message) primitive.LocalTransactionState
	check  func(*primitive.MessageExt) primitive.LocalTransactionState
	checks []*primitive.MessageExt
}

func answers(local, check primitive.LocalTransactionState) *script {
	return &script{local: func(*primitive.Message) primitive.LocalTransactionState { return local },
		check: func(*primitive.MessageExt) primitive.LocalTransactionState { return check }}
}

func (s *script) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return s.local(m)
}

func (s *script) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	s.mu.Lock()
	s.checks = append(s.checks, m)
	s.mu.Unlock()
	return s.check(m)
}

func (s *script) asked() []*primitive.MessageExt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*primitive.MessageExt{}, s.checks...)
}

func transactionScenarios() []scenario {
	return []scenario{
		{"tx-commit", txCommit},
		{"tx-rollback", txRollback},
		{"tx-unknown-then-commit", func(s *scene) { txUnknown(s, commit) }},
		{"tx-unknown-then-rollback", func(s *scene) { txUnknown(s, rollback) }},
		{"tx-unknown-three-times", txUnknownThreeTimes},
		{"tx-immunity", txImmunity},
		{"killed-restarted-sends", func(s *scene) { killedRestarted(s, commit) }},
		{"killed-restarted-sends-rollback", func(s *scene) { killedRestarted(s, rollback) }},
		{"killed-other-is-asked", killedOther},
	}
}

func half(p rocketmq.TransactionProducer, m *primitive.Message) *primitive.TransactionSendResult {
	return must(p.SendMessageInTransaction(context.Background(), m))
}

func txCommit(s *scene) {
	topic := s.topic("t", 1)
	listener := answers(commit, commit)
	p := s.transactions(s.name("p"), listener)
	ids := []string{}
	for i := 0; i < 3; i++ {
		m := message(topic, "TagA", fmt.Sprintf("k%d", i), fmt.Sprintf("order-%d", i))
		m.WithProperty("colour", "blue")
		result := half(p, m)
		s.expect(fmt.Sprintf("sent %d", i), int(primitive.SendOK), int(result.Status))
		ids = append(ids, result.MsgID)
	}
	in := s.inbox(s.name("c"), topic, "*")
	in.await(3, 20)
	settle()
	s.expect("delivered", []string{"order-0", "order-1", "order-2"}, in.sortedBodies())
	s.expect("checks", 0, len(listener.asked()))
	for _, m := range in.all() {
		var i int
		fmt.Sscanf(string(m.Body), "order-%d", &i)
		s.expect(fmt.Sprintf("delivered %d", i), fmt.Sprintf("TagA k%d blue", i),
			fmt.Sprintf("%s %s %s", m.GetTags(), m.GetKeys(), m.GetProperty("colour")))
		s.expectSame(fmt.Sprintf("delivered id %d", i), ids[i], m.MsgId)
		s.expectSame(fmt.Sprintf("delivered transaction id %d", i), ids[i], m.TransactionId)
	}
}

func txRollback(s *scene) {
	topic := s.topic("t", 1)
	listener := answers(rollback, commit)
	listener.local = func(m *primitive.Message) primitive.LocalTransactionState {
		if m.GetKeys() == "keep" {
			return commit
		}
		return rollback
	}
	p := s.transactions(s.name("p"), listener)
	for i := 0; i < 3; i++ {
		half(p, message(topic, "", "drop", "dropped"))
	}
	half(p, message(topic, "", "keep", "kept"))
	in := s.inbox(s.name("c"), topic, "*")
	in.await(1, 20)
	settle()
	s.expect("delivered", []string{"kept"}, in.bodies())
	s.expect("checks", 0, len(listener.asked()))
}

func txUnknown(s *scene, answer primitive.LocalTransactionState) {
	topic := s.topic("t", 1)
	listener := answers(unknown, answer)
	p := s.transactions(s.name("p"), listener)
	in := s.inbox(s.name("c"), topic, "*")
	result := half(p, message(topic, "TagA", "key", "order"))
	s.expect("checked", true, until(40, func() bool { return len(listener.asked()) > 0 }))
	delivered := []string{}
	if answer == commit {
		delivered = append(delivered, "order")
	}
	in.await(len(delivered), 20)
	settle()
	checks := listener.asked()
	s.expect("checks", 1, len(checks))
	s.expect("check", "order TagA key", fmt.Sprintf("%s %s %s", checks[0].Body, checks[0].GetTags(), checks[0].GetKeys()))
	s.expectSame("check names its transaction", result.MsgID, checks[0].TransactionId)
	s.expectSame("check has the topic", topic, checks[0].Topic)
	s.expect("delivered", delivered, in.bodies())
}

func txUnknownThreeTimes(s *scene) {
	topic := s.topic("t", 1)
	var asked atomic.Int32
	listener := answers(unknown, unknown)
	listener.check = func(*primitive.MessageExt) primitive.LocalTransactionState {
		if asked.Add(1) < 3 {
			return unknown
		}
		return commit
	}
	p := s.transactions(s.name("p"), listener)
	in := s.inbox(s.name("c"), topic, "*")
	half(p, message(topic, "", "key", "order"))
	in.await(1, 60)
	settle()
	times := []string{}
	for _, check := range listener.asked() {
		times = append(times, check.GetProperty("TRANSACTION_CHECK_TIMES"))
	}
	s.expect("check times", []string{"1", "2", "3"}, times)
	s.expect("delivered", []string{"order"}, in.bodies())
}

// txImmunity: a message may ask that its first check waits longer than the broker's time-out.
func txImmunity(s *scene) {
	topic := s.topic("t", 1)
	listener := answers(unknown, commit)
	p := s.transactions(s.name("p"), listener)
	in := s.inbox(s.name("c"), topic, "*")
	m := message(topic, "", "key", "order")
	m.WithProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "5")
	start := time.Now()
	half(p, m)
	until(20, func() bool { return len(listener.asked()) > 0 })
	waited := time.Since(start)
	in.await(1, 20)
	settle()
	s.expect("first check not before immunity ends", true, waited >= 4900*time.Millisecond)
	s.expect("first check soon after immunity", true, waited < 10*time.Second)
	s.expect("checks", 1, len(listener.asked()))
	s.expect("delivered", []string{"order"}, in.bodies())
}

// hang is the child process: it sends one half and stays in its local transaction until it is killed.
func hang(namesrv, group, topic, body string) {
	s := &scene{report: &report{Outcomes: map[string]any{}}, namesrv: namesrv}
	listener := answers(unknown, unknown)
	listener.local = func(*primitive.Message) primitive.LocalTransactionState {
		fmt.Println("in local transaction")
		time.Sleep(time.Hour)
		return unknown
	}
	half(s.transactions(group, listener), message(topic, "TagA", "key", body))
}

func (s *scene) sendHalfAndDie(group, topic, body string) {
	child := exec.Command(must(os.Executable()), "-namesrv", s.namesrv, "-group", group, "-topic", topic, "-child", body)
	child.Stderr = os.Stderr
	out := must(child.StdoutPipe())
	must(0, child.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	child.Process.Kill()
	child.Wait()
	s.expect("the child", "in local transaction\n", line)
}

func killedRestarted(s *scene, answer primitive.LocalTransactionState) {
	topic := s.topic("t", 1)
	group := s.name("p")
	s.sendHalfAndDie(group, topic, "order")
	listener := answers(commit, answer)
	p := s.transactions(group, listener)
	half(p, message(topic, "", "", "hello"))
	delivered := []string{"hello"}
	if answer == commit {
		delivered = append(delivered, "order")
	}
	s.checked(topic, listener, delivered)
}

func killedOther(s *scene) {
	topic := s.topic("t", 1)
	group := s.name("p")
	listener := answers(commit, commit)
	half(s.transactions(group, listener), message(topic, "", "", "hello"))
	s.sendHalfAndDie(group, topic, "order")
	s.checked(topic, listener, []string{"hello", "order"})
}

func (s *scene) checked(topic string, listener *script, delivered []string) {
	in := s.inbox(s.name("c"), topic, "*")
	s.expect("checked", true, until(40, func() bool { return len(listener.asked()) > 0 }))
	in.await(len(delivered), 20)
	settle()
	bodies := map[string]bool{}
	for _, check := range listener.asked() {
		bodies[string(check.Body)] = true
	}
	s.expect("bodies checked", map[string]bool{"order": true}, bodies)
	s.expect("delivered", delivered, in.sortedBodies())
}
