package escrow.conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** A transaction listener that answers as told and keeps the checks it was asked. */
final class Script implements TransactionListener {
    private final Function<Message, LocalTransactionState> local;
    private final Function<MessageExt, LocalTransactionState> check;
    private final List<MessageExt> checks = new ArrayList<>();

    Script(Function<Message, LocalTransactionState> local, Function<MessageExt, LocalTransactionState> check) {
        this.local = local;
        this.check = check;
    }

    static Script of(LocalTransactionState local, LocalTransactionState check) {
        return new Script(message -> local, message -> check);
    }

    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
        return local.apply(message);
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
        synchronized (checks) {
            checks.add(message);
        }
        return check.apply(message);
    }

    List<MessageExt> checks() {
        synchronized (checks) {
            return new ArrayList<>(checks);
        }
    }

    int checkCount() {
        return checks().size();
    }
}
