package escrow.conformance;

import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.MessageExt;

/** Finding a message again: by key, by the client's id, by the broker's id. */
final class Queries {
    private Queries() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("query-plain", Queries::plain);
        all.put("query-transactional", Queries::transactional);
        all.put("query-undecided", Queries::undecided);
    }

    private static String outcome(Callable<Object> call) {
        try {
            return String.valueOf(call.call());
        } catch (MQClientException e) {
            return "client code " + e.getResponseCode();
        } catch (MQBrokerException e) {
            return "broker code " + e.getResponseCode();
        } catch (Exception e) {
            return e.getClass().getSimpleName();
        }
    }

    private static Object byKey(DefaultMQProducer producer, String topic, String key) throws Exception {
        List<MessageExt> found = producer.queryMessage(topic, key, 10, 0, System.currentTimeMillis() + 60_000).getMessageList();
        return found.stream().map(Inbox::body).sorted().toList();
    }

    // Apache has a copy for each round of its checks.
    private static Object distinct(Object found) {
        return new TreeSet<>((List<?>) found);
    }

    // The index is built a moment after the store.
    private static String found(Callable<Object> call, String wanted) throws InterruptedException {
        Scene.until(10, () -> outcome(call).equals(wanted));
        return outcome(call);
    }

    private static void plain(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        SendResult first = producer.send(Scene.message(topic, "TagA", "red round", "one"));
        producer.send(Scene.message(topic, "TagA", "red", "two"));
        scene.report.expect("by key of both", "[one, two]", found(() -> byKey(producer, topic, "red"), "[one, two]"));
        scene.report.expect("by second key", "[one]", found(() -> byKey(producer, topic, "round"), "[one]"));
        scene.report.observe("by unknown key", outcome(() -> byKey(producer, topic, "green")));
        scene.report.observe("by key, later", outcome(() -> producer.queryMessage(topic, "red", 10,
            System.currentTimeMillis() + 60_000, System.currentTimeMillis() + 120_000).getMessageList().size()));
        scene.report.expect("by client id", "one", found(() -> Inbox.body(producer.viewMessage(topic, first.getMsgId())), "one"));
        scene.report.expect("by broker id", "one", outcome(() -> Inbox.body(producer.viewMessage(topic, first.getOffsetMsgId()))));
        MessageExt viewed = producer.viewMessage(topic, first.getOffsetMsgId());
        scene.report.observe("viewed", viewed.getQueueId() + " " + viewed.getQueueOffset() + " " + viewed.getTags() + " " + viewed.getSysFlag());
        scene.report.observe("viewed properties", Inbox.propertyNames(viewed));
        String nowhere = first.getOffsetMsgId().substring(0, 16) + "0000000FFFFFFFFF";
        scene.report.observe("by broker id of nothing", outcome(() -> producer.viewMessage(topic, nowhere)));
    }

    private static void transactional(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        TransactionMQProducer producer = scene.transactions(scene.name("p"),
            Script.of(LocalTransactionState.COMMIT_MESSAGE, LocalTransactionState.COMMIT_MESSAGE));
        TransactionSendResult sent = producer.sendMessageInTransaction(Scene.message(topic, "TagA", "red", "one"), null);
        scene.report.expect("by key", "[one]", found(() -> byKey(producer, topic, "red"), "[one]"));
        scene.report.expect("by client id", "one", found(() -> Inbox.body(producer.viewMessage(topic, sent.getMsgId())), "one"));
        MessageExt viewed = producer.viewMessage(topic, sent.getMsgId());
        scene.report.observe("viewed", viewed.getQueueId() + " " + viewed.getQueueOffset() + " " + viewed.getTags() + " " + viewed.getSysFlag());
    }

    private static void undecided(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        TransactionMQProducer producer = scene.transactions(scene.name("p"),
            Script.of(LocalTransactionState.UNKNOW, LocalTransactionState.ROLLBACK_MESSAGE));
        var message = Scene.message(topic, "TagA", "red", "one");
        message.putUserProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "8");
        TransactionSendResult sent = producer.sendMessageInTransaction(message, null);
        producer.send(Scene.message(topic, "TagA", "fence", "fence"));
        found(() -> byKey(producer, topic, "fence"), "[fence]");
        scene.report.observe("by key", outcome(() -> byKey(producer, topic, "red")));
        scene.report.observe("by client id", outcome(() -> Inbox.body(producer.viewMessage(topic, sent.getMsgId()))));
        scene.report.observe("by key in the half topic", outcome(() -> distinct(byKey(producer, "RMQ_SYS_TRANS_HALF_TOPIC", "red"))));
    }
}
