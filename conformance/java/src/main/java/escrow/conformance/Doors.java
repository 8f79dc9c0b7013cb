package escrow.conformance;

import static org.apache.rocketmq.client.producer.LocalTransactionState.COMMIT_MESSAGE;
import static org.apache.rocketmq.client.producer.LocalTransactionState.UNKNOW;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Contradictions, and every door through which a half might be read before its time. */
final class Doors {
    private static final int COMMIT = 8;
    private static final int ROLLBACK = 12;

    private Doors() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("end-twice", scene -> endTwice(scene, COMMIT, COMMIT));
        all.put("end-commit-then-rollback", scene -> endTwice(scene, COMMIT, ROLLBACK));
        all.put("end-rollback-then-commit", scene -> endTwice(scene, ROLLBACK, COMMIT));
        all.put("end-rollback-twice", scene -> endTwice(scene, ROLLBACK, ROLLBACK));
        all.put("end-mistaken", Doors::mistaken);
        all.put("end-topic-deleted", Doors::topicDeleted);
        all.put("half-sent-twice", Doors::sentTwice);
        all.put("half-hidden", scene -> hidden(scene, 0));
        all.put("half-rolled-back-hidden", scene -> hidden(scene, ROLLBACK));
        all.put("half-committed-shown", scene -> hidden(scene, COMMIT));
        all.put("half-delayed", Doors::delayed);
        all.put("resume-check", Doors::resumeCheck);
        all.put("doors-plain", PlainDoors::play);
    }

    /** The handle of a half, as its send was answered. */
    private record Half(int code, String messageId, long queueOffset, String transactionId) {
    }

    private static String freshKey() {
        return "7F000001000000000000" + String.format("%012X", System.nanoTime() & 0xFFFFFFFFFFFFL);
    }

    /** A topic, a producer whose halfs stay undecided, and the wire to its broker. */
    private static final class Stage implements AutoCloseable {
        final Scene scene;
        final String topic;
        final String group;
        final TransactionMQProducer producer;
        final Remoting remoting;

        Stage(Scene scene) throws Exception {
            this.scene = scene;
            topic = scene.topic("t", 1);
            group = scene.name("p");
            producer = scene.transactions(group, Script.of(UNKNOW, COMMIT_MESSAGE));
            remoting = new Remoting(Remoting.address(producer.send(Scene.message(topic, "", "", "first")).getOffsetMsgId()));
        }

        Half half(String body) throws Exception {
            return half(body, freshKey(), "TAGS\u0001TagA\u0002KEYS\u0001" + body + "-key\u0002CHECK_IMMUNITY_TIME_IN_SECONDS\u000160\u0002");
        }

        /** Sent by hand, since the client does not tell the handle that the broker answered. */
        Half half(String body, String key, String properties) throws Exception {
            Map<String, String> send = PlainDoors.send(group, topic, 0, properties + "UNIQ_KEY\u0001" + key
                + "\u0002WAIT\u0001true\u0002TRAN_MSG\u0001true\u0002PGROUP\u0001" + group + "\u0002");
            send.put("sysFlag", "4");
            RemotingCommand answer = remoting.call(10, send, body.getBytes(StandardCharsets.UTF_8));
            Map<String, String> fields = answer.getExtFields();
            return answer.getCode() != 0 ? new Half(answer.getCode(), null, -1, null) : new Half(answer.getCode(), fields.get("msgId"),
                Long.parseLong(fields.get("queueOffset")), fields.get("transactionId"));
        }

        Map<String, String> end(Half half, int decision) {
            return Remoting.fields("topic", topic, "producerGroup", group, "tranStateTableOffset", half.queueOffset,
                "commitLogOffset", Remoting.commitLogOffset(half.messageId), "commitOrRollback", decision,
                "fromTransactionCheck", false, "msgId", half.transactionId, "transactionId", half.transactionId);
        }

        Object endCode(Half half, int decision) throws Exception {
            return remoting.code(37, end(half, decision));
        }

        Object endCode(Half half, String field, Object value) throws Exception {
            Map<String, String> fields = end(half, COMMIT);
            fields.put(field, String.valueOf(value));
            return remoting.code(37, fields);
        }

        /** What a new group finds in the topic once a last message has come through. */
        List<String> delivered() throws Exception {
            Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
            producer.send(Scene.message(topic, "", "", "last"));
            Scene.until(20, () -> inbox.bodies().contains("last"));
            Scene.settle();
            return inbox.bodies();
        }

        @Override
        public void close() {
            remoting.close();
        }
    }

    private static void endTwice(Scene scene, int first, int second) throws Exception {
        try (Stage stage = new Stage(scene)) {
            Half half = stage.half("order");
            scene.report.observe("unknown", stage.endCode(half, 0));
            scene.report.expect("first", 0, stage.endCode(half, first));
            scene.report.expect("second", first == second ? 0 : 604, stage.endCode(half, second));
            scene.report.expect("delivered", first == COMMIT ? List.of("first", "order", "last") : List.of("first", "last"),
                stage.delivered());
        }
    }

    private static void mistaken(Scene scene) throws Exception {
        try (Stage stage = new Stage(scene)) {
            Half half = stage.half("order");
            SendResult plain = stage.producer.send(Scene.message(stage.topic, "", "", "plain"));
            long offset = Remoting.commitLogOffset(half.messageId);
            scene.report.expect("wrong group", 1, stage.endCode(half, "producerGroup", "somebody"));
            scene.report.expect("wrong half offset", 1, stage.endCode(half, "tranStateTableOffset", half.queueOffset + 1));
            scene.report.expect("offset inside the record", 1, stage.endCode(half, "commitLogOffset", offset + 1));
            scene.report.expect("offset far away", 1, stage.endCode(half, "commitLogOffset", 1L << 50));
            scene.report.expect("negative offset", 1, stage.endCode(half, "commitLogOffset", -1));
            scene.report.expect("another transaction id", 1, stage.endCode(half, "transactionId", "7F0000010000000000000000000000AA"));
            scene.report.expect("not a half", 1, stage.endCode(new Half(0, plain.getOffsetMsgId(), plain.getQueueOffset(), plain.getMsgId()), COMMIT));
            scene.report.observe("unknown decision", stage.endCode(half, 5));
            scene.report.expect("another topic in the header", 0, stage.endCode(half, "topic", "elsewhere"));
            scene.report.expect("delivered", List.of("first", "plain", "order", "last"), stage.delivered());
        }
    }

    private static void topicDeleted(Scene scene) throws Exception {
        try (Stage stage = new Stage(scene); Remoting namesrv = new Remoting(scene.namesrv)) {
            Half half = stage.half("order");
            scene.report.expect("delete at the broker", 0, stage.remoting.code(215, Remoting.fields("topic", stage.topic)));
            scene.report.expect("delete at the name server", 0,
                namesrv.code(216, Remoting.fields("topic", stage.topic, "clusterName", "DefaultCluster")));
            scene.report.expect("commit without a topic", 17, stage.endCode(half, COMMIT));
            scene.report.expect("create again", 0, stage.remoting.code(17, Remoting.fields("topic", stage.topic,
                "defaultTopic", "TBW102", "readQueueNums", 1, "writeQueueNums", 1, "perm", 6, "topicFilterType", "SINGLE_TAG",
                "topicSysFlag", 0, "order", false)));
            scene.report.expect("commit with a topic", 0, stage.endCode(half, COMMIT));
            scene.report.expect("delivered", List.of("order", "last"), stage.delivered());
        }
    }

    /** The client's own send retry: the same half again, because its acknowledgement was lost. */
    private static void sentTwice(Scene scene) throws Exception {
        try (Stage stage = new Stage(scene)) {
            String key = freshKey();
            Half first = stage.half("order", key, "CHECK_IMMUNITY_TIME_IN_SECONDS\u000160\u0002");
            Half second = stage.half("order", key, "CHECK_IMMUNITY_TIME_IN_SECONDS\u000160\u0002");
            scene.report.expect("codes", "0 0", first.code + " " + second.code);
            scene.report.expectSame("transaction id", key, first.transactionId);
            scene.report.expect("one half", true, first.equals(second));
            scene.report.expect("commit of the first", 0, stage.endCode(first, COMMIT));
            scene.report.expect("commit of the second", 0, stage.endCode(second, COMMIT));
            scene.report.expect("delivered", List.of("first", "order", "last"), stage.delivered());
        }
    }

    private static void hidden(Scene scene, int decision) throws Exception {
        try (Stage stage = new Stage(scene)) {
            Half half = stage.half("order");
            if (decision != 0) {
                scene.report.expect("decided", 0, stage.endCode(half, decision));
            }
            boolean shown = decision == COMMIT;
            long offset = Remoting.commitLogOffset(half.messageId);
            scene.report.expect("view by id", shown ? 0 : 1, stage.remoting.code(33, Remoting.fields("offset", offset)));
            long end = System.currentTimeMillis() + 3_600_000;
            Map<String, String> query = Remoting.fields("topic", stage.topic, "key", "order-key", "maxNum", 10, "beginTimestamp", 0,
                "endTimestamp", end, "_UNIQUE_KEY_QUERY", false);
            Scene.until(5, () -> {
                try {
                    return stage.remoting.code(12, query).equals(shown ? 0 : 22);
                } catch (Exception e) {
                    return false;
                }
            });
            scene.report.expect("query by key", shown ? 0 : 22, stage.remoting.code(12, query));
            query.put("topic", "RMQ_SYS_TRANS_HALF_TOPIC");
            scene.report.expect("query by key in the half topic", 22, stage.remoting.code(12, query));
            for (String topic : List.of("RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC")) {
                scene.report.expect("pull of " + topic, 16, stage.remoting.code(11, PlainDoors.pull(scene.name("c"), topic, 0, 0)));
            }
            Map<String, String> back = Remoting.fields("offset", offset, "group", scene.name("c"), "delayLevel", 1,
                "originMsgId", half.transactionId, "originTopic", stage.topic, "unitMode", false, "maxReconsumeTimes", 16);
            scene.inbox(scene.name("c"), stage.topic, "TagNever");
            scene.report.expect("send back", shown ? 0 : 1, stage.remoting.code(36, back));
            if (decision == 0) {
                stage.endCode(half, ROLLBACK);
            }
        }
    }

    private static void delayed(Scene scene) throws Exception {
        try (Stage stage = new Stage(scene)) {
            scene.report.expect("half with a delay level", 13, stage.half("order", freshKey(), "DELAY\u00013\u0002").code);
        }
    }

    private static void resumeCheck(Scene scene) throws Exception {
        try (Stage stage = new Stage(scene)) {
            Half half = stage.half("order");
            SendResult plain = stage.producer.send(Scene.message(stage.topic, "", "", "plain"));
            scene.report.expect("undecided, not parked", 1, resume(stage, half.messageId));
            stage.endCode(half, COMMIT);
            scene.report.expect("committed", 1, resume(stage, half.messageId));
            scene.report.expect("plain", 1, resume(stage, plain.getOffsetMsgId()));
            scene.report.expect("delivered", List.of("first", "plain", "order", "last"), stage.delivered());
        }
    }

    private static Object resume(Stage stage, String id) throws Exception {
        return stage.remoting.code(323, Remoting.fields("topic", stage.topic, "msgId", id));
    }
}
