package orders;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import javax.sql.DataSource;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * The database transaction behind each half message: the order, and one marker row under the message's transaction id.
 *
 * <p>The marker ties the two together. If this service dies anywhere in here, or its answer gets lost, the check-back server
 * looks for the marker and answers in its place.
 */
final class OrderTransaction implements TransactionListener {
    private final DataSource database;

    OrderTransaction(DataSource database) {
        this.database = database;
    }

    @Override
    public LocalTransactionState executeLocalTransaction(Message half, Object order) {
        try (Connection connection = database.getConnection()) {
            connection.setAutoCommit(false);
            insert(connection, "INSERT INTO escrow_marker (tx_id) VALUES (?)", half.getTransactionId());
            Order placed = (Order) order;
            insert(connection, "INSERT INTO orders (id, item, quantity) VALUES (?, ?, ?)",
                    placed.id(), placed.item(), placed.quantity());
            connection.commit();
            return LocalTransactionState.COMMIT_MESSAGE;
        } catch (SQLException failure) {
            // Whether it committed is not for us to guess: the marker tells, and the check-back server reads it.
            System.err.println("order not known to be placed: " + failure.getMessage());
            return LocalTransactionState.UNKNOW;
        }
    }

    /** Answered by the check-back server, which also knows when this service is gone. */
    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt half) {
        return LocalTransactionState.UNKNOW;
    }

    private static void insert(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setObject(i + 1, values[i]);
            }
            if (statement.executeUpdate() != 1) {
                throw new SQLException("not exactly one row: " + sql);
            }
        }
    }
}
