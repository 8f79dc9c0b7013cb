package escrow.conformance;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/** The stage of one scenario: names nobody else uses, clients that are shut down at its end, bounded waits. */
final class Scene implements AutoCloseable {
    private static final AtomicInteger INSTANCES = new AtomicInteger();

    final String namesrv;
    final Report report;
    private final String prefix;
    private final Deque<Runnable> closers = new ArrayDeque<>();

    Scene(String namesrv, String run, String scenario, Report report) {
        this.namesrv = namesrv;
        this.report = report;
        this.prefix = run + "_" + scenario + "_";
    }

    interface Step {
        void run() throws Exception;
    }

    String name(String what) {
        return prefix + what;
    }

    static Message message(String topic, String tag, String key, String body) {
        return new Message(topic, tag, key, body.getBytes(StandardCharsets.UTF_8));
    }

    /** Creates a topic with {@code queues} queues by the client's own call and waits for its route. */
    String topic(String what, int queues) throws Exception {
        String topic = name(what);
        DefaultMQProducer producer = producer(name("creator_" + what));
        // The call waits three seconds and tries once: too little for a busy machine.
        int left = 3;
        while (left > 0) {
            try {
                createTopic(producer, topic, queues);
                break;
            } catch (InvocationTargetException e) {
                if (--left == 0) {
                    throw (Exception) e.getCause();
                }
            }
        }
        if (!until(10, () -> queueCount(producer, topic) == queues)) {
            throw new IllegalStateException("no route for " + topic);
        }
        return topic;
    }

    private static int queueCount(DefaultMQProducer producer, String topic) {
        try {
            return producer.fetchPublishMessageQueues(topic).size();
        } catch (Exception e) {
            return -1;
        }
    }

    // 4.9 has no attributes argument, 5.x has no call without it.
    private static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        try {
            Method call = DefaultMQProducer.class.getMethod("createTopic", String.class, String.class, int.class, Map.class);
            call.invoke(producer, "TBW102", topic, queues, Map.of());
        } catch (NoSuchMethodException e) {
            Method call = DefaultMQProducer.class.getMethod("createTopic", String.class, String.class, int.class);
            call.invoke(producer, "TBW102", topic, queues);
        }
    }

    DefaultMQProducer producer(String group) throws Exception {
        return start(new DefaultMQProducer(group));
    }

    DefaultMQProducer start(DefaultMQProducer producer) throws Exception {
        configure(producer);
        producer.setSendMsgTimeout(20_000);
        producer.start();
        closers.push(producer::shutdown);
        return producer;
    }

    TransactionMQProducer transactions(String group, TransactionListener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setTransactionListener(listener);
        start(producer);
        return producer;
    }

    /** A consumer that is set up but not started, reading a new group from the first offset. */
    DefaultMQPushConsumer consumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        configure(consumer);
        // Without it, two consumers of one process share a client id, and rebalance counts them as one.
        consumer.setInstanceName("c" + INSTANCES.incrementAndGet());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(2);
        return consumer;
    }

    DefaultMQPushConsumer start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        closers.push(consumer::shutdown);
        return consumer;
    }

    /** A started consumer that takes everything of a topic. */
    Inbox inbox(String group, String topic, String tags) throws Exception {
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consumer(group);
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener(into(inbox));
        start(consumer);
        return inbox;
    }

    static MessageListenerConcurrently into(Inbox inbox) {
        return (messages, context) -> {
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    private void configure(ClientConfig config) {
        config.setNamesrvAddr(namesrv);
        config.setPollNameServerInterval(1000);
        config.setHeartbeatBrokerInterval(1000);
        config.setPersistConsumerOffsetInterval(1000);
    }

    void closeAtEnd(Runnable closer) {
        closers.push(closer);
    }

    static boolean until(int seconds, BooleanSupplier condition) throws InterruptedException {
        long end = System.currentTimeMillis() + seconds * 1000L;
        while (!condition.getAsBoolean()) {
            if (System.currentTimeMillis() > end) {
                return false;
            }
            Thread.sleep(20);
        }
        return true;
    }

    /** Long enough for a check (due after 1 s, scanned every second) or a duplicate to show itself. */
    static void settle() throws InterruptedException {
        Thread.sleep(3500);
    }

    @Override
    public void close() {
        while (!closers.isEmpty()) {
            try {
                closers.pop().run();
            } catch (RuntimeException e) {
                report.fail(e);
            }
        }
    }
}
