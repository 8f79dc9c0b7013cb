package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func consumerScenarios() []scenario {
	return []scenario{
		{"clustering-two-instances", clustering},
		{"broadcasting", broadcasting},
		{"orderly", orderly},
		{"orderly-dead-letter", orderlyDeadLetter},
		{"tag-filter", tagFilter},
		{"lite-pull-assign", pullFrom},
		{"lite-pull-subscribe", pullSubscribed},
		{"retry-then-success", retry},
		{"retry-then-dead-letter", deadLetter},
		{"retry-transactional", retryTransactional},
		{"delay-level", delayLevel},
		{"start-first", func(s *scene) { start(s, consumer.ConsumeFromFirstOffset) }},
		{"start-last", func(s *scene) { start(s, consumer.ConsumeFromLastOffset) }},
		{"start-timestamp", func(s *scene) { start(s, consumer.ConsumeFromTimestamp) }},
		{"start-where-it-stopped", resume},
	}
}

func (s *scene) toQueues(topic string, queues int) (func(body string, i int), rocketmq.Producer) {
	p := s.producer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	return func(body string, i int) {
		m := message(topic, "", "", body)
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: i % queues}
		send(p, m)
	}, p
}

// The client does not tell its queues: rounds are sent until both instances have had a message of each round.
func clustering(s *scene) {
	topic := s.topic("t", 4)
	left, right := &inbox{}, &inbox{}
	first := s.consumer(s.name("c"), topic, "*", into(left))
	s.closers = append(s.closers, func() { first.Shutdown() })
	second := s.consumer(s.name("c"), topic, "*", into(right))
	to, _ := s.toQueues(topic, 4)
	sent := map[string]bool{}
	round := func(n int) {
		for i := 0; i < 4; i++ {
			body := fmt.Sprintf("round-%d-%d", n, i)
			to(body, i)
			sent[body] = true
		}
		until(20, func() bool { return len(distinct(left, right)) == len(sent) })
	}
	n := 0
	s.expect("both get messages", true, until(60, func() bool {
		before, beforeRight := len(left.all()), len(right.all())
		round(n)
		n++
		return len(left.all())-before == 2 && len(right.all())-beforeRight == 2
	}))
	s.expect("all delivered", len(sent), len(distinct(left, right)))
	second.Shutdown()
	s.expect("the rest takes over", true, until(60, func() bool {
		before := len(left.all())
		round(n)
		n++
		return len(left.all())-before >= 4
	}))
	s.expect("all delivered in the end", len(sent), len(distinct(left, right)))
}

func distinct(inboxes ...*inbox) map[string]bool {
	bodies := map[string]bool{}
	for _, in := range inboxes {
		for _, body := range in.bodies() {
			bodies[body] = true
		}
	}
	return bodies
}

func broadcasting(s *scene) {
	topic := s.topic("t", 2)
	model := consumer.WithConsumerModel(consumer.BroadCasting)
	left := s.inbox(s.name("c"), topic, "*", model)
	right := s.inbox(s.name("c"), topic, "*", model)
	// A broadcasting consumer of this client starts at the end, whatever it is told; so both must be there first.
	time.Sleep(2 * time.Second)
	to, _ := s.toQueues(topic, 2)
	expected := []string{}
	for i := 0; i < 6; i++ {
		body := fmt.Sprintf("body-%d", i)
		to(body, i)
		expected = append(expected, body)
	}
	for i, in := range []*inbox{left, right} {
		in.await(6, 30)
		s.expect(fmt.Sprintf("delivered to %d", i), expected, in.sortedBodies())
	}
}

