package escrow.conformance;

import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Requests that a correct client never sends, and what they are answered. */
final class PlainDoors {
    private PlainDoors() {
    }

    static Map<String, String> send(String group, String topic, int queue, String properties) {
        return Remoting.fields("producerGroup", group, "topic", topic, "defaultTopic", "TBW102", "defaultTopicQueueNums", 4,
            "queueId", queue, "sysFlag", 0, "bornTimestamp", System.currentTimeMillis(), "flag", 0, "properties", properties,
            "reconsumeTimes", 0, "unitMode", false, "batch", false);
    }

    /** A pull that brings its own subscription and does not wait. */
    static Map<String, String> pull(String group, String topic, int queue, long offset) {
        return Remoting.fields("consumerGroup", group, "topic", topic, "queueId", queue, "queueOffset", offset, "maxMsgNums", 32,
            "sysFlag", 4, "commitOffset", 0, "suspendTimeoutMillis", 1000, "subscription", "*", "subVersion", 0,
            "expressionType", "TAG");
    }

    static void play(Scene scene) throws Exception {
        String topic = scene.topic("t", 2);
        DefaultMQProducer producer = scene.producer(scene.name("p"));
        SendResult sent = producer.send(Scene.message(topic, "", "", "one"), producer.fetchPublishMessageQueues(topic).get(0));
        try (Remoting broker = new Remoting(Remoting.address(sent.getOffsetMsgId())); Remoting namesrv = new Remoting(scene.namesrv)) {
            unsupported(scene, broker, namesrv);
            sends(scene, broker, topic);
            pulls(scene, broker, topic);
            offsets(scene, broker, topic, sent);
        }
    }

    private static void unsupported(Scene scene, Remoting broker, Remoting namesrv) throws Exception {
        for (Remoting door : new Remoting[] {broker, namesrv}) {
            RemotingCommand answer = door.call(9999, Map.of(), null);
            scene.report.observe(door == broker ? "broker: unsupported code" : "name server: unsupported code",
                answer.getCode() + answer.getRemark());
        }
        scene.report.observe("route of nothing", namesrv.code(105, Remoting.fields("topic", scene.name("nothing"))));
        scene.report.observe("members of nothing", broker.code(38, Remoting.fields("consumerGroup", scene.name("nothing"))));
    }

    private static void sends(Scene scene, Remoting broker, String topic) throws Exception {
        String group = scene.name("p");
        byte[] body = {1};
        scene.report.observe("queue too high", broker.call(10, send(group, topic, 9, ""), body).getCode());
        scene.report.observe("queue -1", broker.call(10, send(group, scene.topic("any", 2), -1, ""), body).getCode());
        for (String name : new String[] {"SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC",
            "TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", "bad name", "", "x".repeat(128)}) {
            scene.report.observe("send to " + (name.length() > 100 ? "a long name" : "'" + name + "'"),
                broker.call(10, send(group, name, 0, ""), body).getCode());
        }
        Map<String, String> noDefault = send(group, scene.name("other"), 0, "");
        noDefault.put("defaultTopic", "no_such_default");
        scene.report.observe("no topic, no default", broker.call(10, noDefault, body).getCode());
        scene.report.observe("retry topic of no group", broker.call(10, send(group, "%RETRY%" + scene.name("nobody"), 0, ""), body).getCode());
        Map<String, String> noQueue = send(group, topic, 0, "");
        noQueue.put("queueId", "seven");
        scene.report.observe("queue id not a number", broker.call(10, noQueue, body).getCode());
    }

