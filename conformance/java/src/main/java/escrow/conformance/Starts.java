package escrow.conformance;

import java.text.SimpleDateFormat;
import java.util.Date;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;

/** Where a group starts, and where it goes on. */
final class Starts {
    private Starts() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("start-first", scene -> start(scene, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET));
        all.put("start-last", scene -> start(scene, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET));
        all.put("start-timestamp", scene -> start(scene, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP));
        all.put("start-where-it-stopped", Starts::resume);
        all.put("offsets", Starts::offsets);
    }

    private static void start(Scene scene, ConsumeFromWhere where) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        producer.send(Scene.message(topic, "", "", "old-0"));
        producer.send(Scene.message(topic, "", "", "old-1"));
        // The client's format knows whole seconds only.
        Thread.sleep(2100);
        String between = new SimpleDateFormat("yyyyMMddHHmmss").format(new Date(System.currentTimeMillis() - 500));
        producer.send(Scene.message(topic, "", "", "new-0"));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.consumer(scene.name("c"));
        consumer.setConsumeFromWhere(where);
        consumer.setConsumeTimestamp(between);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(Scene.into(inbox));
        scene.start(consumer);
        Scene.until(15, () -> consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .anyMatch(queue -> queue.getTopic().equals(topic)));
        producer.send(Scene.message(topic, "", "", "last"));
        Scene.until(15, () -> inbox.bodies().contains("last"));
        scene.report.observe("delivered", inbox.bodies());
        scene.report.expect("last is delivered", true, inbox.bodies().contains("last"));
    }

    private static void resume(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        String group = scene.name("c");
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        SendResult sent = producer.send(Scene.message(topic, "", "", "0"));
        Inbox first = new Inbox();
        DefaultMQPushConsumer consumer = scene.consumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(Scene.into(first));
        consumer.start();
        first.await(1, 20);
        // Told to the broker every second: only then may it stop.
        scene.report.expect("offset is stored", true, stored(group, topic, sent));
        consumer.shutdown();
        producer.send(Scene.message(topic, "", "", "1"));
        Inbox second = scene.inbox(group, topic, "*");
        second.await(1, 20);
        scene.report.expect("first run", List.of("0"), first.bodies());
        scene.report.expect("second run", List.of("1"), second.bodies());
    }

    private static boolean stored(String group, String topic, SendResult sent) throws Exception {
        try (Remoting broker = new Remoting(Remoting.address(sent.getOffsetMsgId()))) {
            Map<String, String> query = Remoting.fields("consumerGroup", group, "topic", topic, "queueId", 0,
                "setZeroIfNotFound", false);
            return Scene.until(15, () -> {
                try {
                    return PlainDoors.offset(broker, 14, query).equals("0 1");
                } catch (Exception e) {
                    return false;
                }
            });
        }
    }

    private static void offsets(Scene scene) throws Exception {
        String topic = scene.topic("t", 2);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        MessageQueue empty = producer.fetchPublishMessageQueues(topic).get(1);
        producer.send(Scene.message(topic, "", "", "0"), queue);
        producer.send(Scene.message(topic, "", "", "1"), queue);
        Thread.sleep(50);
        long between = System.currentTimeMillis();
        Thread.sleep(50);
        SendResult last = producer.send(Scene.message(topic, "", "", "2"), queue);
        DefaultMQPushConsumer consumer = scene.consumer(scene.name("c"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(Scene.into(new Inbox()));
        scene.start(consumer);
        scene.report.expect("min", 0L, consumer.minOffset(queue));
        scene.report.expect("max", 3L, consumer.maxOffset(queue));
        scene.report.expect("search between", 2L, consumer.searchOffset(queue, between));
        scene.report.expect("search before all", 0L, consumer.searchOffset(queue, between - 3_600_000));
        scene.report.expect("search after all", 3L, consumer.searchOffset(queue, between + 3_600_000));
        scene.report.expect("earliest is before", true, consumer.earliestMsgStoreTime(queue) < between);
        scene.report.observe("empty", consumer.minOffset(empty) + " " + consumer.maxOffset(empty) + " "
            + consumer.searchOffset(empty, between) + " " + consumer.earliestMsgStoreTime(empty));
        scene.report.expect("sent at", 2L, last.getQueueOffset());
    }
}