func orderly(s *scene) {
	topic := s.topic("t", 3)
	to, _ := s.toQueues(topic, 3)
	for i := 0; i < 15; i++ {
		to(fmt.Sprintf("%02d", i), i)
	}
	in := &inbox{}
	var failed atomic.Bool
	c := s.consumer(s.name("c"), topic, "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if string(messages[0].Body) == "03" && failed.CompareAndSwap(false, true) {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		in.add(messages)
		return consumer.ConsumeSuccess, nil
	}, consumer.WithConsumerOrder(true), consumer.WithSuspendCurrentQueueTimeMillis(200*time.Millisecond))
	s.closers = append(s.closers, func() { c.Shutdown() })
	in.await(15, 60)
	s.expect("by queue", map[int][]string{0: {"00", "03", "06", "09", "12"}, 1: {"01", "04", "07", "10", "13"},
		2: {"02", "05", "08", "11", "14"}}, byQueue(in))
	s.expect("failed once", true, failed.Load())
}

// The first instance gives one of its queues away without a word to the broker, so the second gets that queue when the
// broker's lock expires (60 s) and it looks again (every 20 s). What is sent meanwhile must wait for it, in order.
func orderlyTwo(s *scene) {
	topic := s.topic("t", 2)
	to, _ := s.toQueues(topic, 2)
	left, right, both := &inbox{}, &inbox{}, &inbox{}
	instanceOf := func(own *inbox) rocketmq.PushConsumer {
		return s.consumer(s.name("c"), topic, "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			own.add(messages)
			both.add(messages)
			return consumer.ConsumeSuccess, nil
		}, consumer.WithConsumerOrder(true))
	}
	sent := map[int][]string{}
	round := func() {
		for queue := 0; queue < 2; queue++ {
			body := fmt.Sprintf("%d-%02d", queue, len(sent[queue]))
			to(body, queue)
			sent[queue] = append(sent[queue], body)
		}
	}
	// A queue that changes hands may repeat what its offset does not cover yet; the order is that of the first time.
	all := func() bool { return fmt.Sprint(firstTimes(byQueue(both))) == fmt.Sprint(sent) }
	first := instanceOf(left)
	s.closers = append(s.closers, func() { first.Shutdown() })
	round()
	s.expect("the first has both queues", true, until(60, all))
	// The client's offsets move after its listener returns.
	time.Sleep(time.Second)
	second := instanceOf(right)
	// A second for the first instance to learn of the second and give a queue away.
	time.Sleep(time.Second)
	s.expect("the second gets messages", true, until(110, func() bool {
		if len(sent[0]) < 100 {
			round()
		}
		return until(3, func() bool { return len(right.all()) > 0 })
	}))
	s.expect("all in order", true, until(60, all))
	s.expect("each from one queue", []int{1, 1}, []int{len(byQueue(right)), len(byQueue(left)) - 1})
	time.Sleep(time.Second)
	// It unlocks its queue when it is shut down.
	second.Shutdown()
	round()
	s.expect("all in order after one left", true, until(45, all))
	if !all() {
		fmt.Fprintf(os.Stderr, "sent %v\nseen %v\nby the second %v\n", sent, byQueue(both), byQueue(right))
	}
}

func firstTimes(queues map[int][]string) map[int][]string {
	first := map[int][]string{}
	for queue, bodies := range queues {
		seen := map[string]bool{}
		for _, body := range bodies {
			if !seen[body] {
				first[queue] = append(first[queue], body)
			}
			seen[body] = true
		}
	}
	return first
}

func byQueue(in *inbox) map[int][]string {
	queues := map[int][]string{}
	for _, m := range in.all() {
		queues[m.Queue.QueueId] = append(queues[m.Queue.QueueId], string(m.Body))
	}
	return queues
}

