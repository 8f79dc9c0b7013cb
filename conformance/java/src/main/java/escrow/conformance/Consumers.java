package escrow.conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Groups of consumers: who gets what, and in which order. */
final class Consumers {
    private Consumers() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("clustering-two-instances", Consumers::clustering);
        all.put("broadcasting", Consumers::broadcasting);
        all.put("orderly", Consumers::orderly);
        all.put("orderly-two-instances", Consumers::orderlyTwo);
        all.put("tag-filter", Consumers::tagFilter);
        all.put("lite-pull-assign", Consumers::litePullAssign);
        all.put("lite-pull-subscribe", Consumers::litePullSubscribe);
    }

    private static int queues(DefaultMQPushConsumer consumer, String topic) {
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    private static void clustering(Scene scene) throws Exception {
        String topic = scene.topic("t", 4);
        String group = scene.name("c");
        Inbox left = new Inbox();
        Inbox right = new Inbox();
        DefaultMQPushConsumer first = scene.consumer(group);
        first.subscribe(topic, "*");
        first.registerMessageListener(Scene.into(left));
        DefaultMQPushConsumer second = scene.consumer(group);
        second.subscribe(topic, "*");
        second.registerMessageListener(Scene.into(right));
        scene.start(first);
        scene.report.expect("alone it has all queues", true, Scene.until(15, () -> queues(first, topic) == 4));
        second.start();
        // Told by the broker, not by the 20 s timer.
        long start = System.currentTimeMillis();
        scene.report.expect("two each", true, Scene.until(30, () -> queues(first, topic) == 2 && queues(second, topic) == 2));
        scene.report.expect("told by the broker", true, System.currentTimeMillis() - start < 10_000);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        String broker = producer.fetchPublishMessageQueues(topic).get(0).getBrokerName();
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            producer.send(Scene.message(topic, "", "", String.format("body-%02d", i)), new MessageQueue(topic, broker, i % 4));
            sent.add(String.format("body-%02d", i));
        }
        Scene.until(20, () -> left.size() + right.size() >= 20);
        List<String> got = new ArrayList<>(left.bodies());
        got.addAll(right.bodies());
        Collections.sort(got);
        scene.report.expect("each once", sent, got);
        scene.report.expect("halves", "10 10", left.size() + " " + right.size());
        second.shutdown();
        scene.report.expect("the rest takes over", true, Scene.until(30, () -> queues(first, topic) == 4));
        for (int i = 20; i < 28; i++) {
            producer.send(Scene.message(topic, "", "", "late-" + i), new MessageQueue(topic, broker, i % 4));
        }
        left.await(18, 20);
        scene.report.expect("after one left", 18, left.size());
    }

    private static void broadcasting(Scene scene) throws Exception {
        String topic = scene.topic("t", 2);
        String group = scene.name("c");
        List<Inbox> inboxes = List.of(new Inbox(), new Inbox());
        for (Inbox inbox : inboxes) {
            DefaultMQPushConsumer consumer = scene.consumer(group);
            broadcast(consumer);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(Scene.into(inbox));
            scene.start(consumer);
        }
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            producer.send(Scene.message(topic, "", "", "body-" + i));
            sent.add("body-" + i);
        }
        for (Inbox inbox : inboxes) {
            inbox.await(6, 20);
            scene.report.expect("delivered to " + inboxes.indexOf(inbox), sent, inbox.sortedBodies());
        }
    }

    // MessageModel moved to another package between 4.9 and 5.x.
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void broadcast(DefaultMQPushConsumer consumer) throws Exception {
        Class<?> model = consumer.getMessageModel().getClass();
        DefaultMQPushConsumer.class.getMethod("setMessageModel", model)
            .invoke(consumer, Enum.valueOf((Class<Enum>) model, "BROADCASTING"));
    }

    private static void orderly(Scene scene) throws Exception {
        String topic = scene.topic("t", 3);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        for (int i = 0; i < 15; i++) {
            producer.send(Scene.message(topic, "", "", String.format("%02d", i)),
                (queues, message, key) -> queues.get((Integer) key % queues.size()), i);
        }
        Inbox inbox = new Inbox();
        AtomicBoolean failed = new AtomicBoolean();
        DefaultMQPushConsumer consumer = scene.consumer(scene.name("c"));
        consumer.subscribe(topic, "*");
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            if (Inbox.body(messages.get(0)).equals("03") && failed.compareAndSet(false, true)) {
                context.setSuspendCurrentQueueTimeMillis(200);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            inbox.add(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        inbox.await(15, 30);
        scene.report.expect("count", 15, inbox.size());
        scene.report.expect("failed once", true, failed.get());
        scene.report.expect("by queue", "{0=00,03,06,09,12, 1=01,04,07,10,13, 2=02,05,08,11,14}",
            byQueue(inbox).toString());
    }

    private static Map<Integer, String> byQueue(Inbox inbox) {
        Map<Integer, String> queues = new TreeMap<>();
        for (MessageExt message : inbox.all()) {
            // When a queue changes hands, what its old owner had not committed comes again: first arrivals count.
            queues.merge(message.getQueueId(), Inbox.body(message),
                (old, more) -> List.of(old.split(",")).contains(more) ? old : old + "," + more);
        }
        return queues;
    }

    private static void orderlyTwo(Scene scene) throws Exception {
        String topic = scene.topic("t", 2);
        String group = scene.name("c");
        Inbox inbox = new Inbox();
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = scene.consumer(group);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                inbox.add(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            consumers.add(consumer);
        }
        scene.start(consumers.get(0));
        consumers.get(1).start();
        scene.report.expect("one each", true, Scene.until(60,
            () -> queues(consumers.get(0), topic) == 1 && queues(consumers.get(1), topic) == 1));
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        for (int i = 0; i < 10; i++) {
            producer.send(Scene.message(topic, "", "", "" + i), (queues, message, key) -> queues.get((Integer) key % 2), i);
        }
        inbox.await(10, 60);
        scene.report.expect("by queue", "{0=0,2,4,6,8, 1=1,3,5,7,9}", byQueue(inbox).toString());
        // It gives up its lock at once, so the other need not wait for the lock to expire.
        consumers.get(1).shutdown();
        for (int i = 10; i < 14; i++) {
            producer.send(Scene.message(topic, "", "", "" + i), (queues, message, key) -> queues.get((Integer) key % 2), i);
        }
        String all = "{0=0,2,4,6,8,10,12, 1=1,3,5,7,9,11,13}";
        Scene.until(45, () -> byQueue(inbox).toString().equals(all));
        scene.report.expect("after one left", all, byQueue(inbox).toString());
    }

    private static void tagFilter(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        Inbox chosen = scene.inbox(scene.name("c"), topic, "Aa || TagB");
        Inbox everything = scene.inbox(scene.name("all"), topic, "*");
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        // "Aa" and "BB" have one hash code: the broker lets both through, the client tells them apart.
        for (String tag : List.of("Aa", "BB", "TagB", "TagC", "", "Aa")) {
            producer.send(Scene.message(topic, tag, "", "tag " + tag));
        }
        everything.await(6, 20);
        chosen.await(3, 20);
        scene.report.expect("everything", 6, everything.size());
        scene.report.expect("chosen", List.of("tag Aa", "tag TagB", "tag Aa"), chosen.bodies());
    }

    private static DefaultLitePullConsumer litePull(Scene scene, String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(scene.namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommit(false);
        return consumer;
    }

    private static List<String> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        long end = System.currentTimeMillis() + 20_000;
        while (bodies.size() < count && System.currentTimeMillis() < end) {
            consumer.poll(500).forEach(message -> bodies.add(Inbox.body(message)));
        }
        return bodies;
    }

    private static void litePullAssign(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        for (int i = 0; i < 5; i++) {
            producer.send(Scene.message(topic, "", "", "" + i));
        }
        DefaultLitePullConsumer consumer = litePull(scene, scene.name("c"));
        consumer.start();
        scene.closeAtEnd(consumer::shutdown);
        MessageQueue queue = consumer.fetchMessageQueues(topic).iterator().next();
        consumer.assign(List.of(queue));
        consumer.seek(queue, 2);
        scene.report.expect("from offset 2", List.of("2", "3", "4"), poll(consumer, 3));
        consumer.seekToBegin(queue);
        scene.report.expect("from the begin", List.of("0", "1", "2", "3", "4"), poll(consumer, 5));
        consumer.seekToEnd(queue);
        producer.send(Scene.message(topic, "", "", "5"));
        scene.report.expect("from the end", List.of("5"), poll(consumer, 1));
        scene.report.observe("committed", consumer.committed(queue));
    }

    private static void litePullSubscribe(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        String group = scene.name("c");
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        for (int i = 0; i < 3; i++) {
            producer.send(Scene.message(topic, "", "", "" + i));
        }
        DefaultLitePullConsumer first = litePull(scene, group);
        first.subscribe(topic, "*");
        first.start();
        scene.report.expect("first run", List.of("0", "1", "2"), poll(first, 3));
        first.commitSync();
        first.shutdown();
        producer.send(Scene.message(topic, "", "", "3"));
        DefaultLitePullConsumer second = litePull(scene, group);
        second.subscribe(topic, "*");
        second.start();
        scene.closeAtEnd(second::shutdown);
        scene.report.expect("second run", new TreeSet<>(List.of("3")), new TreeSet<>(poll(second, 1)));
    }
}
