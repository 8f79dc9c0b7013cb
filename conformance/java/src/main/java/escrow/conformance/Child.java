package escrow.conformance;

import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;

/** A process that sends one half, says its id, and then hangs in its local transaction until it is killed. */
final class Child {
    private Child() {
    }

    static void main(Map<String, String> options) throws Exception {
        CountDownLatch never = new CountDownLatch(1);
        Script script = new Script(message -> {
            Main.OUT.println("in local transaction " + message.getTransactionId());
            Main.OUT.flush();
            try {
                never.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return LocalTransactionState.UNKNOW;
        }, message -> LocalTransactionState.UNKNOW);
        Report report = new Report("child");
        try (Scene scene = new Scene(options.get("namesrv"), options.get("run"), "child", report)) {
            TransactionMQProducer producer = scene.transactions(options.get("group"), script);
            // A new process on a busy machine may need long for its first connection.
            producer.setSendMsgTimeout(60_000);
            Message message = Scene.message(options.get("topic"), "TagA", "key", options.get("child"));
            if (options.containsKey("domain")) {
                message.putUserProperty("ESCROW_DOMAIN", options.get("domain"));
            }
            producer.sendMessageInTransaction(message, null);
        }
    }

    /** Runs the child until its half is acknowledged, then kills it with SIGKILL. */
    static void sendHalfAndDie(Scene scene, String group, String topic, String body) throws Exception {
        // Where the name server's answer comes too late, the client guesses the queues and is refused: once more then.
        for (int left = 3; left > 0; left--) {
            if (sentHalfAndDied(scene, group, topic, body)) {
                return;
            }
        }
        throw new IllegalStateException("the child did not send its half");
    }

    private static boolean sentHalfAndDied(Scene scene, String group, String topic, String body) throws Exception {
        Process process = new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-Xmx128m", "-XX:TieredStopAtLevel=1",
            "-Duser.home=" + System.getProperty("user.home"), "-Drocketmq.client.logRoot=" + System.getProperty("rocketmq.client.logRoot"),
            "-cp", System.getProperty("java.class.path"), "escrow.conformance.Main",
            "--namesrv", scene.namesrv, "--run", "child", "--group", group, "--topic", topic, "--child", body)
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        scene.closeAtEnd(process::destroyForcibly);
        String line = process.inputReader().readLine();
        process.destroyForcibly().waitFor();
        return line != null && line.startsWith("in local transaction");
    }
}