func orderlyDeadLetter(s *scene) {
	topic := s.topic("t", 1)
	in := &inbox{}
	c := s.consumer(s.name("c"), topic, "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		in.add(messages)
		if string(messages[0].Body) == "bad" {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.WithConsumerOrder(true), consumer.WithMaxReconsumeTimes(1),
		consumer.WithSuspendCurrentQueueTimeMillis(200*time.Millisecond))
	s.closers = append(s.closers, func() { c.Shutdown() })
	p := s.producer()
	send(p, message(topic, "", "", "bad"))
	send(p, message(topic, "", "", "good"))
	until(60, func() bool { return distinct(in)["good"] })
	s.observe("delivered", in.bodies())
	dead := s.deadLetters()
	dead.await(1, 30)
	s.expect("dead letter", []string{"bad"}, dead.bodies())
}

func tagFilter(s *scene) {
	topic := s.topic("t", 1)
	chosen := s.inbox(s.name("c"), topic, "Aa || TagB")
	everything := s.inbox(s.name("all"), topic, "*")
	p := s.producer()
	// "Aa" and "BB" have one hash code: the broker lets both through, the client tells them apart.
	for _, tag := range []string{"Aa", "BB", "TagB", "TagC", "", "Aa"} {
		send(p, message(topic, tag, "", "tag "+tag))
	}
	everything.await(6, 20)
	chosen.await(3, 20)
	s.expect("everything", 6, len(everything.all()))
	s.expect("chosen", []string{"tag Aa", "tag Aa", "tag TagB"}, chosen.sortedBodies())
}

func pullFrom(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer()
	for i := 0; i < 5; i++ {
		send(p, message(topic, "", "", fmt.Sprint(i)))
	}
	c := must(rocketmq.NewPullConsumer(consumer.WithNsResolver(s.resolver()), consumer.WithGroupName(s.name("c")),
		consumer.WithInstance(instance())))
	must(0, c.Assign(topic, nil))
	must(0, c.Start())
	s.closers = append(s.closers, func() { c.Shutdown() })
	queue := must(c.GetTopicRouteInfo(topic))[0]
	pull := func(offset int64) string {
		result := must(c.PullFrom(context.Background(), queue, offset, 32))
		bodies := []string{}
		for _, m := range result.GetMessageExts() {
			bodies = append(bodies, string(m.Body))
		}
		return fmt.Sprintf("%d [%s] next %d min %d max %d", result.Status, strings.Join(bodies, " "), result.NextBeginOffset,
			result.MinOffset, result.MaxOffset)
	}
	s.expect("from 0", "0 [0 1 2 3 4] next 5 min 0 max 5", pull(0))
	s.expect("from 3", "0 [3 4] next 5 min 0 max 5", pull(3))
	s.observe("beyond the end", pull(9))
	s.expect("offset of an hour ago", int64(0), must(c.OffsetForTimestamp(queue, time.Now().Add(-time.Hour).UnixMilli())))
	s.expect("offset in an hour", int64(5), must(c.OffsetForTimestamp(queue, time.Now().Add(time.Hour).UnixMilli())))
}

func pullSubscribed(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer()
	for i := 0; i < 3; i++ {
		send(p, message(topic, "", "", fmt.Sprint(i)))
	}
	run := func(count int) []string {
		c := must(rocketmq.NewPullConsumer(consumer.WithNsResolver(s.resolver()), consumer.WithGroupName(s.name("c")),
			consumer.WithInstance(instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)))
		must(0, c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
		must(0, c.Start())
		defer c.Shutdown()
		bodies := []string{}
		until(40, func() bool {
			request, err := c.Poll(context.Background(), time.Second)
			if err == nil {
				for _, m := range request.GetMsgList() {
					bodies = append(bodies, string(m.Body))
				}
				c.ACK(context.Background(), request, consumer.ConsumeSuccess)
			}
			return len(bodies) >= count
		})
		must(0, c.PersistOffset(context.Background(), topic))
		return bodies
	}
	s.expect("first run", []string{"0", "1", "2"}, run(3))
	send(p, message(topic, "", "", "3"))
	s.expect("second run", []string{"3"}, run(1))
}

func (s *scene) failing(topic string, failures, timesMax int32) *inbox {
	in := &inbox{}
	c := s.consumer(s.name("c"), topic, "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		in.add(messages)
		if messages[0].ReconsumeTimes < failures {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.WithMaxReconsumeTimes(timesMax))
	s.closers = append(s.closers, func() { c.Shutdown() })
	return in
}

func retry(s *scene) {
	topic := s.topic("t", 1)
	in := s.failing(topic, 1, 16)
	sent := send(s.producer(), message(topic, "TagA", "key", "body"))
	in.await(2, 90)
	s.expect("delivered", []string{"body", "body"}, in.bodies())
	again := in.all()[len(in.all())-1]
	s.expect("again", "TagA key 1", fmt.Sprintf("%s %s %d", again.GetTags(), again.GetKeys(), again.ReconsumeTimes))
	s.expectSame("topic", topic, again.Topic)
	s.expectSame("message id", sent.MsgID, again.MsgId)
	s.expect("waited level 3", true, in.arrivals[len(in.arrivals)-1].Sub(in.arrivals[0]) > 2500*time.Millisecond)
}

// retryTransactional: a committed message that a consumer fails to handle must come back, and not turn into a half again.
func retryTransactional(s *scene) {
	topic := s.topic("t", 1)
	in := s.failing(topic, 1, 16)
	listener := answers(commit, commit)
	half(s.transactions(s.name("p"), listener), message(topic, "TagA", "key", "body"))
	in.await(2, 90)
	settle()
	s.expect("delivered", []string{"body", "body"}, in.bodies())
	s.expect("checks", 0, len(listener.asked()))
}

func deadLetter(s *scene) {
	topic := s.topic("t", 1)
	in := s.failing(topic, 99, 2)
	send(s.producer(), message(topic, "TagA", "key", "body"))
	in.await(3, 90)
	times := []int32{}
	for _, m := range in.all() {
		times = append(times, m.ReconsumeTimes)
	}
	s.expect("reconsume times", []int32{0, 1, 2}, times)
	dead := s.deadLetters()
	dead.await(1, 30)
	s.expect("dead letter", []string{"body"}, dead.bodies())
}

func delayLevel(s *scene) {
	topic := s.topic("t", 1)
	in := s.inbox(s.name("c"), topic, "TagA")
	p := s.producer()
	sent := map[string]time.Time{}
	for level := 3; level >= 1; level-- {
		body := fmt.Sprintf("level-%d", level)
		m := message(topic, "TagA", "", body)
		m.WithDelayTimeLevel(level)
		sent[body] = time.Now()
		send(p, m)
	}
	in.await(3, 30)
	s.expect("delivered", []string{"level-1", "level-2", "level-3"}, in.bodies())
	for i, m := range in.all() {
		waited := in.arrivals[i].Sub(sent[string(m.Body)])
		due := time.Duration(i+1) * time.Second
		s.expect(fmt.Sprintf("level %d waited", i+1), true, waited >= due-50*time.Millisecond && waited < due+15*time.Second)
	}
}

func start(s *scene, where consumer.ConsumeFromWhere) {
	topic := s.topic("t", 1)
	p := s.producer()
	send(p, message(topic, "", "", "old-0"))
	send(p, message(topic, "", "", "old-1"))
	// The client's format knows whole seconds only.
	time.Sleep(2100 * time.Millisecond)
	between := time.Now().Add(-500 * time.Millisecond).Format("20060102150405")
	send(p, message(topic, "", "", "new-0"))
	in := s.inbox(s.name("c"), topic, "*", consumer.WithConsumeFromWhere(where), consumer.WithConsumeTimestamp(between))
	time.Sleep(3 * time.Second)
	send(p, message(topic, "", "", "last"))
	s.expect("last is delivered", true, until(20, func() bool {
		bodies := in.bodies()
		at := sort.SearchStrings(in.sortedBodies(), "last")
		return at < len(bodies) && in.sortedBodies()[at] == "last"
	}))
	s.observe("delivered", in.sortedBodies())
}

func resume(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer()
	send(p, message(topic, "", "", "0"))
	first := &inbox{}
	c := s.consumer(s.name("c"), topic, "*", into(first))
	first.await(1, 20)
	// The client's offset moves after the listener returns; its shutdown writes it.
	time.Sleep(time.Second)
	c.Shutdown()
	send(p, message(topic, "", "", "1"))
	second := s.inbox(s.name("c"), topic, "*")
	second.await(1, 40)
	s.expect("first run", []string{"0"}, first.bodies())
	s.expect("second run", []string{"1"}, second.bodies())
}
