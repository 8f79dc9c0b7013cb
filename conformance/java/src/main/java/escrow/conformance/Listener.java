package escrow.conformance;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;

/** A process that prints the body of each message of a topic, until it is killed. */
final class Listener {
    private Listener() {
    }

    static void main(Map<String, String> options) throws Exception {
        Report report = new Report("listener");
        try (Scene scene = new Scene(options.get("namesrv"), options.get("run"), "listener", report)) {
            DefaultMQPushConsumer consumer = scene.consumer(options.get("group"));
            consumer.subscribe(options.get("listen"), "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (var message : messages) {
                    Main.OUT.println(new String(message.getBody(), StandardCharsets.UTF_8));
                }
                Main.OUT.flush();
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            scene.start(consumer);
            new CountDownLatch(1).await();
        }
    }
}
