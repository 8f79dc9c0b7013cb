package escrow.conformance;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.common.message.MessageExt;

/** What a consumer was handed, in order of arrival. */
final class Inbox {
    private final List<MessageExt> messages = new ArrayList<>();
    private final List<Long> arrivals = new ArrayList<>();

    synchronized void add(List<MessageExt> batch) {
        for (MessageExt message : batch) {
            messages.add(message);
            arrivals.add(System.currentTimeMillis());
        }
        notifyAll();
    }

    /** Waits until {@code count} messages are here, at most {@code seconds}. */
    synchronized boolean await(int count, int seconds) throws InterruptedException {
        long end = System.currentTimeMillis() + seconds * 1000L;
        while (messages.size() < count) {
            long left = end - System.currentTimeMillis();
            if (left <= 0) {
                return false;
            }
            wait(left);
        }
        return true;
    }

    synchronized List<MessageExt> all() {
        return new ArrayList<>(messages);
    }

    synchronized int size() {
        return messages.size();
    }

    synchronized long arrival(int index) {
        return arrivals.get(index);
    }

    List<String> bodies() {
        return all().stream().map(Inbox::body).collect(Collectors.toList());
    }

    List<String> sortedBodies() {
        return all().stream().map(Inbox::body).sorted().collect(Collectors.toList());
    }

    List<Long> queueOffsets() {
        return all().stream().map(MessageExt::getQueueOffset).collect(Collectors.toList());
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** The names of the properties; MIN_OFFSET and the like, which the client itself adds, included. */
    static TreeSet<String> propertyNames(MessageExt message) {
        TreeSet<String> names = new TreeSet<>(message.getProperties().keySet());
        // Whether the client had time to add it before the listener ran differs from run to run.
        names.remove("CONSUME_START_TIME");
        return names;
    }
}