    private static void pulls(Scene scene, Remoting broker, String topic) throws Exception {
        String group = scene.name("c");
        scene.inbox(group, topic, "TagNever");
        scene.report.observe("pull", pulled(broker, pull(group, topic, 0, 0)));
        scene.report.observe("pull at the end", pulled(broker, pull(group, topic, 0, 1)));
        scene.report.observe("pull beyond the end", pulled(broker, pull(group, topic, 0, 7)));
        scene.report.observe("pull before the begin", pulled(broker, pull(group, topic, 0, -5)));
        scene.report.observe("pull of an empty queue", pulled(broker, pull(group, topic, 1, 0)));
        scene.report.observe("pull of an empty queue at 3", pulled(broker, pull(group, topic, 1, 3)));
        scene.report.observe("pull of a queue too high", pulled(broker, pull(group, topic, 9, 0)));
        scene.report.observe("pull of no topic", pulled(broker, pull(group, scene.name("none"), 0, 0)));
        Map<String, String> filtered = pull(group, topic, 0, 0);
        filtered.put("subscription", "TagX");
        scene.report.observe("pull that matches nothing", pulled(broker, filtered));
        Map<String, String> member = pull(scene.name("nobody"), topic, 0, 0);
        member.put("sysFlag", "0");
        scene.report.observe("pull of a group without members", pulled(broker, member));
    }

    private static String pulled(Remoting broker, Map<String, String> fields) throws Exception {
        RemotingCommand answer = broker.call(11, fields, null);
        if (answer == null) {
            return "no answer";
        }
        Map<String, String> header = answer.getExtFields();
        String offsets = header == null || !header.containsKey("nextBeginOffset") ? "" : " next " + header.get("nextBeginOffset") + " min " + header.get("minOffset")
            + " max " + header.get("maxOffset") + " broker " + header.get("suggestWhichBrokerId");
        return answer.getCode() + offsets;
    }

    private static void offsets(Scene scene, Remoting broker, String topic, SendResult sent) throws Exception {
        String group = scene.name("o");
        Map<String, String> query = Remoting.fields("consumerGroup", group, "topic", topic, "queueId", 0);
        scene.report.observe("offset of a new group", offset(broker, 14, query));
        query.put("setZeroIfNotFound", "false");
        scene.report.observe("offset of a new group, not zero", offset(broker, 14, query));
        Map<String, String> update = Remoting.fields("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 1);
        scene.report.observe("update offset", broker.code(15, update));
        scene.report.observe("offset then", offset(broker, 14, query));
        scene.report.observe("max", offset(broker, 30, Remoting.fields("topic", topic, "queueId", 0)));
        scene.report.observe("max of a queue too high", offset(broker, 30, Remoting.fields("topic", topic, "queueId", 9)));
        scene.report.observe("min of no topic", offset(broker, 31, Remoting.fields("topic", scene.name("none"), "queueId", 0)));
        scene.report.observe("view of nothing", broker.code(33, Remoting.fields("offset", 1L << 50)));
        scene.report.observe("view inside a record", broker.code(33, Remoting.fields("offset",
            Remoting.commitLogOffset(sent.getOffsetMsgId()) + 4)));
        scene.report.observe("send back of nothing", broker.code(36, Remoting.fields("offset", 1L << 50, "group", scene.name("c"),
            "delayLevel", 0, "originMsgId", "x", "originTopic", topic, "unitMode", false, "maxReconsumeTimes", 3)));
        scene.report.observe("create a system topic", broker.code(17, Remoting.fields("topic", "SCHEDULE_TOPIC_XXXX", "defaultTopic",
            "TBW102", "readQueueNums", 1, "writeQueueNums", 1, "perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false)));
        scene.report.observe("delete a system topic", broker.code(215, Remoting.fields("topic", "SCHEDULE_TOPIC_XXXX")));
        scene.report.observe("delete no topic", broker.code(215, Remoting.fields("topic", scene.name("none"))));
    }

    static String offset(Remoting broker, int code, Map<String, String> fields) throws Exception {
        RemotingCommand answer = broker.call(code, fields, null);
        Map<String, String> header = answer.getExtFields();
        return answer.getCode() + (header == null || !header.containsKey("offset") ? "" : " " + header.get("offset"));
    }
}
