package escrow.conformance;

import static org.apache.rocketmq.client.producer.LocalTransactionState.COMMIT_MESSAGE;
import static org.apache.rocketmq.client.producer.LocalTransactionState.ROLLBACK_MESSAGE;
import static org.apache.rocketmq.client.producer.LocalTransactionState.UNKNOW;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The transactional message as an application sees it, while its producer lives. */
final class Transactions {
    private Transactions() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("tx-commit", Transactions::commit);
        all.put("tx-rollback", Transactions::rollback);
        all.put("tx-unknown-then-commit", scene -> unknown(scene, COMMIT_MESSAGE));
        all.put("tx-unknown-then-rollback", scene -> unknown(scene, ROLLBACK_MESSAGE));
        all.put("tx-unknown-three-times", Transactions::unknownThreeTimes);
        all.put("tx-listener-throws", Transactions::listenerThrows);
        all.put("tx-immunity", Transactions::immunity);
    }

    private static void commit(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        Script script = Script.of(COMMIT_MESSAGE, COMMIT_MESSAGE);
        TransactionMQProducer producer = scene.transactions(scene.name("p"), script);
        List<Object> sent = new ArrayList<>();
        List<String> ids = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            Message message = Scene.message(topic, "TagA", "k" + i + " other" + i, "order-" + i);
            message.setFlag(7);
            message.putUserProperty("colour", "blue");
            TransactionSendResult result = producer.sendMessageInTransaction(message, null);
            sent.add(result.getSendStatus() + " " + result.getLocalTransactionState());
            ids.add(result.getMsgId());
            scene.report.observe("queue of send " + i, result.getMessageQueue().getQueueId());
            scene.report.expect("transaction id is the message id " + i, true, result.getMsgId().equals(result.getTransactionId()));
        }
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        inbox.await(3, 20);
        Scene.settle();
        scene.report.expect("sent", List.of("SEND_OK COMMIT_MESSAGE", "SEND_OK COMMIT_MESSAGE", "SEND_OK COMMIT_MESSAGE"), sent);
        // The client's commits are oneway, and Apache handles them on several threads: their order is nobody's promise.
        scene.report.expect("delivered", List.of("order-0", "order-1", "order-2"), inbox.sortedBodies());
        scene.report.expect("queue offsets", List.of(0L, 1L, 2L), inbox.queueOffsets());
        scene.report.expect("checks", 0, script.checkCount());
        for (MessageExt delivered : inbox.all()) {
            if (Inbox.body(delivered).equals("order-0")) {
                describe(scene, "delivered", delivered);
                scene.report.expectSame("delivered message id", ids.get(0), delivered.getMsgId());
            }
        }
    }

    private static void describe(Scene scene, String what, MessageExt message) {
        Report report = scene.report;
        report.observe(what + " properties", Inbox.propertyNames(message));
        report.observe(what + " tags", message.getTags());
        report.observe(what + " keys", message.getKeys());
        report.observe(what + " flag", message.getFlag());
        report.observe(what + " system flag", message.getSysFlag());
        report.observe(what + " reconsume times", message.getReconsumeTimes());
        report.observe(what + " colour", message.getUserProperty("colour"));
        report.observe(what + " names its half", message.getPreparedTransactionOffset() > 0);
        report.observe(what + " producer group is set", message.getProperty("PGROUP") != null);
        report.observe(what + " half property", message.getProperty("TRAN_MSG"));
        report.observe(what + " transaction id is the message id", message.getMsgId().equals(message.getTransactionId()));
    }

    private static void rollback(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        Script script = new Script(message -> "keep".equals(message.getKeys()) ? COMMIT_MESSAGE : ROLLBACK_MESSAGE,
            message -> COMMIT_MESSAGE);
        TransactionMQProducer producer = scene.transactions(scene.name("p"), script);
        List<Object> sent = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            sent.add(send(producer, Scene.message(topic, "", "drop", "dropped-" + i)));
        }
        sent.add(send(producer, Scene.message(topic, "", "keep", "kept")));
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        inbox.await(1, 20);
        Scene.settle();
        scene.report.observe("sent", sent);
        scene.report.expect("delivered", List.of("kept"), inbox.bodies());
        scene.report.expect("queue offsets", List.of(0L), inbox.queueOffsets());
        scene.report.expect("checks", 0, script.checkCount());
    }

    private static void unknown(Scene scene, LocalTransactionState answer) throws Exception {
        String topic = scene.topic("t", 1);
        Script script = Script.of(UNKNOW, answer);
        TransactionMQProducer producer = scene.transactions(scene.name("p"), script);
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        Message message = Scene.message(topic, "TagA", "key", "order");
        message.setFlag(7);
        message.putUserProperty("colour", "blue");
        TransactionSendResult result = producer.sendMessageInTransaction(message, null);
        scene.report.expect("sent", "SEND_OK UNKNOW", result.getSendStatus() + " " + result.getLocalTransactionState());
        scene.report.expect("checked", true, Scene.until(20, () -> script.checkCount() > 0));
        if (answer == COMMIT_MESSAGE) {
            inbox.await(1, 20);
        }
        Scene.settle();
        MessageExt check = script.checks().get(0);
        scene.report.expect("checks", 1, script.checkCount());
        scene.report.expect("check names its transaction", true, result.getTransactionId().equals(check.getTransactionId()));
        scene.report.expect("check has the body", "order", Inbox.body(check));
        scene.report.expect("check has the topic", true, topic.equals(check.getTopic()));
        scene.report.observe("check properties", Inbox.propertyNames(check));
        scene.report.observe("check times", check.getProperty("TRANSACTION_CHECK_TIMES"));
        scene.report.observe("check tags and keys", check.getTags() + " " + check.getKeys());
        scene.report.observe("check flag", check.getFlag());
        scene.report.observe("check queue", check.getQueueId());
        scene.report.expect("check names the half offset of the send", true, check.getQueueOffset() == result.getQueueOffset());
        scene.report.expect("delivered", answer == COMMIT_MESSAGE ? List.of("order") : List.of(), inbox.bodies());
        if (inbox.size() > 0) {
            describe(scene, "delivered", inbox.all().get(0));
        }
    }

    private static void unknownThreeTimes(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        AtomicInteger asked = new AtomicInteger();
        Script script = new Script(message -> UNKNOW, message -> asked.incrementAndGet() < 3 ? UNKNOW : COMMIT_MESSAGE);
        TransactionMQProducer producer = scene.transactions(scene.name("p"), script);
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        send(producer, Scene.message(topic, "", "key", "order"));
        inbox.await(1, 30);
        Scene.settle();
        List<String> times = new ArrayList<>();
        for (MessageExt check : script.checks()) {
            times.add(check.getProperty("TRANSACTION_CHECK_TIMES"));
        }
        scene.report.expect("check times", List.of("1", "2", "3"), times);
        scene.report.expect("handles checked", 1L, script.checks().stream()
            .map(check -> check.getQueueOffset() + " " + check.getCommitLogOffset()).distinct().count());
        scene.report.expect("delivered", List.of("order"), inbox.bodies());
        scene.report.observe("delivered properties", inbox.size() > 0 ? Inbox.propertyNames(inbox.all().get(0)) : null);
    }

    private static void listenerThrows(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        AtomicInteger asked = new AtomicInteger();
        Script script = new Script(message -> {
            throw new IllegalStateException("local transaction failed, as the scenario wants");
        }, message -> {
            if (asked.incrementAndGet() == 1) {
                throw new IllegalStateException("check failed, as the scenario wants");
            }
            return ROLLBACK_MESSAGE;
        });
        TransactionMQProducer producer = scene.transactions(scene.name("p"), script);
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        scene.report.observe("sent", send(producer, Scene.message(topic, "", "key", "order")));
        Scene.until(20, () -> script.checkCount() >= 2);
        Scene.settle();
        scene.report.expect("checks", 2, script.checkCount());
        scene.report.expect("delivered", List.of(), inbox.bodies());
    }

    /** A message may ask that its first check waits longer than the broker's time-out. */
    private static void immunity(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        Script script = Script.of(UNKNOW, COMMIT_MESSAGE);
        TransactionMQProducer producer = scene.transactions(scene.name("p"), script);
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        Message message = Scene.message(topic, "", "key", "order");
        message.putUserProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "5");
        long start = System.currentTimeMillis();
        send(producer, message);
        Scene.until(20, () -> script.checkCount() > 0);
        long waited = System.currentTimeMillis() - start;
        inbox.await(1, 20);
        Scene.settle();
        scene.report.expect("first check not before immunity ends", true, waited >= 4900);
        scene.report.expect("first check soon after immunity", true, waited < 10_000);
        scene.report.expect("checks", 1, script.checkCount());
        scene.report.expect("delivered", List.of("order"), inbox.bodies());
    }

    static String send(TransactionMQProducer producer, Message message) throws Exception {
        TransactionSendResult result = producer.sendMessageInTransaction(message, null);
        return result.getSendStatus() + " " + result.getLocalTransactionState();
    }
}
