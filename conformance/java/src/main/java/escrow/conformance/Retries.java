package escrow.conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that come later or again: delay levels, retries, the dead letter queue. */
final class Retries {
    private Retries() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("retry-then-success", Retries::retry);
        all.put("retry-then-dead-letter", Retries::deadLetter);
        all.put("retry-transactional", Retries::transactional);
        all.put("orderly-dead-letter", Retries::orderlyDeadLetter);
        all.put("delay-level", Retries::delay);
    }

    private static Inbox failing(Scene scene, String group, String topic, int failures, int timesMax) throws Exception {
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.consumer(group);
        consumer.subscribe(topic, "*");
        consumer.setMaxReconsumeTimes(timesMax);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.add(messages);
            return messages.get(0).getReconsumeTimes() < failures
                ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        return inbox;
    }

    private static void describe(Scene scene, String what, MessageExt message, SendResult sent) {
        scene.report.observe(what + " properties", Inbox.propertyNames(message));
        scene.report.expectSame(what + " keeps its message id", sent.getMsgId(), message.getMsgId());
        scene.report.observe(what + " reconsume times", message.getReconsumeTimes());
        scene.report.observe(what + " system flag", message.getSysFlag());
        scene.report.observe(what + " queue", message.getQueueId());
        scene.report.observe(what + " names its origin by the client's id", sent.getMsgId().equals(message.getProperty("ORIGIN_MESSAGE_ID")));
        scene.report.observe(what + " has a retry topic", message.getProperty("RETRY_TOPIC") != null);
        scene.report.observe(what + " delay", message.getProperty("DELAY"));
    }

    private static void names(Scene scene, Message message, MessageExt got) {
        scene.report.expect("keys and tags", message.getKeys() + " " + message.getTags(), got.getKeys() + " " + got.getTags());
        scene.report.expectSame("topic", message.getTopic(), got.getTopic());
    }

    private static void retry(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        Inbox inbox = failing(scene, scene.name("c"), topic, 1, 16);
        Message message = Scene.message(topic, "TagA", "key", "body");
        SendResult sent = scene.producer(scene.name("p")).send(message);
        inbox.await(2, 30);
        scene.report.expect("times", 2, inbox.size());
        MessageExt again = inbox.all().get(1);
        describe(scene, "retried", again, sent);
        names(scene, message, again);
        // The first retry waits level 3, which is 3 s here; a new retry topic may be noticed by the 20 s rebalance only.
        scene.report.expect("waited level 3", true, inbox.arrival(1) - inbox.arrival(0) > 2500);
    }

    private static void deadLetter(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        String group = scene.name("c");
        Inbox inbox = failing(scene, group, topic, 99, 2);
        Message message = Scene.message(topic, "TagA", "key", "body");
        SendResult sent = scene.producer(scene.name("p")).send(message);
        inbox.await(3, 40);
        List<Integer> times = new ArrayList<>();
        inbox.all().forEach(delivered -> times.add(delivered.getReconsumeTimes()));
        scene.report.expect("reconsume times", List.of(0, 1, 2), times);
        Inbox dead = scene.inbox(scene.name("dead"), "%DLQ%" + group, "*");
        scene.report.expect("dead letter arrives", true, dead.await(1, 30));
        scene.report.expect("dead letter", List.of("body"), dead.bodies());
        describe(scene, "dead letter", dead.all().get(0), sent);
        Scene.settle();
        scene.report.expect("no more deliveries", 3, inbox.size());
    }

    /** A committed message that a consumer fails to handle must come back, and not turn into a half again. */
    private static void transactional(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        Script script = Script.of(org.apache.rocketmq.client.producer.LocalTransactionState.COMMIT_MESSAGE,
            org.apache.rocketmq.client.producer.LocalTransactionState.COMMIT_MESSAGE);
        Inbox inbox = failing(scene, scene.name("c"), topic, 1, 16);
        Message message = Scene.message(topic, "TagA", "key", "body");
        SendResult sent = scene.transactions(scene.name("p"), script).sendMessageInTransaction(message, null);
        inbox.await(2, 30);
        Scene.settle();
        scene.report.expect("times", 2, inbox.size());
        scene.report.expect("checks", 0, script.checkCount());
        describe(scene, "retried", inbox.all().get(1), sent);
    }

    private static void orderlyDeadLetter(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        String group = scene.name("c");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.consumer(group);
        consumer.subscribe(topic, "*");
        consumer.setMaxReconsumeTimes(1);
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            inbox.add(messages);
            return Inbox.body(messages.get(0)).equals("bad")
                ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        producer.send(Scene.message(topic, "", "", "bad"));
        producer.send(Scene.message(topic, "", "", "good"));
        inbox.await(3, 40);
        scene.report.observe("delivered", inbox.bodies());
        Inbox dead = scene.inbox(scene.name("dead"), "%DLQ%" + group, "*");
        dead.await(1, 30);
        scene.report.expect("dead letter", List.of("bad"), dead.bodies());
        scene.report.observe("dead letter properties", dead.size() > 0 ? Inbox.propertyNames(dead.all().get(0)) : null);
        scene.report.observe("dead letter reconsume times", dead.size() > 0 ? dead.all().get(0).getReconsumeTimes() : null);
    }

    private static void delay(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        Inbox inbox = scene.inbox(scene.name("c"), topic, "TagA");
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        long[] sent = new long[4];
        for (int level = 3; level >= 1; level--) {
            Message message = Scene.message(topic, "TagA", "key", "level-" + level);
            message.setDelayTimeLevel(level);
            sent[level] = System.currentTimeMillis();
            SendResult result = producer.send(message);
            scene.report.observe("sent " + level, result.getSendStatus() + " queue " + result.getMessageQueue().getQueueId());
        }
        inbox.await(3, 30);
        scene.report.expect("delivered", List.of("level-1", "level-2", "level-3"), inbox.bodies());
        for (int level = 1; level <= 3; level++) {
            long waited = inbox.arrival(level - 1) - sent[level];
            scene.report.expect("level " + level + " waited", true, waited >= level * 1000 - 50 && waited < level * 1000 + 15_000);
        }
        MessageExt delivered = inbox.all().get(0);
        scene.report.observe("properties", Inbox.propertyNames(delivered));
        scene.report.observe("real topic and queue", topic.equals(delivered.getProperty("REAL_TOPIC")) + " " + delivered.getProperty("REAL_QID"));
        scene.report.observe("queue offsets", inbox.queueOffsets());
    }
}
