package escrow.conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way to send a plain message. */
final class Sends {
    private Sends() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("send-sync", Sends::sync);
        all.put("send-async", Sends::async);
        all.put("send-oneway", Sends::oneway);
        all.put("send-batch", Sends::batch);
        all.put("send-auto-create", Sends::autoCreate);
        all.put("send-compressed", Sends::compressed);
        all.put("send-refused", Sends::refused);
    }

    private static void sync(Scene scene) throws Exception {
        String topic = scene.topic("t", 2);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        String broker = producer.fetchPublishMessageQueues(topic).get(0).getBrokerName();
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        List<String> results = new ArrayList<>();
        String first = null;
        for (int i = 0; i < 4; i++) {
            Message message = Scene.message(topic, "TagA", "key" + i, "body-" + i);
            message.setFlag(9);
            message.putUserProperty("colour", "blue");
            SendResult result = producer.send(message, new MessageQueue(topic, broker, i % 2));
            results.add(result.getSendStatus() + " queue " + result.getMessageQueue().getQueueId() + " offset " + result.getQueueOffset());
            scene.report.observe("region and trace", result.getRegionId() + " " + result.isTraceOn());
            scene.report.observe("offset id length", result.getOffsetMsgId().length());
            first = first == null ? result.getMsgId() : first;
        }
        inbox.await(4, 20);
        scene.report.observe("broker name", broker);
        scene.report.expect("results", List.of("SEND_OK queue 0 offset 0", "SEND_OK queue 1 offset 0", "SEND_OK queue 0 offset 1",
            "SEND_OK queue 1 offset 1"), results);
        scene.report.expect("delivered", List.of("body-0", "body-1", "body-2", "body-3"), inbox.sortedBodies());
        String id = first;
        MessageExt delivered = inbox.all().stream().filter(m -> Inbox.body(m).equals("body-0")).findFirst().orElseThrow();
        scene.report.expectSame("message id", id, delivered.getMsgId());
        scene.report.observe("properties", Inbox.propertyNames(delivered));
        scene.report.observe("min and max offset", delivered.getProperty("MIN_OFFSET") + " " + !delivered.getProperty("MAX_OFFSET").isEmpty());
        scene.report.observe("region, trace, cluster", delivered.getProperty("MSG_REGION") + " " + delivered.getProperty("TRACE_ON")
            + " " + delivered.getProperty("CLUSTER"));
        scene.report.observe("flag, system flag", delivered.getFlag() + " " + delivered.getSysFlag());
        scene.report.observe("hosts", delivered.getBornHostString() + " " + ((java.net.InetSocketAddress) delivered.getStoreHost()).getAddress().getHostAddress());
        scene.report.observe("prepared offset", delivered.getPreparedTransactionOffset());
        scene.report.observe("tags, keys, colour", delivered.getTags() + " " + delivered.getKeys() + " " + delivered.getUserProperty("colour"));
        scene.report.observe("stored after born", delivered.getStoreTimestamp() >= delivered.getBornTimestamp());
    }

    private static void async(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        CountDownLatch done = new CountDownLatch(20);
        TreeSet<Long> offsets = new TreeSet<>();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        for (int i = 0; i < 20; i++) {
            producer.send(Scene.message(topic, "", "", String.format("body-%02d", i)), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    synchronized (offsets) {
                        offsets.add(result.getQueueOffset());
                    }
                    done.countDown();
                }

                @Override
                public void onException(Throwable cause) {
                    failure.set(cause);
                    done.countDown();
                }
            });
        }
        scene.report.expect("all answered", true, done.await(20, TimeUnit.SECONDS));
        inbox.await(20, 20);
        scene.report.expect("failure", null, failure.get());
        scene.report.expect("offsets", "0..19 20", offsets.first() + ".." + offsets.last() + " " + offsets.size());
        scene.report.expect("delivered", 20, new TreeSet<>(inbox.bodies()).size());
    }

    private static void oneway(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            producer.sendOneway(Scene.message(topic, "", "", "body-" + i));
            expected.add("body-" + i);
        }
        inbox.await(5, 20);
        scene.report.expect("delivered", expected, inbox.sortedBodies());
    }

    private static void batch(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            Message message = Scene.message(topic, "TagA", "key" + i, "body-" + i);
            message.putUserProperty("number", "" + i);
            messages.add(message);
        }
        SendResult result = producer.send(messages);
        SendResult after = producer.send(Scene.message(topic, "TagA", "after", "after"));
        inbox.await(5, 20);
        scene.report.expect("status", "SEND_OK", result.getSendStatus().toString());
        scene.report.observe("ids", result.getMsgId().split(",").length + " " + result.getOffsetMsgId().split(",").length);
        scene.report.expect("first offset", 0L, result.getQueueOffset());
        scene.report.expect("next offset", 4L, after.getQueueOffset());
        scene.report.expect("delivered", List.of("body-0", "body-1", "body-2", "body-3", "after"), inbox.bodies());
        MessageExt second = inbox.all().get(1);
        scene.report.expectSame("ids delivered", List.of(result.getMsgId().split(",")),
            inbox.all().subList(0, 4).stream().map(MessageExt::getMsgId).toList());
        scene.report.observe("properties", Inbox.propertyNames(second));
        scene.report.observe("tags, keys, number", second.getTags() + " " + second.getKeys() + " " + second.getUserProperty("number"));
    }

    private static void autoCreate(Scene scene) throws Exception {
        String topic = scene.name("t");
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        scene.report.expect("status", "SEND_OK", producer.send(Scene.message(topic, "", "", "body")).getSendStatus().toString());
        Scene.until(15, () -> {
            try {
                return !producer.fetchPublishMessageQueues(topic).isEmpty();
            } catch (Exception e) {
                return false;
            }
        });
        scene.report.observe("queues", producer.fetchPublishMessageQueues(topic).size());
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        inbox.await(1, 20);
        scene.report.expect("delivered", List.of("body"), inbox.bodies());
    }

    private static void compressed(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        String body = "abcdefghij".repeat(10_000);
        producer.send(Scene.message(topic, "", "", body));
        inbox.await(1, 20);
        scene.report.expect("same body", true, inbox.bodies().equals(List.of(body)));
        scene.report.observe("system flag", inbox.all().get(0).getSysFlag());
    }

    private static void refused(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        producer.setMaxMessageSize(8 << 20);
        producer.setCompressMsgBodyOverHowmuch(16 << 20);
        scene.report.observe("body too large", refusal(producer, new Message(topic, new byte[(4 << 20) + 1])));
        Message wide = Scene.message(topic, "", "", "body");
        wide.putUserProperty("wide", "x".repeat(33_000));
        scene.report.observe("properties too large", refusal(producer, wide));
        scene.report.observe("largest body", refusal(producer, new Message(topic, new byte[4 << 20])));
        Message late = Scene.message(topic, "", "", "body");
        late.setDelayTimeLevel(99);
        scene.report.observe("delay level 99", refusal(producer, late));
    }

    private static String refusal(DefaultMQProducer producer, Message message) throws Exception {
        try {
            return producer.send(message).getSendStatus().toString();
        } catch (MQBrokerException e) {
            return "code " + e.getResponseCode();
        }
    }
}
