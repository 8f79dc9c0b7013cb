package escrow.conformance;

import static org.apache.rocketmq.client.producer.LocalTransactionState.COMMIT_MESSAGE;
import static org.apache.rocketmq.client.producer.LocalTransactionState.ROLLBACK_MESSAGE;

import java.lang.reflect.Method;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionMQProducer;

/** A producer process that is killed between its half and END_TRANSACTION. */
final class Dying {
    private Dying() {
    }

    static void add(Map<String, Main.Scenario> all) {
        all.put("killed-restarted-sends", scene -> restarted(scene, COMMIT_MESSAGE));
        all.put("killed-restarted-sends-rollback", scene -> restarted(scene, ROLLBACK_MESSAGE));
        all.put("killed-restarted-topics", Dying::restartedWithTopics);
        all.put("killed-other-is-asked", Dying::otherIsAsked);
    }

    private static void restarted(Scene scene, LocalTransactionState answer) throws Exception {
        String topic = scene.topic("t", 1);
        String group = scene.name("p");
        Child.sendHalfAndDie(scene, group, topic, "order");
        Script script = Script.of(COMMIT_MESSAGE, answer);
        TransactionMQProducer producer = scene.transactions(group, script);
        producer.send(Scene.message(topic, "", "", "hello"));
        verify(scene, topic, script, answer == COMMIT_MESSAGE ? List.of("hello", "order") : List.of("hello"));
    }

    private static void restartedWithTopics(Scene scene) throws Exception {
        Method setTopics;
        try {
            setTopics = DefaultMQProducer.class.getMethod("setTopics", List.class);
        } catch (NoSuchMethodException e) {
            throw new Main.NotApplicable("the client has no setTopics");
        }
        String topic = scene.topic("t", 1);
        String group = scene.name("p");
        Child.sendHalfAndDie(scene, group, topic, "order");
        Script script = Script.of(COMMIT_MESSAGE, COMMIT_MESSAGE);
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setTransactionListener(script);
        setTopics.invoke(producer, List.of(topic));
        scene.start(producer);
        verify(scene, topic, script, List.of("order"));
    }

    private static void otherIsAsked(Scene scene) throws Exception {
        String topic = scene.topic("t", 1);
        String group = scene.name("p");
        Script script = Script.of(COMMIT_MESSAGE, COMMIT_MESSAGE);
        TransactionMQProducer other = scene.transactions(group, script);
        other.send(Scene.message(topic, "", "", "hello"));
        Child.sendHalfAndDie(scene, group, topic, "order");
        verify(scene, topic, script, List.of("hello", "order"));
    }

    private static void verify(Scene scene, String topic, Script script, List<String> delivered) throws Exception {
        Inbox inbox = scene.inbox(scene.name("c"), topic, "*");
        scene.report.expect("checked", true, Scene.until(30, () -> script.checkCount() > 0));
        inbox.await(delivered.size(), 20);
        Scene.settle();
        scene.report.expect("bodies checked", List.of("order"), script.checks().stream().map(Inbox::body).distinct().toList());
        scene.report.expect("delivered", delivered, inbox.sortedBodies());
    }
}
