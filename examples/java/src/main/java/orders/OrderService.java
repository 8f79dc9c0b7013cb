package orders;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.Executors;
import javax.sql.DataSource;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;

/**
 * An order service: {@code POST /orders} stores an order in PostgreSQL and announces it on the topic {@code Orders}, both or
 * neither.
 *
 * <p>Settings come from the environment: {@code NAMESRV} (host:port), {@code DATABASE} (a JDBC URL), {@code PORT} (0 picks one).
 */
public final class OrderService {
    private static final String TOPIC = "Orders";
    private static final String GROUP = "order-service";

    private final TransactionMQProducer producer;
    private final ObjectMapper json = new ObjectMapper();
    private final String domain;

    private OrderService(String namesrv, DataSource database) throws SQLException, MQClientException {
        domain = domain(database);
        producer = new TransactionMQProducer(GROUP);
        producer.setNamesrvAddr(namesrv);
        producer.setTransactionListener(new OrderTransaction(database));
        producer.start();
    }

    /** Places an order; true if it is placed, false if it is not known to be. */
    private boolean place(Order order) throws IOException, MQClientException {
        Message message = new Message(TOPIC, null, order.id(), json.writeValueAsBytes(order));
        // Which database holds the marker: a check-back server on any other one will not answer.
        message.putUserProperty("ESCROW_DOMAIN", domain);
        return producer.sendMessageInTransaction(message, order).getLocalTransactionState() == LocalTransactionState.COMMIT_MESSAGE;
    }

    private void orders(HttpExchange exchange) throws IOException {
        try (exchange) {
            if (!exchange.getRequestMethod().equals("POST")) {
                answer(exchange, 405, "POST an order");
                return;
            }
            Order order = json.readValue(exchange.getRequestBody(), Order.class);
            if (place(order)) {
                answer(exchange, 201, order.id());
            } else {
                answer(exchange, 503, "not known to be placed; ask for it later");
            }
        } catch (com.fasterxml.jackson.core.JacksonException unreadable) {
            answer(exchange, 400, unreadable.getOriginalMessage());
        } catch (MQClientException failure) {
            // No half message, so no order.
            answer(exchange, 503, "not placed: " + failure.getMessage());
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
    }

    private static String domain(DataSource database) throws SQLException {
        try (Connection connection = database.getConnection(); Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("SELECT domain FROM escrow_meta")) {
            if (!row.next()) {
                throw new SQLException("escrow_meta is empty: run escrow migrate");
            }
            return row.getString(1);
        }
    }

    public static void main(String[] args) throws Exception {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(System.getenv("DATABASE"));
        config.setMaximumPoolSize(8);
        OrderService service = new OrderService(System.getenv("NAMESRV"), new HikariDataSource(config));
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "0"));
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 64);
        server.createContext("/orders", service::orders);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        System.out.println("ready http=127.0.0.1:" + server.getAddress().getPort());
    }
}
