package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func sendScenarios() []scenario {
	return []scenario{
		{"send-sync", sendSync},
		{"send-async", sendAsync},
		{"send-oneway", sendOneway},
		{"send-batch", sendBatch},
		{"send-auto-create", sendAutoCreate},
		{"send-compressed", sendCompressed},
		{"send-refused", sendRefused},
	}
}

func sendSync(s *scene) {
	topic := s.topic("t", 2)
	p := s.producer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	in := s.inbox(s.name("c"), topic, "*")
	results := []string{}
	for i := 0; i < 4; i++ {
		m := message(topic, "TagA", "key", fmt.Sprintf("body-%d", i))
		m.WithProperty("colour", "blue")
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: i % 2}
		r := send(p, m)
		results = append(results, fmt.Sprintf("%d queue %d offset %d", r.Status, r.MessageQueue.QueueId, r.QueueOffset))
		s.observe("offset id length", len(r.OffsetMsgID))
	}
	in.await(4, 20)
	s.expect("results", []string{"0 queue 0 offset 0", "0 queue 1 offset 0", "0 queue 0 offset 1", "0 queue 1 offset 1"}, results)
	s.expect("delivered", []string{"body-0", "body-1", "body-2", "body-3"}, in.sortedBodies())
	m := in.inQueue()[0]
	s.observe("first", fmt.Sprintf("%s %s %s flag %d system flag %d prepared %d", m.GetTags(), m.GetKeys(), m.GetProperty("colour"),
		m.Flag, m.SysFlag, m.PreparedTransactionOffset))
	s.observe("properties", names(m))
}

func names(m *primitive.MessageExt) []string {
	names := []string{}
	for name := range m.GetProperties() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func sendAsync(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer()
	in := s.inbox(s.name("c"), topic, "*")
	var all sync.WaitGroup
	for i := 0; i < 20; i++ {
		all.Add(1)
		err := p.SendAsync(context.Background(), func(_ context.Context, r *primitive.SendResult, err error) {
			defer all.Done()
			if err != nil || r.Status != primitive.SendOK {
				s.fail(fmt.Sprint(err))
			}
		}, message(topic, "", "", fmt.Sprintf("body-%02d", i)))
		must(0, err)
	}
	all.Wait()
	in.await(20, 20)
	s.expect("delivered", 20, len(in.bodies()))
}

func sendOneway(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer()
	in := s.inbox(s.name("c"), topic, "*")
	for i := 0; i < 5; i++ {
		must(0, p.SendOneWay(context.Background(), message(topic, "", "", fmt.Sprintf("body-%d", i))))
	}
	in.await(5, 20)
	s.expect("delivered", []string{"body-0", "body-1", "body-2", "body-3", "body-4"}, in.sortedBodies())
}

func sendBatch(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer()
	in := s.inbox(s.name("c"), topic, "*")
	batch := []*primitive.Message{}
	for i := 0; i < 4; i++ {
		m := message(topic, "TagA", fmt.Sprintf("key%d", i), fmt.Sprintf("body-%d", i))
		m.WithProperty("number", fmt.Sprint(i))
		batch = append(batch, m)
	}
	r := must(p.SendSync(context.Background(), batch...))
	after := send(p, message(topic, "TagA", "", "after"))
	in.await(5, 20)
	s.expect("first and next offset", "0 4", fmt.Sprintf("%d %d", r.QueueOffset, after.QueueOffset))
	s.observe("ids", len(strings.Split(r.OffsetMsgID, ",")))
	s.expect("delivered", []string{"body-0", "body-1", "body-2", "body-3", "after"}, in.bodiesInQueue())
	m := in.inQueue()[1]
	s.expect("second", "TagA key1 1", fmt.Sprintf("%s %s %s", m.GetTags(), m.GetKeys(), m.GetProperty("number")))
}

func sendAutoCreate(s *scene) {
	topic := s.name("t")
	p := s.producer()
	s.expect("status", int(primitive.SendOK), int(send(p, message(topic, "", "", "body")).Status))
	in := s.inbox(s.name("c"), topic, "*")
	in.await(1, 40)
	s.expect("delivered", []string{"body"}, in.bodies())
}

func sendCompressed(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer()
	in := s.inbox(s.name("c"), topic, "*")
	body := strings.Repeat("abcdefghij", 10000)
	send(p, message(topic, "", "", body))
	in.await(1, 20)
	s.expect("same body", true, len(in.all()) == 1 && string(in.all()[0].Body) == body)
}

func sendRefused(s *scene) {
	topic := s.topic("t", 1)
	p := s.producer(producer.WithCompressMsgBodyOverHowmuch(16 << 20))
	_, err := p.SendSync(context.Background(), primitive.NewMessage(topic, make([]byte, 4<<20+1)))
	s.expect("body too large is refused", true, err != nil)
	_, err = p.SendSync(context.Background(), primitive.NewMessage(topic, make([]byte, 4<<20)))
	s.expect("largest body is taken", true, err == nil)
}
