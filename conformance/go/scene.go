package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var instances atomic.Int64

// scene is the stage of one scenario: names nobody else uses, clients that are shut down at its end, bounded waits.
type scene struct {
	*report
	namesrv string
	broker  string
	prefix  string
	closers []func()
}

// must ends the scenario; the stage manager reports why.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (s *scene) name(what string) string { return s.prefix + what }

func (s *scene) resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{s.namesrv})
}

// A client is shared by all that have its instance name; a check for a group that is not its first producer's is dropped.
func instance() string { return fmt.Sprintf("i%d", instances.Add(1)) }

func (s *scene) topic(what string, queues int) string {
	topic := s.name(what)
	a := must(admin.NewAdmin(admin.WithResolver(s.resolver())))
	defer a.Close()
	err := a.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(s.broker),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
	must(0, err)
	until(10, func() bool { return queuesOf(a, topic) == queues })
	return topic
}

func queuesOf(a admin.Admin, topic string) int {
	found, err := a.FetchPublishMessageQueues(context.Background(), topic)
	if err != nil {
		return 0
	}
	return len(found)
}

func message(topic, tag, key, body string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(body))
	if tag != "" {
		m.WithTag(tag)
	}
	if key != "" {
		m.WithKeys([]string{key})
	}
	return m
}

// The timeouts go into a default that all clients of the process share: were the one of reads shorter, a consumer that waits
// for its first queue would lose its connection, and its place in the group, in between two heartbeats.
func (s *scene) producer(options ...producer.Option) rocketmq.Producer {
	options = append([]producer.Option{producer.WithNsResolver(s.resolver()), producer.WithGroupName(s.name("p")),
		producer.WithInstanceName(instance()), producer.WithSendMsgTimeout(10 * time.Second),
		producer.WithRemotingTimeout(3*time.Second, 120*time.Second, 10*time.Second)}, options...)
	p := must(rocketmq.NewProducer(options...))
	must(0, p.Start())
	s.closers = append(s.closers, func() { p.Shutdown() })
	return p
}

func (s *scene) transactions(group string, listener primitive.TransactionListener) rocketmq.TransactionProducer {
	p := must(rocketmq.NewTransactionProducer(listener, producer.WithNsResolver(s.resolver()), producer.WithGroupName(group),
		producer.WithInstanceName(instance())))
	must(0, p.Start())
	s.closers = append(s.closers, func() { p.Shutdown() })
	return p
}

func send(p rocketmq.Producer, m *primitive.Message) *primitive.SendResult {
	return must(p.SendSync(context.Background(), m))
}

// inbox keeps what a consumer was handed, in order of arrival.
type inbox struct {
	mu       sync.Mutex
	messages []*primitive.MessageExt
	arrivals []time.Time
}

func (i *inbox) add(messages []*primitive.MessageExt) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range messages {
		i.messages = append(i.messages, m)
		i.arrivals = append(i.arrivals, time.Now())
	}
}

func (i *inbox) all() []*primitive.MessageExt {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]*primitive.MessageExt{}, i.messages...)
}

func (i *inbox) bodies() []string {
	bodies := []string{}
	for _, m := range i.all() {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

// inQueue is what came, by queue offset: this client hands messages to its goroutines in no order.
func (i *inbox) inQueue() []*primitive.MessageExt {
	messages := i.all()
	sort.Slice(messages, func(a, b int) bool { return messages[a].QueueOffset < messages[b].QueueOffset })
	return messages
}

func (i *inbox) bodiesInQueue() []string {
	bodies := []string{}
	for _, m := range i.inQueue() {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

func (i *inbox) sortedBodies() []string {
	bodies := i.bodies()
	sort.Strings(bodies)
	return bodies
}

func (i *inbox) await(count, seconds int) bool {
	return until(seconds, func() bool { return len(i.all()) >= count })
}

type consume = func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

func into(i *inbox) consume {
	return func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		i.add(messages)
		return consumer.ConsumeSuccess, nil
	}
}

func (s *scene) consumer(group, topic, tags string, listener consume, options ...consumer.Option) rocketmq.PushConsumer {
	options = append([]consumer.Option{consumer.WithNsResolver(s.resolver()), consumer.WithGroupName(group),
		consumer.WithInstance(instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	c := must(rocketmq.NewPushConsumer(options...))
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: tags}
	must(0, c.Subscribe(topic, selector, listener))
	must(0, c.Start())
	return c
}

func (s *scene) inbox(group, topic, tags string, options ...consumer.Option) *inbox {
	i := &inbox{}
	c := s.consumer(group, topic, tags, into(i), options...)
	s.closers = append(s.closers, func() { c.Shutdown() })
	return i
}

// deadLetters receives what the scene's consumer group gave up. The client refuses to start on a topic without a route.
func (s *scene) deadLetters() *inbox {
	topic := "%DLQ%" + s.name("c")
	a := must(admin.NewAdmin(admin.WithResolver(s.resolver())))
	defer a.Close()
	until(60, func() bool { return queuesOf(a, topic) > 0 })
	return s.inbox(s.name("dead"), topic, "*")
}

func until(seconds int, condition func() bool) bool {
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for !condition() {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// settle waits long enough for a check (due after 1 s, scanned every second) or a duplicate to show itself.
func settle() { time.Sleep(3500 * time.Millisecond) }

func (s *scene) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}
